//! What a loader will do, before it does it.

use std::fmt;

use super::Layout;
use crate::source::Shape;

/// The steps of a [`CudaLoader`](super::CudaLoader)'s epochs and the memory that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CudaPlan {
    /// Samples of an epoch, over all replicas.
    pub samples: usize,
    /// Steps in an epoch; the same on every replica.
    pub steps: usize,
    /// Rows of a batch on this replica.
    pub rows: usize,
    /// The shape of one row.
    pub shape: Shape,
    /// The type of the values, as in "bf16".
    pub element: &'static str,
    /// The order of a row's values.
    pub layout: Layout,
    /// Whether the GPU has the whole source in its memory.
    pub resident: bool,
    /// Whether the GPU transforms samples; if not, the host does, for a function of the user's.
    pub transformed_on_gpu: bool,
    /// Batches that exist at a time on the GPU.
    pub slots: usize,
    /// Bytes of the host's memory, within the budget: what the inner loader takes, pinned memory and indices for each slot,
    /// the order's tables, the draws of a batch of a resident source. For a resident source, the most at any time: while it is copied.
    pub host_bytes: usize,
    /// Bytes of the GPU's memory: slots, and a resident source.
    pub gpu_bytes: usize,
}

impl fmt::Display for CudaPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{} samples in {} steps of {} x {} {} ({:?}), {} and transformed on the {}; {} slots; {:.1} MiB of the host's memory, {:.1} MiB of the GPU's",
            self.samples,
            self.steps,
            self.rows,
            self.shape,
            self.element,
            self.layout,
            if self.resident {
                "resident"
            } else {
                "streamed"
            },
            if self.transformed_on_gpu {
                "GPU"
            } else {
                "host"
            },
            self.slots,
            mib(self.host_bytes),
            mib(self.gpu_bytes),
        )
    }
}
