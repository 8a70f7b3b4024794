//! What a loader will do, before it does it.

use std::fmt;

use crate::source::Shape;

/// The steps of a loader's epochs and the memory that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// Samples of an epoch, over all replicas.
    pub samples: usize,
    /// Steps in an epoch; the same on every replica.
    pub steps: usize,
    /// Rows of a batch on this replica.
    pub rows: usize,
    /// The shape of one row.
    pub shape: Shape,
    /// The type of the values, as in "f32".
    pub element: &'static str,
    /// Worker threads; where their number is tuned, the most that there will be.
    pub workers: usize,
    /// Worker threads in the beginning.
    pub initial_workers: usize,
    /// Into how many parts a batch is cut, so that as many workers fill it together.
    pub parts: usize,
    /// Batches that exist at a time: the prefetched ones, and the one that the consumer holds. Where the prefetch depth is
    /// tuned, the most that there will be.
    pub slots: usize,
    /// Batches that exist in the beginning.
    pub initial_slots: usize,
    /// Bytes of one slot.
    pub slot_bytes: usize,
    /// Bytes of one worker's own memory, for what must be decoded or computed in `f32` first.
    pub worker_bytes: usize,
    /// Bytes of the order's tables: none for shuffles, which are computed, some for each sample where it is drawn by class
    /// or by weight.
    pub order_bytes: usize,
}

impl Plan {
    /// Bytes of all slots, workers and tables together; where these are tuned, the most that there will be. Besides them a loader needs a KiB or two for each slot and worker,
    /// and its threads their stacks; the pages of a mapped file belong to the operating system, which takes them back at
    /// need.
    pub fn bytes(&self) -> usize {
        self.slots * self.slot_bytes + self.workers * self.worker_bytes + self.order_bytes
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} samples in {} steps of {} x {} {}; {} workers fill {} slots of {} bytes, {:.1} MiB together",
            self.samples,
            self.steps,
            self.rows,
            self.shape,
            self.element,
            up_to(self.initial_workers, self.workers),
            up_to(self.initial_slots, self.slots),
            self.slot_bytes,
            self.bytes() as f64 / f64::from(1 << 20),
        )
    }
}

/// As in "2 to 8", where a number is tuned.
fn up_to(first: usize, most: usize) -> String {
    if first == most {
        first.to_string()
    } else {
        format!("{first} to {most}")
    }
}
