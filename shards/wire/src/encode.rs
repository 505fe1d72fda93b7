//! Messages to bytes: MSG and HMSG.

use base::text::{Cursor, Decimal};

/// A message on its way to subscribers, borrowed from the input it came in.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The subject that the subscriber sees.
    pub subject: &'a [u8],
    /// The reply subject, or nothing.
    pub reply: &'a [u8],
    /// Bytes of the header block; zero without one.
    pub header: usize,
    /// Sizes, CR LF, header, payload, CR LF: what follows the reply in a MSG (without a header) or
    /// HMSG (with one) line.
    pub tail: &'a [u8],
    /// Bytes of `tail` in front of the header or payload.
    pub sizes_bytes: usize,
}

impl<'a> Message<'a> {
    /// Header and payload, with the final CR LF.
    pub fn body(&self) -> &'a [u8] {
        &self.tail[self.sizes_bytes..]
    }

    /// Bytes of header and payload.
    pub fn size(&self) -> usize {
        self.tail.len() - self.sizes_bytes - 2
    }

    /// Payload bytes that a subscriber gets, and so is counted for.
    pub fn size_for(&self, headers: bool) -> usize {
        self.size() - if headers { 0 } else { self.header }
    }
}

/// Appends the MSG or HMSG for one subscription. A subscriber without header support gets the
/// payload alone.
#[inline]
pub fn message(out: &mut Vec<u8>, message: &Message<'_>, sid: &[u8], headers: bool) {
    if message.header == 0 {
        return put(out, b"MSG ", message, sid, message.tail);
    }
    if headers {
        return put(out, b"HMSG ", message, sid, message.tail);
    }
    let size = Decimal::new(message.size_for(false) as u64);
    put(out, b"MSG ", message, sid, size.as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&message.body()[message.header..]);
}

#[inline]
fn put(out: &mut Vec<u8>, verb: &[u8], message: &Message<'_>, sid: &[u8], tail: &[u8]) {
    let reply = message.reply;
    let reply_bytes = if reply.is_empty() { 0 } else { reply.len() + 1 };
    let head = verb.len() + message.subject.len() + 1 + sid.len() + 1 + reply_bytes;
    out.reserve(head + tail.len());
    let at = out.len();
    out.resize(at + head, 0);
    let mut cursor = Cursor::new(&mut out[at..]);
    cursor.put(verb);
    cursor.put(message.subject);
    cursor.byte(b' ');
    cursor.put(sid);
    cursor.byte(b' ');
    if !reply.is_empty() {
        cursor.put(reply);
        cursor.byte(b' ');
    }
    cursor.finish();
    out.extend_from_slice(tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(header: usize, sizes: &str, body: &str, reply: &str, headers: bool) -> String {
        let tail = format!("{sizes}\r\n{body}\r\n");
        let mut out = b"before ".to_vec();
        let value = Message {
            subject: b"foo.bar",
            reply: reply.as_bytes(),
            header,
            tail: tail.as_bytes(),
            sizes_bytes: sizes.len() + 2,
        };
        message(&mut out, &value, b"42", headers);
        String::from_utf8(out).expect("the pieces are text")
    }

    #[test]
    fn a_plain_message() {
        assert_eq!(encoded(0, "2", "hi", "", true), "before MSG foo.bar 42 2\r\nhi\r\n");
        assert_eq!(encoded(0, "0", "", "r", false), "before MSG foo.bar 42 r 0\r\n\r\n");
    }

    #[test]
    fn headers_go_to_those_who_asked() {
        let block = "NATS/1.0\r\n\r\n";
        let body = format!("{block}hi");
        assert_eq!(
            encoded(12, "12 14", &body, "", true),
            format!("before HMSG foo.bar 42 12 14\r\n{block}hi\r\n")
        );
        assert_eq!(encoded(12, "12 14", &body, "r", false), "before MSG foo.bar 42 r 2\r\nhi\r\n");
    }
}
