//! The transcript language: one file of text to a list of transcripts.
//!
//! `tests/transcripts/README.md` describes the language for those who write it.

use std::time::Duration;

use serde_json::Value;

use super::bytes::{Pattern, decode_input};
use super::info::Fields;

/// One scenario: a broker, some connections, what they send and what they must receive.
#[derive(Debug)]
pub(crate) struct Transcript {
    /// File name and line of the title.
    pub(crate) place: String,
    pub(crate) title: String,
    pub(crate) config: String,
    pub(crate) flags: Vec<String>,
    pub(crate) marks: Marks,
    pub(crate) steps: Vec<Step>,
}

/// Where a transcript does not run, and why; each mark carries its reason in the file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    /// Not with its input cut at every byte.
    pub(crate) uncut: bool,
    /// Not with its input cut at every byte when the reference answers.
    pub(crate) reference_uncut: bool,
    /// Not in memory.
    pub(crate) process_only: bool,
    /// The PINGs of the broker are part of the scenario; cutting it would only take time.
    pub(crate) timers: bool,
    /// Not against the reference: a named row of `docs/COMPATIBILITY.md`.
    pub(crate) differs: Option<String>,
    /// Needs a feature that pinion still refuses to start with: a named row as well.
    pub(crate) awaits: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) action: Action,
}

/// What one step does; the first name is the connection's.
#[derive(Debug)]
pub(crate) enum Action {
    /// Connects and takes the first INFO.
    Open(String, Fields),
    /// Connects and takes nothing.
    Dial(String),
    /// Connects, sends CONNECT with these fields over quiet defaults, and waits for PONG.
    Ready(String, Fields),
    Send(String, Vec<Vec<u8>>),
    Expect(String, Pattern),
    /// Takes an INFO at this point.
    Info(String, Fields),
    /// All patterns arrive on the connection, in any order.
    Unordered(String, Vec<Pattern>),
    /// Each pattern arrives exactly once, on any of the connections.
    Spread(Vec<String>, Vec<Pattern>),
    /// Nothing more has arrived when a PING is answered.
    Quiet(String),
    /// Nothing that the second connection has published so far is still on its way to the first.
    QuietAfter(String, String),
    /// The broker has closed the connection; `true` when anything may arrive before that.
    Closed(String, bool),
    /// The client closes.
    Close(String),
    /// The connection is not looked at again, not even at the end.
    Leave(String),
    Advance(Duration),
    Signal(String),
    Log(String),
}

/// Reads a file of transcripts.
pub(crate) fn parse_file(name: &str, text: &str) -> Result<Vec<Transcript>, String> {
    let mut file = File { name, config: String::new(), transcripts: Vec::new() };
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        file.take_line(line_number, line).map_err(|e| format!("{name}:{line_number}: {e}"))?;
    }
    if file.transcripts.is_empty() {
        return Err(format!("{name}: no transcript starts with ==="));
    }
    if let Some(empty) = file.transcripts.iter().find(|transcript| transcript.steps.is_empty()) {
        return Err(format!("{}: no steps", empty.place));
    }
    Ok(file.transcripts)
}

struct File<'a> {
    name: &'a str,
    /// Configuration ahead of the first transcript belongs to all of them.
    config: String,
    transcripts: Vec<Transcript>,
}

impl File<'_> {
    fn take_line(&mut self, line: usize, text: &str) -> Result<(), String> {
        if text.trim().is_empty() || text.starts_with('#') {
            return Ok(());
        }
        if let Some(title) = text.strip_prefix("=== ") {
            self.transcripts.push(Transcript {
                place: format!("{}:{line}", self.name),
                title: title.trim().to_owned(),
                config: self.config.clone(),
                flags: Vec::new(),
                marks: Marks::default(),
                steps: Vec::new(),
            });
            return Ok(());
        }
        if let Some(config) = text.strip_prefix('|') {
            let to = self.transcripts.last_mut().map_or(&mut self.config, |last| &mut last.config);
            to.push_str(config);
            to.push('\n');
            return Ok(());
        }
        let last = self.transcripts.last_mut().ok_or("a step ahead of the first ===")?;
        if let Some(mark) = text.strip_prefix("! ") {
            return take_mark(last, mark);
        }
        if text.starts_with(' ') {
            return take_item(last, text.trim_start());
        }
        last.steps.push(Step { line, action: parse_step(text)? });
        Ok(())
    }
}

