//! What the header of a message asks of a stream (spec 6.5), found in one pass.

/// The values of the headers that streams know; absent and empty ones are the same. The first of a
/// name counts, and names are case-sensitive, as in the reference.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options<'a> {
    pub(crate) message_id: &'a [u8],
    pub(crate) expected_stream: &'a [u8],
    pub(crate) expected_last: &'a [u8],
    pub(crate) expected_subject_last: &'a [u8],
    pub(crate) expected_subject: &'a [u8],
    pub(crate) expected_id: &'a [u8],
    pub(crate) rollup: &'a [u8],
    pub(crate) ttl: &'a [u8],
    pub(crate) increment: &'a [u8],
    pub(crate) batch: &'a [u8],
    pub(crate) batch_sequence: &'a [u8],
    pub(crate) batch_commit: &'a [u8],
    pub(crate) schedule: &'a [u8],
    pub(crate) schedule_next: &'a [u8],
    pub(crate) scheduler: &'a [u8],
    pub(crate) source: &'a [u8],
    pub(crate) marker_reason: &'a [u8],
    pub(crate) api_level: &'a [u8],
    pub(crate) kv_operation: &'a [u8],
    /// Is there a header that is not stored as it came?
    pub(crate) must_strip: bool,
}

/// Who asked, as a service import from another account notes it. Not stored.
const CLIENT_INFO: &[u8] = b"Nats-Request-Info";

impl<'a> Options<'a> {
    /// Reads a header block.
    pub(crate) fn read(block: &'a [u8]) -> Self {
        let mut options = Self::default();
        let Some(end) = line_end(block) else { return options };
        // A status says nothing to a stream.
        options.must_strip = end > b"NATS/1.0".len();
        let mut rest = block.get(end + 2..).unwrap_or_default();
        while let Some(end) = line_end(rest) {
            let line = &rest[..end];
            if line.starts_with(b"Nats-") || line.starts_with(b"KV-") {
                options.take(line);
            }
            rest = rest.get(end + 2..).unwrap_or_default();
        }
        options
    }

    fn take(&mut self, line: &'a [u8]) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii_start());
        let place = match name {
            b"Nats-Msg-Id" => &mut self.message_id,
            b"Nats-Expected-Stream" => &mut self.expected_stream,
            b"Nats-Expected-Last-Sequence" => &mut self.expected_last,
            b"Nats-Expected-Last-Subject-Sequence" => &mut self.expected_subject_last,
            b"Nats-Expected-Last-Subject-Sequence-Subject" => &mut self.expected_subject,
            b"Nats-Expected-Last-Msg-Id" => &mut self.expected_id,
            b"Nats-Rollup" => &mut self.rollup,
            b"Nats-TTL" => &mut self.ttl,
            b"Nats-Incr" => &mut self.increment,
            b"Nats-Batch-Id" => &mut self.batch,
            b"Nats-Batch-Sequence" => &mut self.batch_sequence,
            b"Nats-Batch-Commit" => &mut self.batch_commit,
            b"Nats-Schedule" => &mut self.schedule,
            b"Nats-Schedule-Next" => &mut self.schedule_next,
            b"Nats-Scheduler" => &mut self.scheduler,
            b"Nats-Stream-Source" => &mut self.source,
            b"Nats-Marker-Reason" => &mut self.marker_reason,
            b"Nats-Required-Api-Level" => &mut self.api_level,
            b"KV-Operation" => &mut self.kv_operation,
            CLIENT_INFO => {
                self.must_strip = true;
                return;
            }
            _ => return,
        };
        if place.is_empty() {
            *place = value;
        }
    }

    /// Is it stored only on a condition?
    pub(crate) fn has_expectation(&self) -> bool {
        let conditions = [
            self.expected_stream,
            self.expected_last,
            self.expected_subject_last,
            self.expected_subject,
            self.expected_id,
        ];
        conditions.iter().any(|value| !value.is_empty())
    }

    /// Does it have conditions, or is it part of a batch?
    pub(crate) fn is_conditional(&self) -> bool {
        self.has_expectation() || !self.batch.is_empty()
    }

