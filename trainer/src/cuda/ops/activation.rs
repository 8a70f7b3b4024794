//! Bias and rectifier.

use cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};

use super::sums::Parts;
use super::{check, count, push, run, threads};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Result, invalid};

/// `output = input + bias[channel]`, and max(0, that) if `rectify`; NaN stays.
pub(crate) fn forward<T: Real>(
    context: &Context,
    channels: usize,
    bias: Option<&CudaView<'_, f32>>,
    rectify: bool,
    input: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    check("output of an activation", output.len(), input.len())?;
    check_bias(channels, bias, input.len())?;
    let (count, channels) = (
        count("numbers of a batch", &[input.len()])?,
        channels as u32,
    );
    let kernel = context.kernel("activation_forward", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(&channels);
    push(&mut launch, bias);
    launch.arg(&rectify).arg(input).arg(output);
    // SAFETY: as the kernel has them; the lengths were compared.
    unsafe { run(&mut launch, threads(count)) }
}

/// [`forward`] in place.
pub(crate) fn forward_in_place<T: Real>(
    context: &Context,
    channels: usize,
    bias: Option<&CudaView<'_, f32>>,
    rectify: bool,
    values: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    check_bias(channels, bias, values.len())?;
    let (count, channels) = (
        count("numbers of a batch", &[values.len()])?,
        channels as u32,
    );
    let values = values.as_view();
    let kernel = context.kernel("activation_forward", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(&channels);
    push(&mut launch, bias);
    launch.arg(&rectify).arg(&values).arg(&values);
    // SAFETY: as the kernel has them; the lengths were compared, and the caller lends the values to be changed.
    unsafe { run(&mut launch, threads(count)) }
}

/// Sets the gradient to 0 where max(0, x) gave 0: `d_input = d_output` where `output > 0`.
pub(crate) fn backward<T: Real>(
    context: &Context,
    output: &CudaView<'_, T>,
    d_output: &CudaView<'_, T>,
    d_input: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    check("gradient of an activation", d_output.len(), output.len())?;
    check(
        "gradient of an activation's input",
        d_input.len(),
        output.len(),
    )?;
    let count = count("numbers of a batch", &[output.len()])?;
    let kernel = context.kernel("activation_backward", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(output).arg(d_output).arg(d_input);
    // SAFETY: as the kernel has them; the lengths were compared.
    unsafe { run(&mut launch, threads(count)) }
}

/// The gradient of the bias: the sums of the gradient over all pixels. If the output was `rectified`, then the gradient is
/// that of the rectified output; it becomes, in the same pass, what [`backward`] makes of it.
///
/// `scratch` has [`scratch_len`](super::sums::scratch_len) numbers, `sums` one per channel.
pub(crate) fn bias_gradient<T: Real>(
    context: &Context,
    channels: usize,
    rectified: Option<&CudaView<'_, T>>,
    gradient: &mut CudaViewMut<'_, T>,
    scratch: &mut CudaViewMut<'_, f32>,
    sums: &mut CudaViewMut<'_, f32>,
) -> Result<()> {
    let parts = Parts::new(gradient.len(), channels)?;
    parts.check(scratch)?;
    if let Some(output) = rectified {
        check("output of an activation", output.len(), gradient.len())?;
    }
    let kernel = context.kernel("bias_gradient", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch
        .arg(&parts.pixels)
        .arg(&parts.channels)
        .arg(&parts.lanes);
    push(&mut launch, rectified);
    launch.arg(gradient).arg(&mut *scratch);
    // SAFETY: as the kernel has them; the lengths were compared.
    unsafe { run(&mut launch, parts.config())? };
    parts.sum(context, 1, scratch, sums)
}

/// An error unless there is a number for each channel, and a channel for each number.
fn check_bias(channels: usize, bias: Option<&CudaView<'_, f32>>, numbers: usize) -> Result<()> {
    if channels == 0 || !numbers.is_multiple_of(channels) {
        let expected = format!("a number of each of {channels} channels for each pixel");
        return Err(invalid("numbers of a batch", numbers, expected));
    }
    match bias {
        Some(bias) => check("bias", bias.len(), channels),
        None => Ok(()),
    }
}
