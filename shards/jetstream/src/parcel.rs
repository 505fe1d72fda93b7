//! Messages of JetStream's own, built in one buffer that is used again and again.

use base::{AccountId, text::Decimal};
use wire::Message;

use crate::Outlet;

/// A message under construction: header lines and a payload.
#[derive(Debug, Default)]
pub struct Parcel {
    /// The header block, without its final empty line, if there is one.
    header: Vec<u8>,
    payload: Vec<u8>,
    tail: Vec<u8>,
}

impl Parcel {
    /// Starts a message without header and payload.
    pub fn clear(&mut self) -> &mut Self {
        self.header.clear();
        self.payload.clear();
        self
    }

    /// Starts a message that has only a status: `NATS/1.0 404 No Messages`, text included.
    pub fn status(&mut self, status: &str) -> &mut Self {
        self.clear();
        self.header.extend_from_slice(b"NATS/1.0 ");
        self.header.extend_from_slice(status.as_bytes());
        self.header.extend_from_slice(b"\r\n");
        self
    }

    /// Takes over a whole header block, with its final empty line, to append to.
    pub fn block(&mut self, block: &[u8]) -> &mut Self {
        self.header.clear();
        self.header.extend_from_slice(block.strip_suffix(b"\r\n").unwrap_or(block));
        self
    }

    /// Appends a header line.
    pub fn line(&mut self, name: &str, value: &[u8]) -> &mut Self {
        if self.header.is_empty() {
            self.header.extend_from_slice(b"NATS/1.0\r\n");
        }
        self.header.extend_from_slice(name.as_bytes());
        self.header.extend_from_slice(b": ");
        self.header.extend_from_slice(value);
        self.header.extend_from_slice(b"\r\n");
        self
    }

    /// Appends a header line with a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.line(name, Decimal::new(value).as_bytes())
    }

    /// The payload, to write.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.payload
    }

    /// Appends to the payload.
    pub fn body(&mut self, bytes: &[u8]) -> &mut Self {
        self.payload.extend_from_slice(bytes);
        self
    }

    /// The finished message.
    pub fn message<'a>(&'a mut self, subject: &'a [u8], reply: &'a [u8]) -> Message<'a> {
        if !self.header.is_empty() {
            self.header.extend_from_slice(b"\r\n");
        }
        let header = self.header.len();
        self.tail.clear();
        if header > 0 {
            self.tail.extend_from_slice(Decimal::new(header as u64).as_bytes());
            self.tail.push(b' ');
        }
        let size = header + self.payload.len();
        self.tail.extend_from_slice(Decimal::new(size as u64).as_bytes());
        self.tail.extend_from_slice(b"\r\n");
        let sizes_bytes = self.tail.len();
        self.tail.extend_from_slice(&self.header);
        self.tail.extend_from_slice(&self.payload);
        self.tail.extend_from_slice(b"\r\n");
        Message { subject, reply, header, tail: &self.tail, sizes_bytes }
    }

    /// Publishes the message. True if anyone got it.
    pub fn send(
        &mut self,
        out: &mut dyn Outlet,
        account: AccountId,
        subject: &[u8],
        reply: &[u8],
    ) -> bool {
        let message = self.message(subject, reply);
        out.publish(account, &message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_sizes() {
        let mut parcel = Parcel::default();
        let message = parcel.clear().body(b"hi").message(b"a", b"");
        assert_eq!((message.tail, message.header), (&b"2\r\nhi\r\n"[..], 0));
        let message = parcel.status("408 Request Timeout").message(b"a", b"");
        assert_eq!(message.tail, b"32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n");
        let message = parcel.clear().block(b"NATS/1.0\r\nA: b\r\n\r\n").number("C", 7);
        assert_eq!(message.message(b"a", b"").body(), b"NATS/1.0\r\nA: b\r\nC: 7\r\n\r\n\r\n");
    }
}
