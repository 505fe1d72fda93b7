//! What a stream has to learn again after a start from the headers of its messages: ids within the
//! duplicate window, and messages with a time to live of their own.
//!
//! Publishes are taken only once that is done, or a duplicate could slip in.

use base::Wall;
use base::limits::RECALLED_PER_TURN_MAX;
use storage::{Fetched, KeySet};

use super::Stream;
use super::options::{Options, Ttl, ttl_of};
use crate::ground::Site;

/// How far a stream has come in looking through its messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recall {
    /// The next message to look at.
    from: u64,
    /// Ids of messages stored before this are of no use.
    window: Wall,
    /// Is a message being read?
    is_reading: bool,
}

impl Stream {
    /// Begins to look through the messages that were there before the start.
    pub(crate) fn begin_recall(&mut self, site: &mut Site<'_>) {
        let config = &self.core.config;
        let window = Wall(site.now.wall.0.saturating_sub(config.duplicate_window));
        let log = site.ground.store.log(self.core.log);
        // Every message may have a time to live; ids matter only within the window. The last
        // message's id is always remembered.
        let from = if config.allow_msg_ttl || config.allow_msg_schedules {
            log.first()
        } else {
            log.sequence_at(window).unwrap_or(log.last())
        };
        // Messages of sources matter that came in after it was noted how far those had come.
        let unknown = self.upstreams_unknown_from(site).unwrap_or(u64::MAX);
        self.recall = Some(Recall { from: from.min(unknown), window, is_reading: false });
        self.list(site);
    }

    /// Goes on looking, and opens the stream for publishes at the end.
    pub(crate) fn recall(&mut self, site: &mut Site<'_>) {
        let Some(mut recall) = self.recall else { return };
        recall.is_reading = false;
        for _ in 0..RECALLED_PER_TURN_MAX {
            let log = site.ground.store.log(self.core.log);
            let Some(sequence) = log.next(recall.from, &KeySet::ALL) else {
                self.recall = None;
                self.list(site);
                return;
            };
            let (header, wall) = match site.ground.store.fetch(self.core.log, sequence) {
                Fetched::Here(entry) => (entry.header_block().to_vec(), entry.wall),
                Fetched::Reading(_) => {
                    recall.is_reading = true;
                    site.ground.readers.push(self.core.id);
                    break;
                }
                Fetched::Missing | Fetched::Damaged => (Vec::new(), Wall(0)),
            };
            if self.core.config.allow_msg_schedules && !header.is_empty() {
                let log = site.ground.store.log(self.core.log);
                let key = log.key_of(sequence).expect("the message is there");
                let subject = log.keys().text(key).to_vec();
                self.learn_schedule(&subject, &header, sequence, wall, site.now.wall);
            }
            self.learn(sequence, &header, wall, recall.window);
            recall.from = sequence + 1;
        }
        self.recall = Some(recall);
        if !recall.is_reading {
            self.list(site);
        }
    }

    fn learn(&mut self, sequence: u64, header: &[u8], wall: Wall, window: Wall) {
        let options = Options::read(header);
        self.last_id.clear();
        self.last_id.extend_from_slice(options.message_id);
        if !options.message_id.is_empty() && wall >= window {
            self.dedupe.insert(options.message_id, sequence, wall);
        }
        self.expiry.note(sequence, wall, ttl_of(options.ttl).unwrap_or(Ttl::Unset));
        if !options.source.is_empty() {
            self.recall_source(options.source);
        }
    }
}
