//! Log lines of connections, and the trace of operations, in the reference's form (spec 10).
//!
//! Everything here is off the data path: nothing is formatted unless it is wanted.

use base::Slot;
use wire::{Message, Operation, PublishLine};

use crate::effects::Level;
use crate::shard::Shard;

/// Text in double quotes, with escapes for what does not print, as the reference quotes.
pub(crate) fn quoted(text: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                other if other.is_control() => {
                    write!(out, "\\x{:02x}", other as u32).expect("a string takes text");
                }
                other => out.push(other),
            }
        }
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("a string takes text");
        }
    }
    out.push('"');
    out
}

/// CONNECT's JSON with its secrets blotted out.
fn redacted(json: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(json).into_owned();
    for name in ["pass", "auth_token", "jwt", "sig", "proxy_sig"] {
        let Some(at) = text.find(&format!("\"{name}\"")) else { continue };
        let value = at + name.len() + 2;
        let Some(open) = text[value..].find('"').map(|open| value + open + 1) else { continue };
        let mut escaped = false;
        let close = text[open..].find(|character| {
            let ends = character == '"' && !escaped;
            escaped = character == '\\' && !escaped;
            ends
        });
        let close = close.map_or(text.len(), |close| open + close);
        text.replace_range(open..close, "[REDACTED]");
    }
    text
}

impl Shard {
    pub(crate) fn log_for(&mut self, level: Level, slot: Slot, text: &str) {
        let label = self.wires.get(slot).label();
        self.log(level, format!("{label} - {text}"));
    }

    pub(crate) fn debug_for(&mut self, slot: Slot, text: &str) {
        if self.config.debug {
            self.log_for(Level::Debug, slot, text);
        }
    }

    pub(crate) fn trace_out(&mut self, slot: Slot, verb: &str, argument: &[u8]) {
        if self.config.trace {
            let text = line("->>", verb, argument);
            self.log_for(Level::Trace, slot, &text);
        }
    }

    pub(crate) fn trace_operation(&mut self, slot: Slot, operation: &Operation<'_>) {
        if !self.config.trace {
            return;
        }
        let join = |parts: &[&[u8]]| {
            let parts: Vec<&[u8]> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
            parts.join(&b' ')
        };
        let text = match operation {
            Operation::Connect(json) => line("<<-", "CONNECT", redacted(json).as_bytes()),
            Operation::Subscribe { subject, queue, sid } => {
                line("<<-", "SUB", &join(&[subject, queue, sid]))
            }
            Operation::Unsubscribe { line: argument, .. } => line("<<-", "UNSUB", argument),
            Operation::Ping => line("<<-", "PING", b""),
            Operation::Pong => line("<<-", "PONG", b""),
            Operation::Err(text) => line("<<-", "-ERR", text),
            Operation::Info(_) | Operation::Ok => return,
        };
        self.log_for(Level::Trace, slot, &text);
    }

    pub(crate) fn trace_publish(&mut self, slot: Slot, publish: &PublishLine<'_>, input: &[u8]) {
        let verb = if publish.with_header { "HPUB" } else { "PUB" };
        let argument = input[verb.len()..publish.line_bytes].trim_ascii();
        let text = line("<<-", verb, argument);
        self.log_for(Level::Trace, slot, &text);
        let body = &input[publish.line_bytes..publish.line_bytes + publish.size];
        let text = self.payload("<<-", body, publish.header);
        self.log_for(Level::Trace, slot, &text);
    }

    pub(crate) fn trace_delivery(&mut self, slot: Slot, message: &Message<'_>, sid: &[u8]) {
        let connection = self.wires.get(slot);
        let headers = connection.options.headers;
        let mut head = vec![0; wire::encode::bytes_max(message, sid)];
        wire::encode::message(&mut head, message, sid, headers);
        let end = head.iter().position(|byte| *byte == b'\r').unwrap_or(head.len());
        let verb = if headers && message.header > 0 { "HMSG" } else { "MSG" };
        let text = line("->>", verb, head[verb.len()..end].trim_ascii());
        self.log_for(Level::Trace, slot, &text);
        let body = message.body();
        let hidden = if headers { 0 } else { message.header };
        let text = self.payload("->>", &body[hidden..body.len() - 2], message.header - hidden);
        self.log_for(Level::Trace, slot, &text);
    }

    fn payload(&self, arrow: &str, body: &[u8], header: usize) -> String {
        let shown = if self.config.trace_headers && header > 0 { &body[..header] } else { body };
        let limit = self.config.max_traced_message;
        if limit > 0 && shown.len() > limit {
            let shown = quoted(&shown[..limit]);
            return format!("{arrow} MSG_PAYLOAD: [\"{}...\"]", &shown[1..shown.len() - 1]);
        }
        format!("{arrow} MSG_PAYLOAD: [{}]", quoted(shown))
    }
}

fn line(arrow: &str, verb: &str, argument: &[u8]) -> String {
    if argument.is_empty() {
        return format!("{arrow} [{verb}]");
    }
    format!("{arrow} [{verb} {}]", String::from_utf8_lossy(argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_blotted_out() {
        let json = br#"{"user":"a","pass":"s\"3","auth_token" : "t","name":"pass"}"#;
        assert_eq!(
            redacted(json),
            r#"{"user":"a","pass":"[REDACTED]","auth_token" : "[REDACTED]","name":"pass"}"#
        );
    }

    #[test]
    fn quoting() {
        assert_eq!(quoted(b"a\"b\\\r\n\x01\xff\xc3\xa9"), "\"a\\\"b\\\\\\r\\n\\x01\\xff\u{e9}\"");
    }
}
