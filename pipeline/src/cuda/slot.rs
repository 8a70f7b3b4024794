//! The memory of one batch on a GPU, and the events that say whose turn it is.

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaEvent, CudaSlice, CudaStream};

use super::earlier::despite_earlier_errors;
use super::staging::Staging;
use super::{CudaElement, Gpu};
use crate::batch::{BatchInfo, Failure};
use crate::error::{Error, Result};

/// How much a slot holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct SlotSize {
    pub(super) rows: usize,
    /// What the host writes for a batch, and the device gets.
    pub(super) input_bytes: usize,
    /// Numbers of the lines of all rows' channels.
    pub(super) lines: usize,
    /// Values of a row.
    pub(super) elements: usize,
}

impl SlotSize {
    /// The host's bytes of a slot: pinned memory, and the samples' indices.
    pub(super) fn host_bytes(self) -> usize {
        let indices = self.rows.saturating_mul(size_of::<usize>());
        self.input_bytes.saturating_add(indices)
    }

    /// The device's bytes of a slot of `T`.
    pub(super) fn gpu_bytes<T: CudaElement>(self) -> usize {
        let values = self.rows.saturating_mul(self.elements);
        self.input_bytes
            .saturating_add(self.lines.saturating_mul(size_of::<f32>()))
            .saturating_add(values.saturating_mul(size_of::<T>()))
            .saturating_add(self.rows.saturating_mul(size_of::<u32>()))
    }
}

/// A batch on its way to the consumer, filled again and again. The host writes the staging memory, the copy stream copies
/// it and makes `images` of it, the consumer's stream reads them.
#[derive(Debug)]
pub(super) struct Slot<T: CudaElement> {
    pub(super) staging: Staging,
    /// What came of the staging memory.
    pub(super) input: CudaSlice<u8>,
    pub(super) lines: CudaSlice<f32>,
    pub(super) images: CudaSlice<T>,
    pub(super) labels: CudaSlice<u32>,
    pub(super) info: BatchInfo,
    pub(super) indices: Vec<usize>,
    pub(super) failures: Vec<Failure>,
    /// On the copy stream: images and labels are there.
    ready: CudaEvent,
    /// On the consumer's stream: it is done with them.
    released: CudaEvent,
    copying: Arc<CudaStream>,
}

impl<T: CudaElement> Slot<T> {
    pub(super) fn new(
        gpu: &Gpu,
        copying: &Arc<CudaStream>,
        size: SlotSize,
        patience: Duration,
    ) -> Result<Self> {
        let failed = Error::cuda("set memory aside for batches");
        let context = gpu.stream().context();
        let values = size.rows * size.elements;
        let bytes = size.input_bytes;
        Ok(Self {
            staging: Staging::new(context, bytes, patience)?,
            input: copying.alloc_zeros(bytes.max(1)).map_err(&failed)?,
            lines: copying.alloc_zeros(size.lines.max(1)).map_err(&failed)?,
            images: copying.alloc_zeros(values).map_err(&failed)?,
            labels: copying.alloc_zeros(size.rows).map_err(&failed)?,
            info: BatchInfo {
                epoch: 0,
                step: 0,
                rows: size.rows,
                samples: 0,
                global_samples: 0,
                first_row: 0,
            },
            indices: Vec::with_capacity(size.rows),
            failures: Vec::new(),
            ready: context.new_event(None).map_err(&failed)?,
            released: context.new_event(None).map_err(&failed)?,
            copying: Arc::clone(copying),
        })
    }

    /// Fills the slot: `write` writes the staging memory, `compute` has the device make images and labels of it.
    pub(super) fn fill<R>(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> R,
        compute: impl FnOnce(&Arc<CudaStream>, &mut Self) -> Result<()>,
    ) -> Result<R> {
        let bytes = self.staging.bytes()?;
        let length = bytes.len();
        let written = write(bytes);
        let copying = Arc::clone(&self.copying);
        let mut input = self.input.as_view_mut();
        self.staging.copy(&copying, 0..length, &mut input)?;
        // The copy may already run beside the consumer's computing; what comes now overwrites what that reads.
        let failed = Error::cuda("order two streams");
        let context = copying.context();
        despite_earlier_errors(context, || copying.wait(&self.released)).map_err(&failed)?;
        compute(&copying, self)?;
        despite_earlier_errors(context, || self.ready.record(&copying)).map_err(&failed)?;
        Ok(written)
    }

    /// Has the `consumer`'s stream wait until the batch is there.
    pub(super) fn lend(&self, consumer: &CudaStream) -> Result<()> {
        let waits = despite_earlier_errors(consumer.context(), || consumer.wait(&self.ready));
        waits.map_err(Error::cuda("order two streams"))
    }

    /// Says that what is on the `consumer`'s stream so far is all that reads the batch. If it can't, nobody knows when the
    /// slot may be filled or freed: `false`.
    #[must_use]
    pub(super) fn release(&self, consumer: &CudaStream) -> bool {
        let context = consumer.context();
        let recorded = despite_earlier_errors(context, || self.released.record(consumer));
        // For whoever asks the device next.
        context.record_err(recorded);
        recorded.is_ok()
    }
}

impl<T: CudaElement> Drop for Slot<T> {
    fn drop(&mut self) {
        // Memory is freed in the order of the copy stream, and the consumer may still read it.
        let context = self.copying.context();
        let waits = despite_earlier_errors(context, || self.copying.wait(&self.released));
        context.record_err(waits);
    }
}
