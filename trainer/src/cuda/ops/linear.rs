//! The fully connected layer without its bias: products of matrices, by cuBLAS.

use cudarc::driver::{CudaView, CudaViewMut};

use super::super::Real;
use super::super::blas::Matrix;
use super::super::context::Context;
use crate::error::Result;

/// A fully connected layer; its weights are `[inputs, outputs]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Whether `f32`s may be multiplied as TF32.
    pub(crate) tf32: bool,
}

/// `output` `[rows, outputs]` becomes `input` `[rows, inputs]` · `weights`.
pub(crate) fn forward<T: Real>(
    context: &Context,
    shape: &Linear,
    rows: usize,
    input: &CudaView<'_, T>,
    weights: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let &Linear {
        inputs,
        outputs,
        tf32,
    } = shape;
    let left = matrix(input, inputs, false);
    let right = matrix(weights, outputs, false);
    let sizes = [rows, inputs, outputs];
    context.blas()?.multiply(tf32, sizes, &left, &right, output)
}

/// `gradient` `[inputs, outputs]` becomes that of the weights.
pub(crate) fn weight_gradient<T: Real>(
    context: &Context,
    shape: &Linear,
    rows: usize,
    input: &CudaView<'_, T>,
    d_output: &CudaView<'_, T>,
    gradient: &mut CudaViewMut<'_, f32>,
) -> Result<()> {
    let &Linear {
        inputs,
        outputs,
        tf32,
    } = shape;
    let left = matrix(input, inputs, true);
    let right = matrix(d_output, outputs, false);
    let sizes = [inputs, rows, outputs];
    context
        .blas()?
        .multiply(tf32, sizes, &left, &right, gradient)
}

/// `d_input` `[rows, inputs]` becomes the gradient of the input.
pub(crate) fn data_gradient<T: Real>(
    context: &Context,
    shape: &Linear,
    rows: usize,
    weights: &CudaView<'_, T>,
    d_output: &CudaView<'_, T>,
    d_input: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let &Linear {
        inputs,
        outputs,
        tf32,
    } = shape;
    let left = matrix(d_output, outputs, false);
    let right = matrix(weights, outputs, true);
    let sizes = [rows, outputs, inputs];
    context
        .blas()?
        .multiply(tf32, sizes, &left, &right, d_input)
}

fn matrix<'a, 'b, T>(
    numbers: &'a CudaView<'b, T>,
    columns: usize,
    transposed: bool,
) -> Matrix<'a, 'b, T> {
    Matrix {
        numbers,
        columns,
        transposed,
    }
}
