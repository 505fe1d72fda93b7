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

/// Bytes that a message takes at most for one subscription, its name included.
#[inline]
pub fn bytes_max(message: &Message<'_>, sid: &[u8]) -> usize {
    // The verb, three blanks, and digits of a payload without its header.
    const FIXED: usize = 5 + 3 + 22;
    FIXED + message.subject.len() + sid.len() + message.reply.len() + message.tail.len()
}

/// Writes the MSG or HMSG for one subscription to the start of `room`, which has
/// [`bytes_max`] bytes or more, and returns its bytes. A subscriber without header support gets the
/// payload alone.
#[inline]
pub fn message(room: &mut [u8], message: &Message<'_>, sid: &[u8], headers: bool) -> usize {
    if message.header == 0 {
        return put(room, b"MSG ", message, sid, message.tail);
    }
    if headers {
        return put(room, b"HMSG ", message, sid, message.tail);
    }
    let size = Decimal::new(message.size_for(false) as u64);
    let at = put(room, b"MSG ", message, sid, size.as_bytes());
    let mut cursor = Cursor::new(&mut room[at..]);
    cursor.put(b"\r\n");
    cursor.put(&message.body()[message.header..]);
    at + cursor.at()
}

#[inline]
fn put(room: &mut [u8], verb: &[u8], message: &Message<'_>, sid: &[u8], tail: &[u8]) -> usize {
    let mut cursor = Cursor::new(room);
    cursor.put(verb);
    cursor.put(message.subject);
    cursor.byte(b' ');
    cursor.put(sid);
    cursor.byte(b' ');
    if !message.reply.is_empty() {
        cursor.put(message.reply);
        cursor.byte(b' ');
    }
    cursor.put(tail);
    cursor.at()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(header: usize, sizes: &str, body: &str, reply: &str, headers: bool) -> String {
        let tail = format!("{sizes}\r\n{body}\r\n");
        let value = Message {
            subject: b"foo.bar",
            reply: reply.as_bytes(),
            header,
            tail: tail.as_bytes(),
            sizes_bytes: sizes.len() + 2,
        };
        let mut room = vec![0; bytes_max(&value, b"42")];
        let bytes = message(&mut room, &value, b"42", headers);
        room.truncate(bytes);
        String::from_utf8(room).expect("the pieces are text")
    }

    #[test]
    fn a_plain_message() {
        assert_eq!(encoded(0, "2", "hi", "", true), "MSG foo.bar 42 2\r\nhi\r\n");
        assert_eq!(encoded(0, "0", "", "r", false), "MSG foo.bar 42 r 0\r\n\r\n");
    }

    #[test]
    fn headers_go_to_those_who_asked() {
        let block = "NATS/1.0\r\n\r\n";
        let body = format!("{block}hi");
        assert_eq!(
            encoded(12, "12 14", &body, "", true),
            format!("HMSG foo.bar 42 12 14\r\n{block}hi\r\n")
        );
        assert_eq!(encoded(12, "12 14", &body, "r", false), "MSG foo.bar 42 r 2\r\nhi\r\n");
    }
}
