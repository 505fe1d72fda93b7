//! Publishes encoded before the run: a write is a slice of them, whatever it costs per message.

use std::rc::Rc;

/// Bytes a block aims at: large enough that a system call is shared by thousands of small messages,
/// small enough to stay in the second-level cache of the load's own core.
const BLOCK_BYTES: usize = 128 * 1024;
/// Frames of a random block: enough that their subjects do not fit a server's caches.
const RANDOM_FRAMES_MAX: usize = 1 << 20;
/// Most bytes offered to one write.
const WRITE_MAX: usize = 256 * 1024;

/// Frames of one length, back to back, sent round and round.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    frame_len: usize,
}

impl Block {
    /// Publishes to one subject, each payload starting with its index modulo [`Block::frames`].
    pub(crate) fn ordered(subject: &str, size: usize) -> Self {
        let line = format!("PUB {subject} {size}\r\n");
        let frame_len = line.len() + size + 2;
        let frames = (BLOCK_BYTES / frame_len).max(2).next_power_of_two();
        let mut bytes = Vec::with_capacity(frames * frame_len);
        for index in 0..frames as u64 {
            push_frame(&mut bytes, &line, index, size);
        }
        Self { bytes, frame_len }
    }

    /// Publishes to subjects picked at random; `subject` gives names of one length.
    pub(crate) fn random(
        count: u64,
        size: usize,
        seed: u64,
        subject: impl Fn(u64) -> String,
    ) -> Self {
        let frames = (count as usize).next_power_of_two().clamp(1 << 12, RANDOM_FRAMES_MAX);
        let mut random = SplitMix(seed);
        let mut bytes = Vec::new();
        for index in 0..frames as u64 {
            let line = format!("PUB {} {size}\r\n", subject(random.below(count)));
            push_frame(&mut bytes, &line, index, size);
        }
        assert_eq!(bytes.len() % frames, 0, "all frames are of one length");
        let frame_len = bytes.len() / frames;
        Self { bytes, frame_len }
    }

    pub(crate) fn frames(&self) -> u64 {
        (self.bytes.len() / self.frame_len) as u64
    }
}

/// The payload every load sends: its index, then filling.
pub(crate) fn push_payload(bytes: &mut Vec<u8>, index: u64, size: usize) {
    let start = bytes.len();
    bytes.extend_from_slice(&index.to_le_bytes()[..size.min(8)]);
    bytes.resize(start + size, b'.');
}

fn push_frame(bytes: &mut Vec<u8>, line: &str, index: u64, size: usize) {
    bytes.extend_from_slice(line.as_bytes());
    push_payload(bytes, index, size);
    bytes.extend_from_slice(b"\r\n");
}

/// How far one publisher is in its block, and how far it may go.
#[derive(Debug)]
pub(crate) struct Source {
    block: Rc<Block>,
    sent: u64,
    limit: u64,
}

impl Source {
    pub(crate) fn new(block: Rc<Block>) -> Self {
        Self { block, sent: 0, limit: 0 }
    }

    /// Starts a section of so many messages, from the first frame of the block.
    pub(crate) fn restart(&mut self, messages: u64) {
        self.sent = 0;
        self.limit = messages.saturating_mul(self.block.frame_len as u64);
    }

    /// Ends the section with the message that is being sent.
    pub(crate) fn stop(&mut self) {
        self.limit = self.sent.next_multiple_of(self.block.frame_len as u64).min(self.limit);
    }

    /// The next bytes to write, at most `room` of them.
    pub(crate) fn next(&self, room: u64) -> &[u8] {
        let at = (self.sent % self.block.bytes.len() as u64) as usize;
        let left = (self.limit - self.sent).min(room).min(WRITE_MAX as u64) as usize;
        &self.block.bytes[at..][..left.min(self.block.bytes.len() - at)]
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        assert!(self.sent <= self.limit);
    }

    /// Bytes that are missing of the frame being sent.
    pub(crate) fn cut(&self) -> u64 {
        self.sent.next_multiple_of(self.frame_len()) - self.sent
    }

    pub(crate) fn frame_len(&self) -> u64 {
        self.block.frame_len as u64
    }

    /// Messages of which at least one byte is sent.
    pub(crate) fn messages(&self) -> u64 {
        self.sent.div_ceil(self.block.frame_len as u64)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.sent == self.limit
    }
}

/// Vigna's generator: a run repeats from its seed.
#[derive(Debug)]
pub(crate) struct SplitMix(pub(crate) u64);

impl SplitMix {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        ((u128::from(word) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_whole_frames_from_the_first() {
        let block = Rc::new(Block::ordered("a", 16));
        assert!(block.frames().is_power_of_two());
        let mut source = Source::new(Rc::clone(&block));
        source.restart(3 * block.frames() + 1);
        let mut sent = Vec::new();
        while !source.is_done() {
            let step = source.next(1000).len();
            sent.extend_from_slice(source.next(1000));
            source.advance(step);
        }
        assert_eq!(source.messages(), 3 * block.frames() + 1);
        assert_eq!(sent.len() as u64, source.messages() * source.frame_len());
        assert_eq!(sent[block.bytes.len()..][..block.frame_len], block.bytes[..block.frame_len]);
    }

    #[test]
    fn stopping_finishes_the_frame() {
        let block = Rc::new(Block::ordered("a", 16));
        let mut source = Source::new(Rc::clone(&block));
        source.restart(u64::MAX);
        source.advance(block.frame_len + 1);
        source.stop();
        assert_eq!(source.next(u64::MAX).len(), block.frame_len - 1);
        assert_eq!(source.messages(), 2);
    }

    #[test]
    fn random_subjects_stay_in_range_and_repeat() {
        let make = || Block::random(10, 4, 7, |index| format!("s.{:03}", 100 + index));
        assert_eq!(make().bytes, make().bytes);
        let lines = make().bytes;
        let text = String::from_utf8_lossy(&lines);
        assert!(text.split("PUB ").skip(1).all(|frame| frame.starts_with("s.10")));
    }
}