    /// Does the message stand for the end of its subject?
    pub(crate) fn is_delete_marker(&self) -> bool {
        !self.marker_reason.is_empty() || self.kv_operation == b"PURGE"
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n")
}

/// Appends a header block without its status and without what is not stored.
pub(crate) fn put_stripped(block: &[u8], without: &[u8], out: &mut Vec<u8>) {
    put_filtered(block, |name| without.is_empty() || name != without, out);
}

/// Appends a header block without its status, without what is not stored, and only with lines of
/// these names.
pub(crate) fn put_filtered(block: &[u8], is_kept: impl Fn(&[u8]) -> bool, out: &mut Vec<u8>) {
    let Some(end) = line_end(block) else { return };
    out.extend_from_slice(b"NATS/1.0\r\n");
    let mut rest = block.get(end + 2..).unwrap_or_default();
    while let Some(end) = line_end(rest).filter(|end| *end > 0) {
        let line = &rest[..end];
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name != CLIENT_INFO && is_kept(name) {
            out.extend_from_slice(&rest[..end + 2]);
        }
        rest = rest.get(end + 2..).unwrap_or_default();
    }
    out.extend_from_slice(b"\r\n");
}

/// The value of a header line, if there is one of this name.
pub(crate) fn header_value<'a>(block: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = block;
    while let Some(end) = line_end(rest) {
        let value = rest[..end].strip_prefix(name).and_then(|rest| rest.strip_prefix(b":"));
        if let Some(value) = value {
            return Some(value.trim_ascii());
        }
        rest = &rest[end + 2..];
    }
    None
}

/// A number as the reference reads it from a header: nothing but digits. What is none counts as the
/// largest there is, which no sequence reaches.
pub(crate) fn sequence_of(digits: &[u8]) -> u64 {
    number_of(digits).unwrap_or(u64::MAX)
}

/// A number of nothing but digits that fits.
pub(crate) fn number_of(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    text.parse().ok().filter(|number| *number <= i64::MAX.unsigned_abs())
}

/// How long a message is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    /// As long as the stream's other limits let it.
    Unset,
    /// So many seconds.
    Seconds(i64),
    /// Whatever `max_age` is.
    Never,
}

/// The value of `Nats-TTL`: seconds, a duration as Go writes it, or `never`. Nothing if it is none
/// of these, or under a second.
pub(crate) fn ttl_of(value: &[u8]) -> Option<Ttl> {
    if value.is_empty() {
        return Some(Ttl::Unset);
    }
    if value.eq_ignore_ascii_case(b"never") {
        return Some(Ttl::Never);
    }
    let text = std::str::from_utf8(value).ok()?;
    if let Some(nanos) = crate::span::parse(text) {
        return (nanos >= 1_000_000_000).then_some(Ttl::Seconds(nanos / 1_000_000_000));
    }
    let seconds = number_of(value)? as i64;
    Some(if seconds == 0 { Ttl::Unset } else { Ttl::Seconds(seconds) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_by_their_exact_name() {
        let block = b"NATS/1.0\r\nFoo: Nats-Msg-Id: x\r\nNats-Msg-Id:   a b\r\nNats-Msg-Id: c\r\n\
            nats-rollup: all\r\nNats-TTL:5s\r\n\r\n";
        let options = Options::read(block);
        assert_eq!(options.message_id, b"a b");
        assert_eq!(options.rollup, b"");
        assert_eq!(options.ttl, b"5s");
        assert!(!options.must_strip);
        assert!(Options::read(b"NATS/1.0 100 Idle\r\n\r\n").must_strip);
        for cut in 0..block.len() {
            let _ = Options::read(&block[..cut]);
        }
    }

    #[test]
    fn a_block_is_stripped() {
        let block = b"NATS/1.0 100 x\r\nA: b\r\nNats-Request-Info: {}\r\nNats-TTL: 1\r\n\r\n";
        let mut out = Vec::new();
        put_stripped(block, b"", &mut out);
        assert_eq!(out, b"NATS/1.0\r\nA: b\r\nNats-TTL: 1\r\n\r\n");
        out.clear();
        put_stripped(block, b"Nats-TTL", &mut out);
        assert_eq!(out, b"NATS/1.0\r\nA: b\r\n\r\n");
    }

    #[test]
    fn times_to_live() {
        for (text, expected) in [
            ("", Some(Ttl::Unset)),
            ("NEVER", Some(Ttl::Never)),
            ("5", Some(Ttl::Seconds(5))),
            ("1m1.5s", Some(Ttl::Seconds(61))),
            ("500ms", None),
            ("-1", None),
            ("0", None),
            ("x", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(ttl_of(text.as_bytes()), expected, "{text}");
        }
    }
}
