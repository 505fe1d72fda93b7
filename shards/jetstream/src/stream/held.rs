//! Messages that wait for a read from disk.
//!
//! Few messages depend on what an earlier one says: counters do. While one waits, all that come
//! after it wait too, so that a stream keeps the order in which it was published to. After a start
//! all wait until the stream knows again which message ids it has seen.

use std::collections::VecDeque;

use base::limits::HELD_BYTES_MAX;
use wire::Message;

use super::Stream;
use super::publication::Publication;
use crate::ground::Site;

/// Messages that wait, in order.
#[derive(Debug, Default)]
pub(crate) struct Held {
    messages: VecDeque<Owned>,
    bytes: usize,
}

/// A message that owns its bytes.
#[derive(Debug)]
struct Owned {
    subject: Box<[u8]>,
    reply: Box<[u8]>,
    header: usize,
    tail: Box<[u8]>,
    sizes_bytes: usize,
    /// Was it rewritten already as the stream asks for?
    is_rewritten: bool,
}

impl Owned {
    fn bytes(&self) -> usize {
        self.subject.len() + self.reply.len() + self.tail.len()
    }

    fn message(&self) -> Message<'_> {
        Message {
            subject: &self.subject,
            reply: &self.reply,
            header: self.header,
            tail: &self.tail,
            sizes_bytes: self.sizes_bytes,
        }
    }
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Does a message more go beyond what a stream holds? It is refused then.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > HELD_BYTES_MAX
    }

    fn push(&mut self, owned: Owned, at_front: bool) {
        self.bytes += owned.bytes();
        if at_front {
            self.messages.push_front(owned);
        } else {
            self.messages.push_back(owned);
        }
    }

    fn pop(&mut self) -> Option<Owned> {
        let owned = self.messages.pop_front()?;
        self.bytes -= owned.bytes();
        Some(owned)
    }
}

impl Stream {
    /// Lets a message wait behind those that wait.
    pub(super) fn hold(&mut self, message: &Message<'_>) {
        let owned = Owned {
            subject: message.subject.into(),
            reply: message.reply.into(),
            header: message.header,
            tail: message.tail.into(),
            sizes_bytes: message.sizes_bytes,
            is_rewritten: false,
        };
        self.held.push(owned, false);
    }

    /// Lets a message wait until what it depends on has been read.
    pub(super) fn hold_for_read(&mut self, site: &mut Site<'_>, publication: &Publication<'_>) {
        let owned = Owned {
            subject: publication.subject.into(),
            reply: publication.reply.into(),
            header: publication.header,
            tail: publication.tail.into(),
            sizes_bytes: publication.sizes_bytes,
            is_rewritten: true,
        };
        self.held.push(owned, true);
        self.is_held_by_read = true;
        site.ground.readers.push(self.core.id);
    }

    /// Takes the messages that waited, as far as it goes now.
    pub(super) fn take_up_held(&mut self, site: &mut Site<'_>) {
        self.is_held_by_read = false;
        if self.recall.is_some() {
            return;
        }
        while !self.is_held_by_read
            && let Some(owned) = self.held.pop()
        {
            if owned.is_rewritten {
                self.take(site, &Publication::new(&owned.message()));
            } else {
                self.ingest_now(site, &owned.message());
            }
        }
    }
}