fn take_mark(transcript: &mut Transcript, mark: &str) -> Result<(), String> {
    let (name, reason) = mark.split_once(' ').unwrap_or((mark, ""));
    if reason.is_empty() && name != "timers" {
        return Err(format!("! {name} needs a reason or a value"));
    }
    let marks = &mut transcript.marks;
    match name {
        "uncut" => marks.uncut = true,
        "reference-uncut" => marks.reference_uncut = true,
        "process" => marks.process_only = true,
        "timers" => {
            marks.timers = true;
            marks.uncut = true;
        }
        "differs" => marks.differs = Some(reason.trim().to_owned()),
        "awaits" => marks.awaits = Some(reason.trim().to_owned()),
        "flags" => transcript.flags.extend(reason.split_whitespace().map(str::to_owned)),
        _ => return Err(format!("! {name} is not a mark")),
    }
    Ok(())
}

/// An indented line is an item of the step above; `*3 text` stands for three of them.
fn take_item(transcript: &mut Transcript, text: &str) -> Result<(), String> {
    let (count, text) = match text.strip_prefix('*').and_then(|text| text.split_once(' ')) {
        Some((count, text)) => (count.parse().map_err(|e| format!("{count}: {e}"))?, text),
        None => (1, text),
    };
    let pattern = Pattern::decode(text)?;
    match transcript.steps.last_mut().map(|step| &mut step.action) {
        Some(Action::Unordered(_, items) | Action::Spread(_, items)) => {
            items.extend(std::iter::repeat_n(pattern, count));
            Ok(())
        }
        _ => Err(String::from("an indented line belongs to `unordered` or `spread`")),
    }
}

fn parse_step(text: &str) -> Result<Action, String> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first {
        "advance" => return Ok(Action::Advance(parse_duration(rest)?)),
        "signal" => return Ok(Action::Signal(rest.to_owned())),
        "log" => return Ok(Action::Log(rest.to_owned())),
        "spread" => {
            let names = rest.split_whitespace().map(str::to_owned).collect();
            return Ok(Action::Spread(names, Vec::new()));
        }
        _ => {}
    }
    parse_connection_step(first.to_owned(), rest)
}

fn parse_connection_step(name: String, text: &str) -> Result<Action, String> {
    let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok(match (verb, rest) {
        ("open", fields) => Action::Open(name, parse_fields(fields)?),
        ("ready", fields) => Action::Ready(name, parse_fields(fields)?),
        ("info", fields) => Action::Info(name, parse_fields(fields)?),
        (">", input) => Action::Send(name, decode_input(input)?),
        ("<", pattern) => Action::Expect(name, Pattern::decode(pattern)?),
        ("unordered", "") => Action::Unordered(name, Vec::new()),
        ("dial", "") => Action::Dial(name),
        ("quiet", "") => Action::Quiet(name),
        ("quiet", other) => match other.strip_prefix("after ") {
            Some(publisher) => Action::QuietAfter(name, publisher.to_owned()),
            None => return Err(format!("quiet {other:?}")),
        },
        ("closed", "") => Action::Closed(name, false),
        ("closed", "after anything") => Action::Closed(name, true),
        ("close", "") => Action::Close(name),
        ("leave", "") => Action::Leave(name),
        _ => return Err(format!("{verb:?} is not a step")),
    })
}

fn parse_fields(text: &str) -> Result<Fields, String> {
    if text.is_empty() {
        return Ok(Fields::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(format!("{other} is not an object")),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or("a duration needs a unit")?;
    let number: u64 = text[..split].parse().map_err(|e| format!("{text}: {e}"))?;
    match &text[split..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        unit => Err(format!("{unit:?} is not a unit")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, parse_file};

    #[test]
    fn a_file_is_its_transcripts() {
        let text = "| a: 1\n=== one\n! flags -D x\n| b: 2\na ready\na > PUB x 0\\r\\n\\r\\n\n\
                    spread a b\n  *2 MSG\n=== two\n! uncut why\na quiet after b\n";
        let parsed = parse_file("f", text).expect("the file is well formed");
        assert_eq!(parsed.len(), 2);
        assert_eq!(parsed[0].config, " a: 1\n b: 2\n");
        assert_eq!(parsed[0].flags, ["-D", "x"]);
        assert!(matches!(&parsed[0].steps[2].action, Action::Spread(_, items) if items.len() == 2));
        assert_eq!(parsed[1].config, " a: 1\n");
        assert!(parsed[1].marks.uncut);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, line) in [
            ("a > x\n", "f:1"),
            ("=== t\na frobs\n", "f:2"),
            ("=== t\na quiet\n  MSG\n", "f:3"),
            ("=== t\n! uncut\n", "f:2"),
            ("=== t\nadvance 3\n", "f:2"),
            ("=== t\na open [1]\n", "f:2"),
        ] {
            let error = parse_file("f", text).expect_err("the file is wrong");
            assert!(error.starts_with(line), "{error}");
        }
    }
}
