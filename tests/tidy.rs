//! House rules that a machine can check: layers, who may name what, lengths, and what must not be
//! in the sources at all.

use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{CargoOpt, MetadataCommand, PackageName};

/// What each crate of the workspace may depend on. Dependencies point down only.
const LAYERS: [(&str, &[&str]); 11] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("subjects", &["base"]),
    ("mesh", &["base"]),
    ("storage", &["base"]),
    ("accounts", &["base", "subjects"]),
    ("session", &["base", "wire", "subjects", "accounts"]),
    ("jetstream", &["base", "wire", "subjects", "storage", "accounts"]),
    ("shard", &["base", "wire", "subjects", "storage", "accounts", "session", "jetstream"]),
    (
        "pinion",
        &[
            "base",
            "wire",
            "subjects",
            "mesh",
            "storage",
            "accounts",
            "session",
            "jetstream",
            "shard",
            "sim",
        ],
    ),
    (
        "sim",
        &[
            "base",
            "wire",
            "subjects",
            "mesh",
            "storage",
            "accounts",
            "session",
            "jetstream",
            "shard",
        ],
    ),
];

/// Columns of a line of Rust.
const COLUMNS_MAX: usize = 100;
/// Lines of a function, from its name to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;
/// Lines of a file of Rust.
const FILE_LINES_MAX: usize = 700;

/// Functions that are longer, with their present length. A row may shrink or go, never come.
const LONG_FUNCTIONS: [(&str, &str, usize); 0] = [];

/// Folders that hold no sources.
const SKIPPED: [&str; 8] = [
    ".git",
    ".peers",
    "target",
    "node_modules",
    "__pycache__",
    "tests/fuzz/artifacts",
    "tests/fuzz/corpus",
    "tests/fuzz/seeds",
];

/// A file of the repository.
struct Source {
    /// From the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|extension| extension == "rs")
    }

    /// Is this part of a crate that decides? The mesh is where memory is shared.
    fn decides(&self) -> bool {
        self.is_rust() && self.path.starts_with("shards/") && !self.path.starts_with("shards/mesh/")
    }

    /// The lines with their numbers, counted from one.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines of Rust without their comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| {
            let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
            (number, comment.map_or(line, |(at, _)| &line[..at]))
        })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the repository.
fn sources() -> Vec<Source> {
    let mut folders = vec![root().to_path_buf()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder can be listed").flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("an entry has a type");
            let name = relative(&path);
            let skipped = SKIPPED.iter().any(|skip| *skip == name || entry.file_name() == *skip);
            if kind.is_dir() && !skipped {
                folders.push(path);
            } else if kind.is_file()
                && name != ".git"
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push(Source { path: name, text });
            }
        }
    }
    assert!(found.len() > 100, "the sources are where they are looked for");
    found
}

fn relative(path: &Path) -> String {
    let below = path.strip_prefix(root()).expect("files stand below the root");
    below.to_string_lossy().replace('\\', "/")
}

