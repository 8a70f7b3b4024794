//! What a worker is at, for whoever has to wait for it.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What one worker is at. The worker writes it, sample after sample, and others may read it at any time; what they read is
/// a description in words and nothing that anything depends on, so it needs no order, and none of the model checker's
/// atomics.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Behind the number of the slot, as 0 is for none.
    slot: AtomicUsize,
    sample: AtomicUsize,
    doing: AtomicU8,
}

/// What a worker does with a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Doing {
    Read,
    Transform,
}

impl Activity {
    /// The worker begins with a part of this slot.
    pub(crate) fn begin(&self, slot: usize) {
        self.slot.store(slot + 1, Ordering::Relaxed);
    }

    /// The worker has nothing to do.
    pub(crate) fn rest(&self) {
        self.slot.store(0, Ordering::Relaxed);
    }

    /// The worker begins with a sample.
    #[inline]
    pub(super) fn read(&self, sample: usize) {
        self.sample.store(sample, Ordering::Relaxed);
        self.doing.store(Doing::Read as u8, Ordering::Relaxed);
    }

    /// The worker has the sample's bytes.
    #[inline]
    pub(super) fn transform(&self) {
        self.doing.store(Doing::Transform as u8, Ordering::Relaxed);
    }

    /// The slot that the worker fills, if it fills one.
    pub(crate) fn slot(&self) -> Option<usize> {
        self.slot.load(Ordering::Relaxed).checked_sub(1)
    }
}

impl fmt::Display for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transforms = self.doing.load(Ordering::Relaxed) == Doing::Transform as u8;
        let verb = if transforms { "transforms" } else { "reads" };
        write!(f, "{verb} sample {}", self.sample.load(Ordering::Relaxed))
    }
}
