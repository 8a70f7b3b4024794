//! What a finished batch becomes: plain memory, or tensors.

#[cfg(feature = "candle")]
mod candle;

#[cfg(feature = "candle")]
pub use candle::{Candle, TensorBatch};

use std::marker::PhantomData;

use crate::batch::HostBatch;
use crate::error::Result;
use crate::transform::Element;

/// The last stage of a loader: makes of a finished [`HostBatch`] what the consumer wants.
///
/// Another tensor library is a few lines: copy or wrap [`HostBatch::pixels`] and [`HostBatch::labels`], and keep
/// the batch for as long as its memory is in use.
pub trait Sink: Send + 'static {
    /// The type of the values that workers write: what the sink wants to get.
    type Element: Element;

    /// What the consumer gets.
    type Batch;

    /// Called on the consumer's thread, in the order of the steps.
    ///
    /// # Errors
    ///
    /// Whatever stops the batch from being made; it reaches the consumer, and the epoch ends.
    fn deliver(&self, batch: HostBatch<Self::Element>) -> Result<Self::Batch>;
}

/// Batches as plain buffers of `T`, lent without a copy.
#[derive(Debug, Clone, Copy, Default)]
pub struct Host<T: Element = f32>(PhantomData<T>);

impl<T: Element> Sink for Host<T> {
    type Element = T;
    type Batch = HostBatch<T>;

    fn deliver(&self, batch: HostBatch<T>) -> Result<HostBatch<T>> {
        Ok(batch)
    }
}
