//! The replay is itself tested, against a broker whose answers are written down.

use std::time::Duration;

use super::backend::{Backend, ConnectionKey};
use super::replay::{Input, replay};
use super::script::parse_file;

const INFO: &[u8] = b"INFO {\"proto\":1} \r\n";

/// Answers the first of its cues that the input so far ends with; closes after `close`.
struct Puppet {
    cues: &'static [(&'static str, &'static str)],
    close: &'static str,
    input: Vec<u8>,
    output: Vec<u8>,
    fed: usize,
}

impl Puppet {
    fn new(cues: &'static [(&'static str, &'static str)], close: &'static str) -> Self {
        Self { cues, close, input: Vec::new(), output: Vec::new(), fed: 0 }
    }

    fn ends_with(&self, text: &str) -> bool {
        !text.is_empty() && self.input.ends_with(text.as_bytes())
    }
}

impl Backend for Puppet {
    fn connect(&mut self) -> Result<ConnectionKey, String> {
        self.output.extend_from_slice(INFO);
        Ok(ConnectionKey(0))
    }

    fn feed(&mut self, _connection: ConnectionKey, bytes: &[u8]) {
        self.fed += 1;
        for byte in bytes {
            self.input.push(*byte);
            if let Some((_, answer)) = self.cues.iter().find(|(cue, _)| self.ends_with(cue)) {
                self.output.extend_from_slice(answer.as_bytes());
            }
        }
    }

    fn disconnect(&mut self, _connection: ConnectionKey) {}

    fn advance(&mut self, by: Duration) {
        self.output.extend_from_slice(format!("{}", by.as_millis()).as_bytes());
    }

    fn take_output(&mut self, _connection: ConnectionKey) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    fn is_closed(&mut self, _connection: ConnectionKey) -> bool {
        self.ends_with(self.close) && self.output.is_empty()
    }

    fn patience(&self) -> Duration {
        Duration::ZERO
    }

    fn signal(&mut self, name: &str) -> Result<(), String> {
        Err(format!("a puppet ignores {name}"))
    }

    fn wait_for_log(&mut self, text: &str) -> Result<(), String> {
        Err(format!("a puppet does not log {text}"))
    }
}

const ANSWERS: &[(&str, &str)] = &[("PING\r\n", "PONG\r\n"), ("hi\r\n", "MSG a 1 2\r\nhi\r\n")];

fn play(steps: &str, puppet: &mut Puppet, input: Input) -> Result<(), String> {
    let text = format!("=== t\n{steps}\n");
    let transcripts = parse_file("t", &text).expect("the test's transcript is well formed");
    replay(&transcripts[0], puppet, input)
}

fn plays(steps: &str) -> bool {
    play(steps, &mut Puppet::new(ANSWERS, "BYE\r\n"), Input::Whole).is_ok()
}

#[test]
fn right_answers_pass() {
    assert!(plays("a open\na > PING\\r\\n\na < PONG\\r\\n"));
    assert!(plays("a ready\na > hi\\r\\n\na < MSG a <int> 2\\r\\nhi\\r\\n\na quiet"));
    assert!(plays("a ready\na > BYE\\r\\n\na closed"));
    assert!(plays("a ready\na > hi\\r\\nhi\\r\\n\na unordered\n  *2 MSG a 1 2\\r\\nhi\\r\\n"));
    assert!(plays("a ready\nadvance 2s\na < 2000"));
    assert!(plays("a open {\"proto\":\"<int>\"}"));
    assert!(plays("a dial\na info"));
    assert!(plays("a ready\na > hi\\r\\nBYE\\r\\n\na closed after anything"));
}

#[test]
fn wrong_answers_fail() {
    assert!(!plays("a open\na > PING\\r\\n\na < PANG\\r\\n"), "another answer");
    assert!(!plays("a open\na < PONG\\r\\n"), "no answer");
    assert!(!plays("a ready\na > hi\\r\\n\na quiet"), "an answer where none is due");
    assert!(!plays("a ready\na > hi\\r\\n"), "an answer left over at the end");
    assert!(!plays("a ready\na > hi\\r\\nBYE\\r\\n\na closed"), "an answer ahead of the close");
    assert!(!plays("a ready\na closed"), "no close");
    assert!(!plays("a ready\na > BYE\\r\\n\na < PONG\\r\\n"), "a close instead of an answer");
    assert!(!plays("a open {\"proto\":2}"), "another INFO");
    assert!(
        !plays("a ready\na > hi\\r\\n\na unordered\n  *2 MSG a 1 2\\r\\nhi\\r\\n"),
        "one of two"
    );
    assert!(
        !plays("a ready\na > hi\\r\\nhi\\r\\n\na unordered\n  MSG a 1 2\\r\\nhi\\r\\n"),
        "two of one"
    );
    assert!(!plays("a ready\nsignal USR2"), "a signal to a puppet");
    assert!(!plays("a ready\nlog text"), "a log line of a puppet");
    assert!(!plays("b > PING\\r\\n"), "a connection that is not there");
}

#[test]
fn input_is_handed_over_as_asked() {
    let steps = "a open\na > PI\\|NG\\r\\n\na < PONG\\r\\n\na leave";
    let fed = |input| {
        let mut puppet = Puppet::new(ANSWERS, "");
        play(steps, &mut puppet, input).expect("the answers are right");
        puppet.fed
    };
    assert_eq!(fed(Input::Whole), 2);
    assert_eq!(fed(Input::Cut), 6);
}
