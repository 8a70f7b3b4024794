//! What a loader will do, before it does it.

use std::fmt;

use crate::source::Shape;

/// The steps of a loader's epochs and the memory that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Samples in the source.
    pub samples: usize,
    /// Steps in an epoch; the same on every replica.
    pub steps: usize,
    /// Rows of a batch on this replica.
    pub rows: usize,
    /// The shape of one row.
    pub shape: Shape,
    /// Worker threads.
    pub workers: usize,
    /// Batches that exist at a time: the prefetched ones, and the one that the consumer holds.
    pub slots: usize,
    /// Bytes of one slot.
    pub slot_bytes: usize,
}

impl Plan {
    /// Bytes of all slots together. Besides them the loader needs some KiB; the pages of a mapped file belong
    /// to the operating system, which takes them back at need.
    pub fn bytes(&self) -> usize {
        self.slots * self.slot_bytes
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples in {} steps of {} x {}; {} workers fill {} slots of {} bytes, {:.1} MiB together",
            self.samples,
            self.steps,
            self.rows,
            self.shape,
            self.workers,
            self.slots,
            self.slot_bytes,
            self.bytes() as f64 / f64::from(1 << 20),
        )
    }
}
