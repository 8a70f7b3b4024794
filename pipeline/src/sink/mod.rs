//! What a finished batch becomes: plain memory, or tensors.

#[cfg(feature = "candle")]
mod candle;

#[cfg(feature = "candle")]
pub use candle::{Candle, TensorBatch};

use crate::batch::HostBatch;
use crate::error::Result;

/// The last stage of a loader: makes of a finished [`HostBatch`] what the consumer wants.
///
/// Another tensor library is a few lines: copy or wrap [`HostBatch::pixels`] and [`HostBatch::labels`], and keep
/// the batch for as long as its memory is in use.
pub trait Sink: Send + 'static {
    /// What the consumer gets.
    type Batch;

    /// Called on the consumer's thread, in the order of the steps.
    ///
    /// # Errors
    ///
    /// Whatever stops the batch from being made; it reaches the consumer, and the epoch ends.
    fn deliver(&self, batch: HostBatch) -> Result<Self::Batch>;
}

/// Batches as plain buffers, lent without a copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host;

impl Sink for Host {
    type Batch = HostBatch;

    fn deliver(&self, batch: HostBatch) -> Result<HostBatch> {
        Ok(batch)
    }
}
