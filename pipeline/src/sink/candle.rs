//! Batches as candle tensors.

use std::marker::PhantomData;

use candle_core::{Device, Tensor, WithDType};

use super::Sink;
use crate::batch::{BatchInfo, Failure, HostBatch};
use crate::error::Result;
use crate::transform::Element;

/// Batches as candle tensors of `T` on one device.
///
/// On the CPU a tensor takes over the memory that a worker filled: nothing is copied. The slot gets new memory when it
/// is filled again, since a tensor may be kept for as long as one likes.
#[derive(Debug, Clone)]
pub struct Candle<T: Element = f32> {
    device: Device,
    element: PhantomData<T>,
}

impl<T: Element> Candle<T> {
    /// Tensors on `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            element: PhantomData,
        }
    }
}

/// A batch of tensors. It occupies one of the loader's slots until it is dropped.
#[derive(Debug)]
pub struct TensorBatch<T: Element = f32> {
    /// Of the loader's element type, `f32` unless it was told otherwise: \[rows, channels, height, width\].
    pub images: Tensor,
    /// `u32`, \[rows\].
    pub labels: Tensor,
    /// Where the batch stands, and how many rows are samples.
    pub info: BatchInfo,
    host: HostBatch<T>,
}

impl<T: Element> TensorBatch<T> {
    /// The index in the source of each sample: one per sample, none for padding.
    pub fn indices(&self) -> &[usize] {
        self.host.indices()
    }

    /// The samples of this batch that failed and were skipped or replaced.
    pub fn failures(&self) -> &[Failure] {
        self.host.failures()
    }
}

impl<T: Element + WithDType> Sink for Candle<T> {
    type Element = T;
    type Batch = TensorBatch<T>;

    fn deliver(&self, mut batch: HostBatch<T>) -> Result<TensorBatch<T>> {
        let (info, shape) = (batch.info(), batch.shape());
        let dimensions = (info.rows, shape.channels, shape.height, shape.width);
        Ok(TensorBatch {
            images: Tensor::from_vec(batch.take_pixels(), dimensions, &self.device)?,
            labels: Tensor::from_slice(batch.labels(), info.rows, &self.device)?,
            info,
            host: batch,
        })
    }
}
