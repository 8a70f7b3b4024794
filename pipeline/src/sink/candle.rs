//! Batches as candle tensors.

use candle_core::{Device, Tensor};

use super::Sink;
use crate::batch::{BatchInfo, HostBatch};
use crate::error::Result;

/// Batches as candle tensors on one device.
///
/// On the CPU a tensor takes over the memory that a worker filled: nothing is copied.
#[derive(Debug, Clone)]
pub struct Candle {
    device: Device,
}

impl Candle {
    /// Tensors on `device`.
    pub fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
        }
    }
}

/// A batch of tensors. It occupies one of the loader's slots until it is dropped.
#[derive(Debug)]
pub struct TensorBatch {
    /// `f32`, \[rows, channels, height, width\].
    pub images: Tensor,
    /// `u32`, \[rows\].
    pub labels: Tensor,
    /// Where the batch stands, and how many rows are samples.
    pub info: BatchInfo,
    host: HostBatch,
}

impl TensorBatch {
    /// The index in the source of each sample: one per sample, none for padding.
    pub fn indices(&self) -> &[usize] {
        self.host.indices()
    }
}

impl Sink for Candle {
    type Batch = TensorBatch;

    fn deliver(&self, mut batch: HostBatch) -> Result<TensorBatch> {
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
