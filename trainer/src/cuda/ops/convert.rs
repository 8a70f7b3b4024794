//! From one type of numbers to another.

use cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};

use super::{check, count, run, threads};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::Result;

/// Rounds to the nearest.
pub(crate) fn from_f32<T: Real>(
    context: &Context,
    input: &CudaView<'_, f32>,
    output: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    check("converted numbers", output.len(), input.len())?;
    let count = count("numbers to convert", &[input.len()])?;
    let kernel = context.kernel("convert", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&count).arg(input).arg(output);
    // SAFETY: as the kernel has them; the lengths were compared.
    unsafe { run(&mut launch, threads(count)) }
}
