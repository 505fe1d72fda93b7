//! Counters: every message of such a stream adds to a number of its subject (ADR-49).
//!
//! What is stored is the sum, as text in JSON, so that reading the last message is reading the
//! counter. A counter that is sourced from others keeps what it last heard of each in a header, and
//! adds the difference.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use storage::{Fetched, Position};

use super::Stream;
use super::admit::Admission;
use super::options::{header_value, put_filtered};
use super::publication::{Publication, Refusal, put_tail};
use crate::error::table;
use crate::ground::Site;

const INCREMENT: &[u8] = b"Nats-Incr";
const SOURCES: &[u8] = b"Nats-Counter-Sources";

/// What a counter last heard of each subject of each origin.
type Heard = BTreeMap<String, BTreeMap<String, String>>;

/// A number as headers and payloads hold it: digits, with a sign in front if need be.
fn number(text: &[u8]) -> Option<BigInt> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    BigInt::parse_bytes(text.strip_prefix(b"+").unwrap_or(text), 10)
}

/// The number in a counter's payload: `{"val":"…"}`.
fn value_in(payload: &[u8]) -> Option<BigInt> {
    #[derive(serde::Deserialize)]
    struct Payload {
        val: String,
    }
    let payload: Payload = serde_json::from_slice(payload).ok()?;
    number(payload.val.as_bytes())
}

impl Stream {
    /// What a message adds; nothing if it is for no counter.
    pub(super) fn increment_of(
        &self,
        publication: &Publication<'_>,
    ) -> Result<Option<BigInt>, Refusal> {
        let options = &publication.options;
        let is_counter = self.core.config.allow_msg_counter;
        if options.increment.is_empty() {
            return if is_counter { Err(table::MESSAGE_INCR_MISSING.into()) } else { Ok(None) };
        }
        let increment = number(options.increment).ok_or(table::MESSAGE_INCR_INVALID)?;
        if publication.is_trusted {
            return Ok(is_counter.then_some(increment));
        }
        if !is_counter {
            return Err(table::MESSAGE_INCR_DISABLED.into());
        }
        if publication.size() > publication.header {
            return Err(table::MESSAGE_INCR_PAYLOAD.into());
        }
        if !options.rollup.is_empty() || options.has_expectation() {
            return Err(table::MESSAGE_INCR_INVALID.into());
        }
        Ok(Some(increment))
    }

    /// Stores what a counter has come to. Its value is in the acknowledgement.
    pub(super) fn count_up(
        &mut self,
        site: &mut Site<'_>,
        publication: &Publication<'_>,
        increment: BigInt,
        admission: Admission,
    ) -> Result<(u64, Position), Refusal> {
        let (before, mut heard) = self.counted(site, publication.subject)?;
        let mut increment = increment;
        if !publication.options.source.is_empty() {
            increment = take_from_origin(publication, &mut heard)?;
        }
        let value = before + &increment;
        let payload = format!("{{\"val\":\"{value}\"}}");
        let mut tail = Vec::new();
        let put = |out: &mut Vec<u8>| {
            put_filtered(publication.block(), |name| name != INCREMENT && name != SOURCES, out);
            out.truncate(out.len() - 2);
            out.extend_from_slice(format!("Nats-Incr: {increment}\r\n").as_bytes());
            if !heard.is_empty() {
                let text = serde_json::to_string(&heard).expect("texts are JSON");
                out.extend_from_slice(format!("Nats-Counter-Sources: {text}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        };
        let plain = publication.options.source.is_empty() && heard.is_empty();
        let (sizes_bytes, header) = if plain {
            let put = |out: &mut Vec<u8>| out.extend_from_slice(publication.block());
            put_tail(&mut tail, put, payload.as_bytes())
        } else {
            put_tail(&mut tail, put, payload.as_bytes())
        };
        let summed = Publication { tail: &tail, sizes_bytes, header, ..*publication };
        self.check_size(&summed)?;
        let kept = self.keep(site, &summed, admission)?;
        self.ack_suffix.clear();
        self.ack_suffix.extend_from_slice(format!(",\"val\":\"{value}\"}}").as_bytes());
        Ok(kept)
    }

    /// What the counter of a subject stands at.
    fn counted(&self, site: &mut Site<'_>, subject: &[u8]) -> Result<(BigInt, Heard), Refusal> {
        let last = super::admit::last_of(&site.ground.store, self.core.log, subject);
        if last == 0 {
            return Ok((BigInt::ZERO, Heard::new()));
        }
        let broken = || Refusal::Fault(table::MESSAGE_COUNTER_BROKEN);
        match site.ground.store.fetch(self.core.log, last) {
            Fetched::Here(entry) => {
                let body = &entry.tail[entry.sizes_bytes + entry.header..entry.tail.len() - 2];
                let value = value_in(body).ok_or_else(broken)?;
                let heard = match header_value(entry.header_block(), SOURCES) {
                    Some(text) => serde_json::from_slice(text).map_err(|_| broken())?,
                    None => Heard::new(),
                };
                Ok((value, heard))
            }
            Fetched::Reading(_) => Err(Refusal::Reading),
            Fetched::Missing | Fetched::Damaged => Err(broken()),
        }
    }
}

/// Notes what an origin's counter stands at; returns what it has grown by since it was last heard.
fn take_from_origin(publication: &Publication<'_>, heard: &mut Heard) -> Result<BigInt, Refusal> {
    let source = String::from_utf8_lossy(publication.options.source);
    let words: Vec<&str> = source.split(' ').collect();
    let own = String::from_utf8_lossy(publication.subject);
    let (stream, subject) = (words[0], words.get(4).copied().unwrap_or(&own));
    let value = value_in(publication.payload()).ok_or(table::MESSAGE_COUNTER_BROKEN)?;
    let subjects = heard.entry(stream.into()).or_default();
    let before = subjects.insert(subject.into(), value.to_string());
    let before = before.and_then(|text| number(text.as_bytes())).unwrap_or(BigInt::ZERO);
    Ok(value - before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_large_as_they_are() {
        for (text, expected) in [
            ("5", Some("5")),
            ("+5", Some("5")),
            ("-5", Some("-5")),
            ("123456789012345678901234567890", Some("123456789012345678901234567890")),
            ("", None),
            ("-", None),
            ("1_0", None),
            ("+-1", None),
            ("1.0", None),
        ] {
            let found = number(text.as_bytes()).map(|number| number.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert_eq!(value_in(b"{\"val\":\"7\"}"), Some(BigInt::from(7)));
        assert_eq!(value_in(b"{\"val\":7}"), None);
    }
}
