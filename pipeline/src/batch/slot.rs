//! The memory of one batch.

use crate::source::Shape;

/// How much a slot holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlotSize {
    pub(crate) rows: usize,
    /// Of a transformed sample.
    pub(crate) shape: Shape,
    /// Of a stored sample: a source that decodes needs that much besides.
    pub(crate) stored: Shape,
}

impl SlotSize {
    /// The bytes of a slot, or `None` if they can't be counted in a `usize`.
    pub(crate) fn bytes(self) -> Option<usize> {
        let row = self.shape.elements().checked_mul(size_of::<f32>())?;
        let row = row.checked_add(size_of::<u32>() + size_of::<usize>())?;
        self.rows
            .checked_mul(row)?
            .checked_add(self.stored.elements())
    }
}

/// The memory of one batch, filled again and again.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Which of the loader's slots this is.
    pub(crate) number: usize,
    /// Rows of a transformed sample each. A sink may take this vector away; the next fill makes a new one.
    pub(crate) pixels: Vec<f32>,
    /// One class per row.
    pub(crate) labels: Vec<u32>,
    /// One index in the source per sample; none for padding.
    pub(crate) indices: Vec<usize>,
    /// For sources that decode.
    pub(crate) scratch: Vec<u8>,
}

impl Slot {
    pub(crate) fn new(number: usize, size: SlotSize) -> Self {
        Self {
            number,
            pixels: vec![0.0; size.rows * size.shape.elements()],
            labels: vec![0; size.rows],
            indices: Vec::with_capacity(size.rows),
            scratch: Vec::with_capacity(size.stored.elements()),
        }
    }
}
