//! What the server itself has to say.

use base::AccountId;
use shard::Shard;
use wire::Message;

/// A message of the server's own.
#[derive(Clone, Debug)]
pub(crate) struct Speech {
    pub(crate) account: AccountId,
    pub(crate) subject: Vec<u8>,
    pub(crate) reply: Vec<u8>,
    /// The header block with its empty line, or nothing.
    pub(crate) header: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Speech {
    /// Publishes it.
    pub(super) fn publish(&self, shard: &mut Shard) {
        let (header, total) = (self.header.len(), self.header.len() + self.payload.len());
        let mut tail = match header {
            0 => format!("{total}\r\n"),
            _ => format!("{header} {total}\r\n"),
        }
        .into_bytes();
        let sizes_bytes = tail.len();
        tail.extend_from_slice(&self.header);
        tail.extend_from_slice(&self.payload);
        tail.extend_from_slice(b"\r\n");
        let (subject, reply) = (&self.subject, &self.reply);
        shard.speak(self.account, &Message { subject, reply, header, tail: &tail, sizes_bytes });
    }
}
