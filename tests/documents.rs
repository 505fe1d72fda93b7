//! The commands that the documents tell people to type, typed: every block fenced as `sh tested`
//! runs here as it stands, in a folder of its own beside `tuning/`, `scripts/` and `packaging/`,
//! with the broker as just built first in the path. The blocks of one document run in order in one
//! folder. Two things are changed: the ports in [`PORTS`] become free ones, and a document is left,
//! with a word, at a block that names a program behind `tested` which is not there.

use std::env;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The ports that documents speak of.
const PORTS: [&str; 3] = ["4222", "4223", "8222"];

/// How long one block may take on a machine busy with other tests.
const SECONDS_MAX: u32 = 60;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Commands to be run.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    /// The line it begins on.
    line: usize,
    /// Programs that it needs, beside what every machine has.
    needs: Vec<String>,
    text: String,
}

/// The tested blocks of a document.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (line, text) in (1..).zip(text.lines()) {
        match &mut open {
            Some(_) if text == "```" => found.extend(open.take()),
            Some(block) => {
                block.text.push_str(text);
                block.text.push('\n');
            }
            None => {
                if let Some(needs) = text.strip_prefix("```sh tested") {
                    let needs = needs.split_whitespace().map(str::to_owned).collect();
                    open = Some(Block { line, needs, text: String::new() });
                }
            }
        }
    }
    assert!(open.is_none(), "a block is closed");
    found
}

/// Where programs are looked for: the broker, then the peers, then those of the machine.
fn path() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_pinion"));
    let own = binary.parent().expect("a binary stands in a folder");
    let peers = root().join(".peers/bin");
    format!("{}:{}:{}", own.display(), peers.display(), env::var("PATH").unwrap_or_default())
}

fn is_there(program: &str) -> bool {
    env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// The text with free ports in place of those that it speaks of, the same in a whole document.
fn with_free_ports(text: &str, ports: &[u16]) -> String {
    let mut text = text.to_owned();
    for (known, free) in PORTS.iter().zip(ports) {
        text = text.replace(known, &free.to_string());
    }
    text
}

fn free_ports() -> Vec<u16> {
    // Held together, so that they differ.
    let held = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    held.iter().map(|port| port.local_addr().expect("it is bound").port()).collect()
}

/// A fresh folder in which a document's commands find what a reader has.
fn folder(document: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("documents").join(document);
    // Left by an earlier run, or not there.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder can be made");
    for name in ["tuning", "scripts", "packaging"] {
        symlink(root().join(name), folder.join(name)).expect("a link can be made");
    }
    folder
}

/// Runs a block; the complaint is what it said. What it starts may go on running.
fn run(block: &str, folder: &Path) -> Result<(), String> {
    // A pipe would be waited for as long as anything that was started holds it.
    let said = folder.join(".said");
    let file = File::create(&said).map_err(|error| error.to_string())?;
    let both = file.try_clone().map_err(|error| error.to_string())?;
    let status = Command::new("timeout")
        .arg(SECONDS_MAX.to_string())
        .args(["bash", "-euo", "pipefail", "-c", block])
        .current_dir(folder)
        .env("PATH", path())
        // What a client remembers, it remembers here.
        .env("HOME", folder)
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .status()
        .map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&said).map_err(|error| error.to_string())?;
    Err(format!("{status}\n{}", String::from_utf8_lossy(&said)))
}

/// Ends the servers that a document left running: those that work in its folder and wrote their
/// number there.
fn end_servers(folder: &Path) {
    for entry in fs::read_dir(folder).expect("the folder is there").flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|extension| extension != "pid") {
            continue;
        }
        let Ok(number) = fs::read_to_string(path) else { continue };
        let works_in = fs::read_link(format!("/proc/{}/cwd", number.trim()));
        if works_in.is_ok_and(|works_in| works_in == folder) {
            // It may be gone by itself by now.
            let _ = Command::new("kill").args(["-KILL", number.trim()]).status();
        }
    }
}

/// Runs the blocks of a document, and returns how many ran.
fn type_all(name: &str, text: &str, failures: &mut Vec<String>) -> usize {
    let blocks = blocks(text);
    if blocks.is_empty() {
        return 0;
    }
    let folder = folder(name);
    let ports = free_ports();
    let mut count = 0;
    for block in &blocks {
        if let Some(missing) = block.needs.iter().find(|program| !is_there(program)) {
            eprintln!("docs/{name}:{}: left here, {missing} is not there", block.line);
            break;
        }
        if let Err(problem) = run(&with_free_ports(&block.text, &ports), &folder) {
            // What follows may rest on it.
            failures.push(format!("docs/{name}:{}: {problem}", block.line));
            break;
        }
        count += 1;
    }
    end_servers(&folder);
    count
}

#[test]
fn commands_in_documents_work() {
    let documents = fs::read_dir(root().join("docs")).expect("documents are there").flatten();
    let documents = documents.map(|entry| entry.path()).chain([root().join("README.md")]);
    let mut count = 0;
    let mut failures = Vec::new();
    for path in documents {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).expect("a document can be read");
            count += type_all(&name, &text, &mut failures);
        }
    }
    assert!(count >= 10, "documents have commands: {count}");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_block_that_fails_is_noticed() {
    let folder = folder("none");
    assert!(run("true", &folder).is_ok());
    assert!(run("false\ntrue", &folder).is_err());
    let text = "```sh tested x\na\nb\n```\n```sh\nc\n```\n";
    let block = Block { line: 1, needs: vec!["x".to_owned()], text: "a\nb\n".to_owned() };
    assert_eq!(blocks(text), [block]);
    let ports = with_free_ports("-p 4222 -m 8222", &[1, 2, 3]);
    assert_eq!(ports, "-p 1 -m 3");
}
