//! Borders of zeros around pictures, and what goes with convolutions beside the library.

use cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};

use super::shape::Picture;
use super::{check, count, run, threads};
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::error::Result;

/// Copies pictures into pictures of another size, top left corner on top left corner: what is beyond an edge is cut off,
/// and what was not there before is 0.
pub(crate) fn copy<T: Real>(
    context: &Context,
    rows: usize,
    (from, input): (&Picture, &CudaView<'_, T>),
    (to, output): (&Picture, &mut CudaViewMut<'_, T>),
) -> Result<()> {
    check("channels of a border", to.channels, from.channels)?;
    check("numbers of the input", input.len(), rows * from.len())?;
    check("numbers of the output", output.len(), rows * to.len())?;
    count("pictures with a border", &[rows, from.len()])?;
    let numbers = count("pictures with a border", &[rows, to.len()])?;
    let sizes = [from.height, from.width, to.height, to.width, to.channels];
    // Each is a factor of what was counted.
    let [from_height, from_width, height, width, channels] = sizes.map(|size| size as u32);
    let kernel = context.kernel("border", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&numbers).arg(&from_height).arg(&from_width);
    launch.arg(&height).arg(&width).arg(&channels);
    launch.arg(input).arg(output);
    // SAFETY: these are the kernel's arguments, and the lengths are those of the pictures.
    unsafe { run(&mut launch, threads(numbers)) }
}

/// The same numbers as `f32`.
pub(crate) fn widen<T: Real>(
    context: &Context,
    input: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, f32>,
) -> Result<()> {
    check("numbers of the output", output.len(), input.len())?;
    let numbers = count("numbers to convert", &[input.len()])?;
    let kernel = context.kernel("widen", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&numbers).arg(input).arg(output);
    // SAFETY: these are the kernel's arguments, and both buffers have this length.
    unsafe { run(&mut launch, threads(numbers)) }
}