/// Is `word` there as a word of its own, not as part of a longer name?
fn names(line: &str, word: &str) -> bool {
    let is_part =
        |character: Option<char>| character.is_some_and(|c| c == '_' || c.is_alphanumeric());
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

/// Fails with every complaint there is, not with the first.
fn assert_none(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

/// The places at which code names any of the words although it must not.
fn places(allowed: impl Fn(&Source) -> bool, words: &[&str]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust() && !allowed(source)) {
        for (number, line) in source.code() {
            for word in words.iter().filter(|word| names(line, word)) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
        }
    }
    complaints
}

#[test]
fn dependencies_point_down() {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).features(CargoOpt::AllFeatures).no_deps();
    let metadata = command.exec().expect("cargo describes the workspace");
    let members: Vec<&PackageName> =
        metadata.packages.iter().map(|package| &package.name).collect();
    let mut complaints = Vec::new();
    for package in &metadata.packages {
        let Some((_, below)) = LAYERS.iter().find(|(name, _)| *name == package.name.as_str())
        else {
            complaints.push(format!("{} has no layer", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if members.iter().any(|member| member.as_str() == name) && !below.contains(&name) {
                complaints.push(format!("{} must not depend on {name}", package.name));
            }
        }
    }
    assert_none("dependencies point down", &complaints);
}

#[test]
fn only_boot_and_the_reactor_know_the_executor() {
    let allowed = |source: &Source| {
        source.path.starts_with("src/boot/") || source.path.starts_with("src/reactor/")
    };
    let mut complaints = places(allowed, &["glommio"]);
    let ring = |source: &Source| source.path == "src/reactor/ring.rs";
    complaints.extend(places(ring, &["io_uring::", "IoUring"]));
    complaints.retain(|place| !place.starts_with("tests/tidy.rs"));
    assert_none("glommio and io_uring stay in their files", &complaints);
}

#[test]
fn unsafe_code_stands_in_three_files() {
    let allowed = |source: &Source| {
        ["shards/mesh/src/lane.rs", "src/memory.rs", "src/reactor/ring.rs", "tests/tidy.rs"]
            .contains(&source.path.as_str())
    };
    assert_none("unsafe code stands in three files", &places(allowed, &["unsafe"]));
}

#[test]
fn what_decides_knows_no_clock_file_socket_thread_or_future() {
    let words = [
        "Instant",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "std::sync",
        "std::process",
        "std::io",
        "std::env",
        // The word alone is one of the reference's: a persist mode.
        "async fn",
        "async move",
        "async {",
        ".await",
        "Arc",
        "Mutex",
        "println!",
        "eprintln!",
    ];
    let complaints = places(|source| !source.decides(), &words);
    assert_none("shards decide, src acts", &complaints);
}

#[test]
fn lines_functions_and_files_are_short() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.is_rust()) {
        for (number, line) in source.lines() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                complaints.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{}: {lines} lines", source.path));
        }
        for (name, lines) in functions(&source.text) {
            let exception = LONG_FUNCTIONS
                .iter()
                .find(|(path, function, _)| *path == source.path && *function == name);
            let limit = exception.map_or(FUNCTION_LINES_MAX, |(_, _, present)| *present);
            if lines > limit {
                complaints.push(format!("{}: fn {name} has {lines} lines", source.path));
            }
            if exception.is_some() && lines < limit {
                complaints.push(format!("{}: fn {name} shrank, adapt its row", source.path));
            }
        }
    }
    assert_none("one screen a function", &complaints);
}

/// The functions of a formatted file with their lengths: the closing brace stands in the column of
/// the first line.
fn functions(text: &str) -> Vec<(&str, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (first, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let Some((before, after)) = code.split_once("fn ") else { continue };
        let modifiers = ["pub", "const", "async", "unsafe", "extern", "\"C\""];
        let is_head = before.split_whitespace().all(|word| {
            modifiers.contains(&word) || (word.starts_with("pub(") && word.ends_with(')'))
        });
        if !is_head {
            continue;
        }
        let end = after.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(after.len());
        let indent = line.len() - code.len();
        let closes = |line: &&str| {
            line.len() > indent
                && line[..indent].trim().is_empty()
                && line[indent..].starts_with('}')
        };
        let whole = code.ends_with('}') || code.ends_with(';');
        let length = if whole { 0 } else { lines[first..].iter().position(closes).unwrap_or(0) };
        found.push((&after[..end], length + 1));
    }
    found
}

#[test]
fn functions_are_measured() {
    let text = "fn a() {}\n\npub(crate) const fn b(\n    x: u8,\n) -> u8 {\n    x\n}\n";
    assert_eq!(functions(text), [("a", 1), ("b", 5)]);
    assert_eq!(
        functions("impl X {\n    fn c(&self) {\n        if x {\n        }\n    }\n}\n"),
        [("c", 4)]
    );
    assert!(functions("let call = define fn x\n/// A fn in a comment\n").is_empty());
}

