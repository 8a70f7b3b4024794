//! The memory of one batch.

use super::Failure;
use crate::order::Draw;
use crate::source::Shape;
use crate::transform::Element;

/// How much a slot holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotSize {
    pub(crate) rows: usize,
    /// Of a transformed sample.
    pub(crate) shape: Shape,
}

impl SlotSize {
    /// The bytes of a slot of `T`, or `None` if they can't be counted in a `usize`.
    pub(crate) fn bytes<T: Element>(self) -> Option<usize> {
        let row = self.shape.elements().checked_mul(size_of::<T>())?;
        let row = row.checked_add(size_of::<u32>() + size_of::<Draw>())?;
        self.rows.checked_mul(row)
    }
}

/// The memory of one batch, filled again and again.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    /// Which of the loader's slots this is.
    pub(crate) number: usize,
    pub(crate) size: SlotSize,
    /// Rows of a transformed sample each. A sink may take this vector away; then the next filling makes a new one.
    pub(crate) pixels: Vec<T>,
    /// One class per row.
    pub(crate) labels: Vec<u32>,
    /// One index in the source per row, of which those of samples are in use.
    pub(crate) indices: Vec<usize>,
    /// Which draw of its sample each row is; in use as the indices are.
    pub(crate) repeats: Vec<u64>,
    /// How many rows are samples; the first ones.
    pub(crate) samples: usize,
    /// The samples of this batch that failed and were skipped or replaced. Empty nearly always, and without memory.
    pub(crate) failures: Vec<Failure>,
}

impl<T: Element> Slot<T> {
    pub(crate) fn new(number: usize, size: SlotSize) -> Self {
        Self {
            number,
            size,
            pixels: vec![T::default(); size.rows * size.shape.elements()],
            labels: vec![0; size.rows],
            indices: vec![0; size.rows],
            repeats: vec![0; size.rows],
            samples: 0,
            failures: Vec::new(),
        }
    }

    /// Gets new memory for what a sink took away.
    pub(crate) fn refit(&mut self) {
        if self.pixels.is_empty() {
            self.pixels = vec![T::default(); self.size.rows * self.size.shape.elements()];
        }
    }

    /// Moves the rows of samples to the front where rows of [`failures`](Self::failures) lie between them, and makes the
    /// rest padding: zeros.
    pub(crate) fn close_gaps(&mut self) {
        let elements = self.size.shape.elements();
        let mut failed = self.failures.iter().map(|failure| failure.row).peekable();
        let mut kept = 0;
        for row in 0..self.samples {
            if failed.next_if_eq(&row).is_some() {
                continue;
            }
            if kept < row {
                let from = row * elements..(row + 1) * elements;
                self.pixels.copy_within(from, kept * elements);
                self.labels[kept] = self.labels[row];
                self.indices[kept] = self.indices[row];
                self.repeats[kept] = self.repeats[row];
            }
            kept += 1;
        }
        self.samples = kept;
        self.pixels[kept * elements..].fill(T::default());
        self.labels[kept..].fill(0);
    }
}
