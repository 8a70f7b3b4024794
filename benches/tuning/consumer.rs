//! What is done with batches.

use std::thread;
use std::time::Duration;

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::input::compute;

pub(crate) enum Consumer {
    /// Nothing.
    Idle,
    /// A device that is at work for so long, while the processor waits.
    Device { step: Duration },
    /// Computing on all cores, for so many turns together.
    Cores { turns: u64 },
    /// Nothing, but after so many batches a pause, as for an evaluation elsewhere.
    Bursts { batches: usize, pause: Duration },
}

/// Into how many pieces a step is cut for the cores: they are done even if one core is late.
const PIECES: u64 = 32;

impl Consumer {
    /// Consumes the batch with this number, counted from 0.
    pub(crate) fn consume(&self, number: usize) {
        match *self {
            Self::Idle => {}
            Self::Device { step } => thread::sleep(step),
            Self::Cores { turns } => (0..PIECES)
                .into_par_iter()
                .for_each(|_| compute(turns / PIECES)),
            Self::Bursts { batches, pause } => {
                if (number + 1).is_multiple_of(batches) {
                    thread::sleep(pause);
                }
            }
        }
    }
}
