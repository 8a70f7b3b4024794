//! From pixel after pixel to channel after channel, as candle has features, and back.

use cudarc::driver::{CudaView, CudaViewMut, LaunchConfig, PushKernelArg};

use super::shape::Picture;
use super::{check, count, run};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Result, invalid};

/// Numbers along a side of a block's tile.
const TILE: usize = 32;

/// Blocks along the second and third dimension of a grid at most.
const MOST_BLOCKS: usize = 65_535;

/// Pictures as rows of features.
pub(crate) fn to_channels<T: Real>(
    context: &Context,
    shape: &Picture,
    rows: usize,
    pixels: &CudaView<'_, T>,
    channels: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let (pixels_per_row, channels_per_pixel) = (shape.pixels(), shape.channels);
    transpose(
        context,
        [rows, pixels_per_row, channels_per_pixel],
        pixels,
        channels,
    )
}

/// The opposite of [`to_channels`].
pub(crate) fn to_pixels<T: Real>(
    context: &Context,
    shape: &Picture,
    rows: usize,
    channels: &CudaView<'_, T>,
    pixels: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let (pixels_per_row, channels_per_pixel) = (shape.pixels(), shape.channels);
    transpose(
        context,
        [rows, channels_per_pixel, pixels_per_row],
        channels,
        pixels,
    )
}

/// `[rows][lines][columns]` becomes `[rows][columns][lines]`.
fn transpose<T: Real>(
    context: &Context,
    [rows, lines, columns]: [usize; 3],
    input: &CudaView<'_, T>,
    output: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let numbers = count("rows and sizes of a batch", &[rows, lines, columns])?;
    check("pictures to transpose", input.len(), numbers as usize)?;
    check("transposed pictures", output.len(), numbers as usize)?;
    if numbers == 0 {
        return Ok(());
    }
    let tiles = |size: usize| size.div_ceil(TILE) as u32;
    if lines.div_ceil(TILE) > MOST_BLOCKS {
        let expected = format!("at most {} of a picture", MOST_BLOCKS * TILE);
        return Err(invalid("number of lines to transpose", lines, expected));
    }
    let config = LaunchConfig {
        grid_dim: (tiles(columns), tiles(lines), rows.min(MOST_BLOCKS) as u32),
        block_dim: (TILE as u32, 8, 1),
        shared_mem_bytes: 0,
    };
    let [rows, lines, columns] = [rows, lines, columns].map(|size| size as u32);
    let kernel = context.kernel("transpose", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch
        .arg(&rows)
        .arg(&lines)
        .arg(&columns)
        .arg(input)
        .arg(output);
    // SAFETY: as the kernel has them; the lengths were compared.
    unsafe { run(&mut launch, config) }
}
