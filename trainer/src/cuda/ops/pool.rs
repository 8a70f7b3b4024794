//! Max-pooling.

use cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};

use super::shape::Pool;
use super::{check, count, push, run, threads};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::Result;

/// Takes the largest of each window of `input + bias[channel]`, and its place in the window: row by row, from 0. If
/// `rectify`, the output is max(0, largest).
///
/// Of equal values the first counts. NaN counts as the largest, and stays.
#[expect(clippy::too_many_arguments, reason = "each buffer is one")]
pub(crate) fn forward<T: Real>(
    context: &Context,
    pool: &Pool,
    rows: usize,
    bias: Option<&CudaView<'_, f32>>,
    rectify: bool,
    input: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, T>,
    places: &mut CudaViewMut<'_, u16>,
) -> Result<()> {
    check_rows(pool, rows)?;
    let pooled = rows * pool.output.len();
    check("input of a pool", input.len(), rows * pool.input.len())?;
    check("output of a pool", output.len(), pooled)?;
    check("places of a pool", places.len(), pooled)?;
    if let Some(bias) = bias {
        check("bias", bias.len(), pool.input.channels)?;
    }
    let count = pooled as u32;
    let kernel = context.kernel("pool_forward", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(&pool.numbers);
    push(&mut launch, bias);
    launch.arg(&rectify).arg(input).arg(output).arg(places);
    // SAFETY: as the kernel has them; the lengths were compared, and a `Pool`'s windows lie in its pictures.
    unsafe { run(&mut launch, threads(count)) }
}

/// Gives the gradient of each output to the input at its place. With its `output` if that was rectified: then no gradient
/// passes where it is not above 0.
///
/// The gradient of a bias needs no pass over the input: it is [`bias_gradient`](super::activation::bias_gradient) of
/// `d_output`, whose numbers each go to one place.
pub(crate) fn backward<T: Real>(
    context: &Context,
    pool: &Pool,
    rows: usize,
    rectified: Option<&CudaView<'_, T>>,
    places: &CudaView<'_, u16>,
    d_output: &CudaView<'_, T>,
    d_input: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    check_rows(pool, rows)?;
    let pooled = rows * pool.output.len();
    check("places of a pool", places.len(), pooled)?;
    check("gradient of a pool", d_output.len(), pooled)?;
    check(
        "gradient of a pool's input",
        d_input.len(),
        rows * pool.input.len(),
    )?;
    if let Some(output) = rectified {
        check("output of a pool", output.len(), pooled)?;
    }
    let count = d_input.len() as u32;
    let kernel = context.kernel("pool_backward", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(&pool.numbers);
    push(&mut launch, rectified);
    launch.arg(places).arg(d_output).arg(d_input);
    // SAFETY: as the kernel has them; the lengths were compared, and a `Pool`'s windows lie in its pictures.
    unsafe { run(&mut launch, threads(count)) }
}

/// An error if the batch has more numbers than kernels count, before or after.
fn check_rows(pool: &Pool, rows: usize) -> Result<()> {
    for picture in [&pool.input, &pool.output] {
        let sizes = [rows, picture.height, picture.width, picture.channels];
        count("rows and sizes of a pool", &sizes)?;
    }
    Ok(())
}
