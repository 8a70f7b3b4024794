//! What a stage of the engine is.

use std::fmt::Debug;
use std::ops::Range;

use crate::collective::Collective;
use crate::error::Result;
use crate::kernel::Isa;
pub(super) use crate::kernel::batch::{block_rows, chunk_rows};
use crate::kernel::shape::Picture;
use crate::nn::Pass;

/// One or several layers that are computed together, with the memory that the way back needs.
///
/// Inputs and outputs are rows of [`Picture`]s in the kernels' layout. Buffers are kept from step to step; they may be
/// longer than the rows of this step need.
pub(super) trait Stage: Debug + Send {
    /// The shape of a row that comes out.
    fn output(&self) -> Picture;

    /// Makes room for the rows of this pass, and packs the weights in `values` as the kernels want them; for the way back
    /// to the input as well if it is asked for.
    fn prepare(&mut self, moment: &Moment<'_>, values: &[f32], back: bool);

    /// Where its parameters begin among the values, if it has any.
    fn first_value(&self) -> Option<usize> {
        None
    }

    /// Computes the output of all rows. Only the collective can fail.
    fn forward(
        &mut self,
        moment: &Moment<'_>,
        data: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()>;

    /// Computes the gradients of the parameters and, if it is asked for, of the input. `d_output` is free to be changed.
    /// Only the collective can fail.
    fn backward(
        &mut self,
        moment: &Moment<'_>,
        values: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) -> Result<()>;
}

/// What all stages of a pass have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) isa: Isa,
    pub(super) rows: usize,
    pub(super) pass: &'a Pass,
    /// The connection to those who have other rows of the same batch, if there are any.
    pub(super) collective: Option<&'a dyn Collective>,
}

/// A network's numbers.
pub(super) struct Data<'a> {
    /// Those that gradients change.
    pub(super) values: &'a [f32],
    pub(super) statistics: Statistics<'a>,
}

/// The numbers that gradients do not change.
pub(super) enum Statistics<'a> {
    /// They follow the batch.
    Training(&'a mut [f32]),
    /// They stay.
    Evaluation(&'a [f32]),
}

impl Statistics<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Training(numbers) => numbers.len(),
            Self::Evaluation(numbers) => numbers.len(),
        }
    }

    /// The same for another stage.
    pub(super) fn reborrow(&mut self) -> Statistics<'_> {
        match self {
            Self::Training(numbers) => Statistics::Training(numbers),
            Self::Evaluation(numbers) => Statistics::Evaluation(numbers),
        }
    }
}

/// What came in and out on the way forward, and the gradient of what came out.
pub(super) struct Rows<'a> {
    pub(super) input: &'a [f32],
    pub(super) output: &'a [f32],
    pub(super) d_output: &'a mut [f32],
}

/// Where a layer's weight and bias are in the flat buffers.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
}

impl Places {
    /// The gradients of weight and bias, which lies right behind it.
    pub(super) fn split<'a>(&self, gradients: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        gradients[self.weight.start..self.bias.end].split_at_mut(self.weight.len())
    }
}
