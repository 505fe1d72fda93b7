//! What the broker says about configuration files and command lines, compared with what nats-server
//! said when `scripts/record-config` asked it.
//!
//! `ours.txt` has the rows where the two differ on purpose.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// One `== title` of an expectation file, and the lines below it.
struct Row<'a> {
    title: &'a str,
    outcome: String,
}

#[test]
fn files_check_as_in_the_reference() {
    let mut failures = Vec::new();
    let recorded = rows(include_str!("expected.txt"));
    assert!(recorded.len() > 150, "the recording is complete");
    for row in recorded {
        compare(&row, &["-t", "-c", row.title], &mut failures);
    }
    report(&failures);
}

#[test]
fn command_lines_end_as_in_the_reference() {
    let mut failures = Vec::new();
    let recorded = rows(include_str!("expected-arguments.txt"));
    assert!(recorded.len() > 70, "the recording is complete");
    for row in recorded {
        compare(&row, &words(row.title), &mut failures);
    }
    report(&failures);
}

#[test]
fn the_rest_ends_as_we_want() {
    let mut failures = Vec::new();
    for row in rows(include_str!("ours.txt")) {
        compare(&row, &words(row.title), &mut failures);
    }
    report(&failures);
}

/// The words of a line, where `''` is an empty one.
fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().map(|word| if word == "''" { "" } else { word }).collect()
}

fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("== ") {
            rows.push(Row { title, outcome: String::new() });
        } else if let Some(row) = rows.last_mut() {
            row.outcome.push_str(line);
            row.outcome.push('\n');
        }
    }
    rows
}

fn compare(row: &Row<'_>, arguments: &[&str], failures: &mut Vec<String>) {
    let outcome = run(arguments);
    if outcome != row.outcome {
        let Row { title, outcome: expected } = row;
        failures.push(format!("{title}\n-- expected\n{expected}-- found\n{outcome}"));
    }
}

/// The exit status, and the complaints in order of the alphabet. A broker that starts instead is
/// ended, and its outcome is `ready`.
fn run(arguments: &[&str]) -> String {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/files");
    let mut broker = Command::new(env!("CARGO_BIN_EXE_pinion"))
        .args(arguments)
        .current_dir(files)
        .env("PINION_TEST_PORT", "4333")
        .env("PINION_TEST_BAD", "[")
        .env("PINION_TEST_TAGS", "[\"x\" , \"y\"]")
        .env("PINION_TEST_LOOP", "$PINION_TEST_LOOP_BACK")
        .env("PINION_TEST_LOOP_BACK", "$PINION_TEST_LOOP")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = broker.stderr.take().expect("it is piped");
    let mut lines = Vec::new();
    for line in BufReader::new(stderr).lines() {
        let line = line.expect("complaints are text");
        if line.ends_with("Server is ready") {
            broker.kill().expect("it still runs");
            broker.wait().expect("it has ended");
            return "ready\n".to_owned();
        }
        let complaint = line.strip_prefix("pinion: ").unwrap_or(&line);
        if !complaint.is_empty() {
            lines.push(complaint.to_owned());
        }
    }
    lines.sort_unstable();
    let status = broker.wait().expect("it has ended");
    let code = status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
    let mut outcome = format!("{code}\n");
    for line in lines {
        outcome.push_str(&line);
        outcome.push('\n');
    }
    outcome
}

fn report(failures: &[String]) {
    assert!(failures.is_empty(), "{} rows differ:\n\n{}", failures.len(), failures.join("\n"));
}
