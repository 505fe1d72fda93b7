//! The doorbell: whether a core sleeps, so that nobody pays for waking one that does not.

#[cfg(loom)]
use loom::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};
#[cfg(not(loom))]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};

/// One core's bell, held by the core itself and by every core with a lane to it.
#[derive(Clone, Debug)]
pub struct Bell(Arc<AtomicBool>);

/// A bell of a core that is awake.
pub fn bell() -> Bell {
    Bell(Arc::new(AtomicBool::new(false)))
}

impl Bell {
    /// The core is about to sleep. It must look at its lanes once more after this call: what was
    /// written before it is then visible, and what is written after it rings.
    pub fn lie_down(&self) {
        self.0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The core is awake and will look at its lanes.
    pub fn get_up(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Must the core be woken, after something was written to its lane? True for one caller only.
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}