#[test]
fn nothing_is_left_for_later_and_no_test_sleeps() {
    let later =
        [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!"), concat!("db", "g!")];
    let sleep = concat!("sle", "ep(");
    let mut complaints = Vec::new();
    for source in &sources() {
        let is_own = source.is_rust() || source.path.starts_with("scripts/");
        let waits = source.is_rust()
            && ["tests/", "shards/"].iter().any(|folder| source.path.starts_with(folder));
        for (number, line) in source.lines() {
            for word in later.iter().filter(|word| is_own && names(line, word)) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
            if waits && line.contains(sleep) {
                complaints.push(format!("{}:{number}: {sleep}", source.path));
            }
        }
    }
    assert_none("nothing is left for later, and time is an input", &complaints);
}

#[test]
fn nothing_names_the_machine_it_was_made_on() {
    let machine = [
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("/tm", "p/"),
        concat!("/wo", "rk/"),
        concat!("/Us", "ers/"),
        concat!("py", "pi.org"),
        concat!("npm", "js.org"),
        concat!("proxy.go", "lang"),
        concat!("static.cra", "tes.io"),
        concat!("index.cra", "tes.io"),
        concat!("arti", "factory"),
    ];
    // Files that were recorded with the reference name what its users' files name.
    let recorded = ["tests/config/files/", "tests/config/expected"];
    let mut complaints = Vec::new();
    for source in &sources() {
        if recorded.iter().any(|start| source.path.starts_with(start)) {
            continue;
        }
        for (number, line) in source.lines() {
            for word in machine.iter().filter(|word| line.contains(*word)) {
                complaints.push(format!("{}:{number}: {word}", source.path));
            }
            let foreign = source.path.ends_with("Cargo.lock")
                && line.starts_with("source = ")
                && line != "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
            if foreign {
                complaints.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    assert_none("nothing names the machine it was made on", &complaints);
}

/// Stops of the tour: `` `path` → `function` ``.
fn stops(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for (at, arrow) in text.match_indices("` → `") {
        let path = text[..at].rsplit('`').next().expect("a split has a last part");
        let after = &text[at + arrow.len()..];
        let function = after.split('`').next().expect("a split has a first part");
        found.push((path, function));
    }
    found
}

#[test]
fn the_tour_leads_past_what_is_there() {
    let tour = root().join("docs/TOUR.md");
    let text = fs::read_to_string(&tour).expect("docs/TOUR.md is there");
    let stops = stops(&text);
    assert!(stops.len() >= 10, "a tour has its stops: {}", stops.len());
    let mut complaints = Vec::new();
    for (path, function) in stops {
        let file: PathBuf = root().join(path);
        let Ok(code) = fs::read_to_string(&file) else {
            complaints.push(format!("{path} is gone"));
            continue;
        };
        let name = function.rsplit("::").next().expect("a split has a last part");
        if !functions(&code).iter().any(|(found, _)| *found == name) {
            complaints.push(format!("{path} has no fn {name}"));
        }
    }
    assert_none("the tour leads past what is there", &complaints);
}

fn is_document(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

#[test]
fn documents_lead_to_files_that_exist() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| is_document(&source.path)) {
        let folder = root().join(&source.path);
        let folder = folder.parent().expect("a file stands in a folder");
        for (number, line) in source.lines() {
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split([')', '#']).next().unwrap_or_default();
                let is_file = !target.is_empty() && !target.contains("://");
                if is_file && !folder.join(target).exists() {
                    complaints.push(format!("{}:{number}: {target}", source.path));
                }
            }
        }
    }
    for source in sources().iter().filter(|source| source.is_rust()) {
        for (number, line) in source.lines() {
            for (at, _) in line.match_indices("docs/") {
                let target = &line[at..];
                let is_name = |c: char| c.is_ascii_alphanumeric() || "/-_.".contains(c);
                let end = target.find(|c| !is_name(c)).unwrap_or(target.len());
                let target = target[..end].trim_end_matches('.');
                if is_document(target) && !root().join(target).exists() {
                    complaints.push(format!("{}:{number}: {target}", source.path));
                }
            }
        }
    }
    assert_none("documents lead to files that exist", &complaints);
}

#[test]
fn documents_name_files_that_exist() {
    let folders = ["src/", "shards/", "tests/", "scripts/", "tuning/", "packaging/", "docs/"];
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| is_document(&source.path)) {
        for (number, line) in source.lines() {
            for word in line.split('`').skip(1).step_by(2) {
                // With an argument behind it, or a pattern in it, only what stands in front counts.
                let end = word.find([' ', '*', '<', '{']).unwrap_or(word.len());
                let is_path = folders.iter().any(|folder| word.starts_with(folder));
                if is_path && !root().join(&word[..end]).exists() {
                    complaints.push(format!("{}:{number}: {word}", source.path));
                }
            }
        }
    }
    assert_none("documents name files that exist", &complaints);
}
