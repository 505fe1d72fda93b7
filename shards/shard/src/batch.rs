//! Publishes to many subjects, looked up together.
//!
//! With a million subjects each look-up misses the cache several times, one miss after the other.
//! Looked up in a batch, the misses of different messages overlap (benches/index.rs). Delivery then
//! finds everything at hand.

use base::Slot;
use subjects::Route;
use wire::{Message, PublishLine, quick_publish};

use crate::shard::Shard;

/// Messages that are looked up together: as many misses as a core has under way at a time.
const BATCH: usize = 16;

impl Shard {
    /// Deals with the plainest publishes at the start of `input`, several at a time, as long as
    /// their subjects differ. Returns their bytes.
    pub(crate) fn publish_batches(&mut self, slot: Slot, input: &[u8]) -> usize {
        let connection = self.wires.get(slot);
        let options = connection.options;
        if connection.maps || options.verbose || options.pedantic || self.config.trace {
            return 0;
        }
        let mut at = 0;
        loop {
            let taken = self.publish_batch(slot, &input[at..]);
            at += taken;
            if taken == 0 || self.wires.pressed || !self.wires.get(slot).is_open() {
                return at;
            }
        }
    }

    fn publish_batch(&mut self, slot: Slot, input: &[u8]) -> usize {
        let mut lines: [(usize, PublishLine<'_>); BATCH] = [(0, PublishLine::default()); BATCH];
        let max_payload = self.wires.get(slot).max_payload;
        let count = self.gather(input, max_payload, &mut lines);
        let count = self.count_permitted(slot, &lines[..count]);
        if count < 2 {
            return 0;
        }
        let lines = &lines[..count];
        let mut subjects: [&[u8]; BATCH] = [&[]; BATCH];
        for (subject, (_, line)) in subjects.iter_mut().zip(lines) {
            *subject = line.subject;
        }
        let mut routes = [Route::default(); BATCH];
        let account = self.wires.get(slot).account;
        let mut route = || self.spaces.route_all(account, &subjects, &mut routes, count);
        if !route() && !route() {
            return 0;
        }
        let version = self.spaces.at(account).version();
        let mut done = 0;
        for ((start, line), route) in lines.iter().zip(routes) {
            let end = start + line.line_bytes + line.size + 2;
            let message = Message {
                subject: line.subject,
                reply: line.reply,
                header: 0,
                tail: &input[start + line.sizes_at..end],
                sizes_bytes: line.line_bytes - line.sizes_at,
            };
            self.publish_routed(slot, &message, route);
            done = end;
            if self.spaces.at(account).version() != version || self.wires.pressed {
                break;
            }
        }
        done
    }

    /// Finds publishes that need no further check. Returns how many.
    fn gather<'a>(
        &self,
        input: &'a [u8],
        max_payload: usize,
        lines: &mut [(usize, PublishLine<'a>); BATCH],
    ) -> usize {
        let mut at = 0;
        let mut count = 0;
        while count < BATCH
            && let Some(line) = quick_publish(&input[at..], self.config.max_control_line)
        {
            let end = at + line.line_bytes + line.size;
            let repeats = count > 0 && lines[count - 1].1.subject == line.subject;
            let whole = input.get(end..end + 2).is_some_and(|ending| ending == b"\r\n");
            if repeats || !whole || line.size > max_payload {
                break;
            }
            lines[count] = (at, line);
            count += 1;
            at = end + 2;
        }
        count
    }
}
