//! Dropout.

use cudarc::driver::{CudaView, CudaViewMut, LaunchConfig, PushKernelArg};

use super::shape::Picture;
use super::{check, count, run};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Error, Result};
use crate::nn::Pass;

/// Numbers of a row that a block takes: some for each thread, as the first one hashes the row's key for all.
const PIECE: usize = 1024;

/// Blocks that a row has at most; each takes more pieces then.
const MOST_PIECES: usize = 65_535;

/// Multiplies each number by 0 or by 1 / (1 − rate), as the CPU would draw it for this training pass
/// [in the layer](Pass::in_layer): forward values, or backward gradients. Copies in evaluation.
pub(crate) fn apply<T: Real>(
    context: &Context,
    shape: &Picture,
    rows: usize,
    rate: f32,
    pass: &Pass,
    input: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let row = shape.len();
    count(
        "rows and sizes of a batch",
        &[rows, shape.height, shape.width, shape.channels],
    )?;
    check("input of dropout", input.len(), rows * row)?;
    check("output of dropout", output.len(), rows * row)?;
    if !pass.is_training() {
        let copied = context.gpu.stream().memcpy_dtod(input, output);
        return copied.map_err(Error::cuda("copy activations"));
    }
    if rows == 0 || row == 0 {
        return Ok(());
    }
    let (pixels, channels) = (shape.pixels() as u32, shape.channels as u32);
    let kept = 1.0 / (1.0 - rate);
    let [seed, step, layer, first_row] = pass.key(0);
    let kernel = context.kernel("dropout", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&pixels).arg(&channels).arg(&rate).arg(&kept);
    launch.arg(&seed).arg(&step).arg(&layer).arg(&first_row);
    launch.arg(input).arg(output);
    let config = LaunchConfig {
        grid_dim: (rows as u32, row.div_ceil(PIECE).min(MOST_PIECES) as u32, 1),
        block_dim: (row.next_multiple_of(32).min(256) as u32, 1, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: as the kernel has them; the lengths were compared, and each row of the batch has a column of the grid.
    unsafe { run(&mut launch, config) }
}
