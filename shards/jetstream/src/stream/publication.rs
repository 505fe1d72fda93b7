//! A message on its way into a stream.

use wire::Message;

use super::options::Options;
use crate::error::{Fault, table};

/// A message as a stream is to store it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication<'a> {
    /// The subject, transformed if the stream does so.
    pub(crate) subject: &'a [u8],
    /// Where the acknowledgement goes; empty for nowhere.
    pub(crate) reply: &'a [u8],
    /// Bytes of the header block.
    pub(crate) header: usize,
    /// Sizes, header and payload, as in [`Message::tail`].
    pub(crate) tail: &'a [u8],
    /// Bytes in front of header and payload.
    pub(crate) sizes_bytes: usize,
    /// What its header says.
    pub(crate) options: Options<'a>,
    /// Was it stored elsewhere before, or made by the server?
    pub(crate) is_trusted: bool,
}

impl<'a> Publication<'a> {
    pub(crate) fn new(message: &Message<'a>) -> Self {
        let mut publication = Self {
            subject: message.subject,
            reply: message.reply,
            header: message.header,
            tail: message.tail,
            sizes_bytes: message.sizes_bytes,
            options: Options::default(),
            is_trusted: false,
        };
        if message.header > 0 {
            publication.options = Options::read(publication.block());
        }
        publication
    }

    /// The header block.
    pub(crate) fn block(&self) -> &'a [u8] {
        &self.tail[self.sizes_bytes..self.sizes_bytes + self.header]
    }

    /// The payload.
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.tail[self.sizes_bytes + self.header..self.tail.len() - 2]
    }

    /// Bytes of header and payload.
    pub(crate) fn size(&self) -> usize {
        self.tail.len() - self.sizes_bytes - 2
    }
}

/// Why a message is not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is answered with an error.
    Fault(Fault),
    /// It was stored before, under this sequence.
    Duplicate(u64),
    /// What has to be looked at first is being read from disk.
    Reading,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The store did not take it, for this reason.
pub(crate) fn not_stored(cause: &str) -> Refusal {
    Refusal::Fault(table::STREAM_STORE_FAILED.because(cause))
}

/// Writes a message that has changed: sizes, header and payload. Returns the bytes of the sizes.
pub(crate) fn put_tail(
    out: &mut Vec<u8>,
    put_header: impl FnOnce(&mut Vec<u8>),
    payload: &[u8],
) -> (usize, usize) {
    // Room for the sizes is taken by the header first, and rotated into place.
    out.clear();
    put_header(out);
    let header = out.len();
    out.extend_from_slice(payload);
    let sizes_at = out.len();
    if header > 0 {
        out.extend_from_slice(base::text::Decimal::new(header as u64).as_bytes());
        out.push(b' ');
    }
    out.extend_from_slice(base::text::Decimal::new(sizes_at as u64).as_bytes());
    out.extend_from_slice(b"\r\n");
    let sizes_bytes = out.len() - sizes_at;
    out.rotate_right(sizes_bytes);
    out.extend_from_slice(b"\r\n");
    (sizes_bytes, header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_message_has_its_sizes() {
        let mut out = Vec::new();
        let header = b"NATS/1.0\r\nA: b\r\n\r\n";
        let (sizes, bytes) = put_tail(&mut out, |out| out.extend_from_slice(header), b"hi");
        assert_eq!(out, b"18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n");
        assert_eq!((sizes, bytes), (7, 18));
        let (sizes, bytes) = put_tail(&mut out, |_| {}, b"hi");
        assert_eq!(out, b"2\r\nhi\r\n");
        assert_eq!((sizes, bytes), (3, 0));
    }
}
