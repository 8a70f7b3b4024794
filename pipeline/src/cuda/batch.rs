//! A finished batch on a GPU.

use std::mem::ManuallyDrop;
use std::sync::Arc;

use cudarc::driver::{CudaStream, CudaView};

use super::exchange::Exchange;
use super::slot::Slot;
use super::{CudaElement, Layout};
use crate::batch::{BatchInfo, Failure};
use crate::error::Result;
use crate::source::Shape;

/// A batch in a GPU's memory that the loader lends: dropping it gives the memory back for a later batch.
///
/// Its [`stream`](Self::stream) is that of the [`Gpu`](super::Gpu) that the loader was made for: what is launched there
/// finds the batch complete. It may be dropped as soon as everything that reads it is launched there: the memory is not
/// overwritten before that is done. Work on other streams must be ordered by events.
#[derive(Debug)]
pub struct CudaBatch<T: CudaElement> {
    slot: ManuallyDrop<Slot<T>>,
    exchange: Arc<Exchange<Slot<T>>>,
    stream: Arc<CudaStream>,
    shape: Shape,
    layout: Layout,
}

impl<T: CudaElement> CudaBatch<T> {
    /// A slot that was ordered behind what fills it.
    pub(super) fn new(
        slot: Slot<T>,
        exchange: &Arc<Exchange<Slot<T>>>,
        stream: &Arc<CudaStream>,
        (shape, layout): (Shape, Layout),
    ) -> Self {
        Self {
            slot: ManuallyDrop::new(slot),
            exchange: Arc::clone(exchange),
            stream: Arc::clone(stream),
            shape,
            layout,
        }
    }

    /// Has the stream wait until the batch is there.
    pub(super) fn wait(&self) -> Result<()> {
        self.slot.lend(&self.stream)
    }

    /// The values: those of [`info().rows`](BatchInfo::rows) rows of [`shape`](Self::shape), in the order of the
    /// [`layout`](Self::layout). Rows of padding are zeros.
    pub fn images(&self) -> CudaView<'_, T> {
        self.slot.images.as_view()
    }

    /// The class of each row; 0 for padding.
    pub fn labels(&self) -> CudaView<'_, u32> {
        self.slot.labels.as_view()
    }

    /// Where the batch stands, and how many rows are samples.
    pub fn info(&self) -> BatchInfo {
        self.slot.info
    }

    /// The shape of one row.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The order of a row's values.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The index in the source of each sample: one per sample, none for padding.
    pub fn indices(&self) -> &[usize] {
        &self.slot.indices
    }

    /// The samples of this batch that failed and were skipped or replaced.
    pub fn failures(&self) -> &[Failure] {
        &self.slot.failures
    }

    /// The stream on which the batch is there.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl<T: CudaElement> Drop for CudaBatch<T> {
    fn drop(&mut self) {
        if self.slot.release(&self.stream) {
            // SAFETY: taken once, and not used again.
            let slot = unsafe { ManuallyDrop::take(&mut self.slot) };
            self.exchange.give_back(slot);
        }
        // Else the device may read the slot at any time: it is left behind, and counts as lent.
    }
}
