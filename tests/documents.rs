//! The commands that the documents tell people to type, typed: every block fenced as `sh tested`
//! runs here as it stands, in a folder of its own beside `tuning/` and `scripts/`, with the broker
//! as just built first in the path. The blocks of one document run in order in one folder.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How long one block may take on a machine busy with other tests.
const SECONDS_MAX: u32 = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The tested blocks of a document, each with the line it begins on.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            Some(_) if line == "```" => found.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line == "```sh tested" => open = Some((number, String::new())),
            None => {}
        }
    }
    assert!(open.is_none(), "a block is closed");
    found
}

/// A fresh folder in which a document's commands find what a reader has.
fn folder(document: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documents").join(document);
    // Left by an earlier run, or not there.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder can be made");
    for name in ["tuning", "scripts"] {
        symlink(root().join(name), folder.join(name)).expect("a link can be made");
    }
    folder
}

/// Runs a block; the complaint is what it said.
fn run(block: &str, folder: &Path) -> Result<(), String> {
    let binary = Path::new(env!("CARGO_BIN_EXE_pinion"));
    let own = binary.parent().expect("a binary stands in a folder");
    let path = format!("{}:{}", own.display(), env::var("PATH").unwrap_or_default());
    let output = Command::new("timeout")
        .arg(SECONDS_MAX.to_string())
        .args(["bash", "-euo", "pipefail", "-c", block])
        .current_dir(folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let texts =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    Err(format!("{}\n{}", output.status, texts.concat()))
}

#[test]
fn commands_in_documents_work() {
    let mut count = 0;
    let mut failures = Vec::new();
    for entry in fs::read_dir(root().join("docs")).expect("documents are there").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".md").is_none() {
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a document can be read");
        let blocks = blocks(&text);
        if blocks.is_empty() {
            continue;
        }
        let folder = folder(&name);
        for (line, block) in blocks {
            count += 1;
            if let Err(problem) = run(&block, &folder) {
                failures.push(format!("docs/{name}:{line}: {problem}"));
            }
        }
    }
    assert!(count >= 5, "documents have commands: {count}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_block_that_fails_is_noticed() {
    let folder = folder("none");
    assert!(run("true", &folder).is_ok());
    assert!(run("false\ntrue", &folder).is_err());
    let text = "```sh tested\na\nb\n```\n```sh\nc\n```\n";
    assert_eq!(blocks(text), [(1, "a\nb\n".to_owned())]);
}
