//! Frames on their way to another core, until the lane has room for them.

use base::limits::{OUTBOX_HIGH_BYTES, OUTBOX_LOW_BYTES};
use base::{CoreId, CoreSet};

/// Frames for one core.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    moved: usize,
    /// Bytes put in since the beginning.
    pub(crate) appended_total: u64,
    /// Bytes moved to the lane since the beginning.
    pub(crate) moved_total: u64,
    /// The part of a frame from that core that has arrived.
    pub(crate) arriving: Vec<u8>,
}

/// The outboxes of a core, one for each core; its own stays empty.
#[derive(Debug)]
pub(crate) struct Outboxes {
    own: CoreId,
    boxes: Vec<Outbox>,
    /// Cores, this one too, that have more to store than their disk takes.
    pressed: CoreSet,
}

impl Outboxes {
    pub(crate) fn new(own: CoreId, cores: usize) -> Self {
        let boxes = (0..cores).map(|_| Outbox::default()).collect();
        Self { own, boxes, pressed: CoreSet::EMPTY }
    }

    /// The other cores.
    pub(crate) fn others(&self) -> impl Iterator<Item = CoreId> + use<> {
        let own = self.own;
        (0..self.boxes.len() as u8).map(CoreId).filter(move |core| *core != own)
    }

    pub(crate) fn get_mut(&mut self, core: CoreId) -> &mut Outbox {
        &mut self.boxes[core.index()]
    }

    /// Appends a frame for one core.
    #[inline]
    pub(crate) fn append(&mut self, core: CoreId, write: impl FnOnce(&mut Vec<u8>)) {
        assert_ne!(core, self.own, "a core has no lane to itself");
        let outbox = &mut self.boxes[core.index()];
        let before = outbox.bytes.len();
        write(&mut outbox.bytes);
        outbox.appended_total += (outbox.bytes.len() - before) as u64;
    }

    /// Appends a frame for every other core.
    pub(crate) fn append_all(&mut self, write: impl Fn(&mut Vec<u8>)) {
        for core in self.others() {
            self.append(core, &write);
        }
    }

    pub(crate) fn waiting(&self, core: CoreId) -> &[u8] {
        let outbox = &self.boxes[core.index()];
        &outbox.bytes[outbox.moved..]
    }

    pub(crate) fn advance(&mut self, core: CoreId, count: usize) {
        let outbox = &mut self.boxes[core.index()];
        outbox.moved += count;
        outbox.moved_total += count as u64;
        assert!(outbox.moved <= outbox.bytes.len(), "no more can be moved than waits");
        if outbox.moved == outbox.bytes.len() {
            outbox.bytes.clear();
            outbox.bytes.shrink_to(OUTBOX_HIGH_BYTES * 2);
            outbox.moved = 0;
        } else if outbox.moved > outbox.bytes.len() / 2 {
            outbox.bytes.drain(..outbox.moved);
            outbox.moved = 0;
        }
    }

    /// Does nothing wait?
    pub(crate) fn are_empty(&self) -> bool {
        self.boxes.iter().all(|outbox| outbox.bytes.is_empty())
    }

    /// Notes that a core has more to store than its disk takes, or no longer.
    pub(crate) fn set_pressed(&mut self, core: CoreId, pressed: bool) {
        if pressed {
            self.pressed.insert(core);
        } else {
            self.pressed.remove(core);
        }
    }

    /// Has this core more to store than its disk takes?
    pub(crate) fn is_own_pressed(&self) -> bool {
        self.pressed.contains(self.own)
    }

    /// Is so much waiting, here or for the disk of another core, that producers must pause?
    pub(crate) fn are_high(&self) -> bool {
        let mut others = self.pressed;
        others.remove(self.own);
        !others.is_empty()
            || self.boxes.iter().any(|outbox| outbox.bytes.len() - outbox.moved > OUTBOX_HIGH_BYTES)
    }

    /// Is so little waiting that paused producers may go on?
    pub(crate) fn are_low(&self) -> bool {
        if !self.pressed.is_empty() {
            return false;
        }
        self.boxes.iter().all(|outbox| outbox.bytes.len() - outbox.moved < OUTBOX_LOW_BYTES)
    }

    /// Bytes put in since the beginning, over all cores.
    pub(crate) fn appended_total(&self) -> u64 {
        self.boxes.iter().map(|outbox| outbox.appended_total).sum()
    }

    /// Bytes that wait, over all cores.
    pub(crate) fn bytes_waiting(&self) -> usize {
        self.boxes.iter().map(|outbox| outbox.bytes.len() - outbox.moved).sum()
    }

    /// How far each outbox has been filled.
    pub(crate) fn positions(&self) -> Box<[u64]> {
        self.boxes.iter().map(|outbox| outbox.appended_total).collect()
    }

    /// Has everything up to these positions been moved?
    pub(crate) fn have_moved(&self, positions: &[u64]) -> bool {
        self.boxes.iter().zip(positions).all(|(outbox, position)| outbox.moved_total >= *position)
    }
}
