//! What a stage of the engine is.

use std::fmt::Debug;
use std::ops::Range;

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

use super::Exchange;
use super::numbers::Views;
use crate::cuda::context::Context;
use crate::cuda::ops::shape::Picture;
use crate::cuda::{Algorithms, Real};
use crate::error::Result;
use crate::nn::Pass;

/// One or several layers that are computed together, with the device memory that the way back needs.
///
/// Inputs and outputs are the rows of this pass. Whatever a stage does is queued, and done later.
pub(super) trait Stage<T: Real>: Debug + Send {
    /// The shape of a row that comes out.
    fn output(&self) -> Picture;

    /// Where its parameters begin that are trained, if it has some.
    fn first(&self) -> Option<usize> {
        None
    }

    /// Makes room for this many rows.
    fn prepare(&mut self, context: &Context, rows: usize) -> Result<()> {
        let _ = (context, rows);
        Ok(())
    }

    /// Computes the output of all rows.
    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()>;

    /// Computes the gradients of the parameters and, if it is asked for, of the input.
    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        gradients: &mut CudaSlice<f32>,
    ) -> Result<()>;
}

/// What all stages of a pass have in common.
pub(super) struct Moment<'a, T> {
    pub(super) context: &'a Context,
    pub(super) settings: Settings,
    pub(super) rows: usize,
    pub(super) pass: &'a Pass,
    pub(super) numbers: Views<'a, T>,
    /// For sums over the batch.
    pub(super) scratch: CudaViewMut<'a, f32>,
    pub(super) exchange: &'a mut dyn Exchange,
}

/// How products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Settings {
    pub(super) tf32: bool,
    pub(super) algorithms: Algorithms,
}

/// What came in and out on the way forward, and the gradient of what came out, which is free to be changed.
pub(super) struct Rows<'a, 'b, T> {
    pub(super) input: &'a CudaView<'b, T>,
    pub(super) output: &'a CudaView<'b, T>,
    pub(super) d_output: &'a mut CudaViewMut<'b, T>,
}

/// Where a layer's weight and bias are in the flat buffers.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
}
