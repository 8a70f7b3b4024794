//! A finished batch in ordinary memory.

use super::{Failure, Slot};
use crate::order::Rows;
use crate::source::Shape;
use crate::sync::channel::Sender;
use crate::transform::Element;

/// Where a batch stands in training, and how many of its rows are samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchInfo {
    /// The epoch.
    pub epoch: u64,
    /// The step within the epoch, from 0.
    pub step: usize,
    /// Rows of the batch, on this replica.
    pub rows: usize,
    /// How many of the rows are samples: the first ones. The others are padding, which exists only in the last
    /// batch under [`Tail::Pad`](crate::order::Tail::Pad), or where samples were skipped
    /// ([`OnError::Skip`](crate::batch::OnError::Skip)).
    pub samples: usize,
    /// How many rows of the global batch are samples, over all replicas.
    pub global_samples: usize,
    /// The first row's place in the global batch.
    pub first_row: usize,
}

impl BatchInfo {
    /// Of a slice of the global batch of `step`.
    pub(crate) fn new(rows: &Rows, epoch: u64, step: usize) -> Self {
        Self {
            epoch,
            step,
            rows: rows.rows,
            samples: rows.samples,
            global_samples: rows.global_samples,
            first_row: rows.first_row,
        }
    }

    /// 1 for each row that is a sample, 0 for each row of padding.
    pub fn mask(&self) -> impl ExactSizeIterator<Item = f32> + use<> {
        let samples = self.samples;
        (0..self.rows).map(move |row| if row < samples { 1.0 } else { 0.0 })
    }
}

/// A batch in memory that the loader lends: dropping it gives the memory back for a later batch.
#[derive(Debug)]
pub struct HostBatch<T: Element = f32> {
    info: BatchInfo,
    shape: Shape,
    /// `None` only while it is dropped.
    slot: Option<Slot<T>>,
    free: Sender<Slot<T>>,
}

impl<T: Element> HostBatch<T> {
    pub(crate) fn new(info: BatchInfo, shape: Shape, slot: Slot<T>, free: Sender<Slot<T>>) -> Self {
        Self {
            info: BatchInfo {
                samples: slot.samples,
                ..info
            },
            shape,
            slot: Some(slot),
            free,
        }
    }

    /// Where the batch stands, and how many rows are samples.
    pub fn info(&self) -> BatchInfo {
        self.info
    }

    /// The shape of one row.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The values: rows · channels · height · width (NCHW). Rows of padding are zeros.
    pub fn pixels(&self) -> &[T] {
        self.slot.as_ref().map_or(&[], |slot| &slot.pixels)
    }

    /// The class of each row; 0 for padding.
    pub fn labels(&self) -> &[u32] {
        self.slot.as_ref().map_or(&[], |slot| &slot.labels)
    }

    /// The index in the source of each sample: one per sample, none for padding.
    pub fn indices(&self) -> &[usize] {
        self.slot
            .as_ref()
            .map_or(&[], |slot| &slot.indices[..self.info.samples])
    }

    /// The samples of this batch that failed and were skipped or replaced.
    pub fn failures(&self) -> &[Failure] {
        self.slot.as_ref().map_or(&[], |slot| &slot.failures)
    }

    /// Which draw of its sample each row is that is a sample.
    #[cfg(feature = "cuda")]
    pub(crate) fn repeats(&self) -> &[u64] {
        self.slot
            .as_ref()
            .map_or(&[], |slot| &slot.repeats[..self.info.samples])
    }

    /// Takes the failures away.
    #[cfg(feature = "cuda")]
    pub(crate) fn take_failures(&mut self) -> Vec<Failure> {
        let slot = self.slot.as_mut();
        slot.map(|slot| std::mem::take(&mut slot.failures))
            .unwrap_or_default()
    }

    /// Takes the values away without a copy; the slot gets new memory when it is filled again.
    #[cfg(feature = "candle")]
    pub(crate) fn take_pixels(&mut self) -> Vec<T> {
        self.slot
            .as_mut()
            .map(|slot| std::mem::take(&mut slot.pixels))
            .unwrap_or_default()
    }
}

impl<T: Element> Drop for HostBatch<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            // The channel has room for every slot. It is closed only if the loader is gone.
            let _ = self.free.send(slot);
        }
    }
}
