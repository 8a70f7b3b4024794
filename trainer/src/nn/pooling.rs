//! Max-pooling of batches as candle has them, with the kernel that the engine computes with.

use rayon::prelude::*;

use super::geometry::Side;
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::{Picture, Pool};
use crate::kernel::{Isa, layout, pool};

/// The pool of pictures with these windows, or `None` if the kernel can't do it.
pub(crate) fn shape(input: Picture, sides: &[Side; 2]) -> Option<Pool> {
    let step = Side::step(sides);
    let [vertical, horizontal] = sides;
    // A place in a window must be a byte.
    (vertical.window <= 16).then(|| Pool {
        input,
        output: Picture::new(vertical.windows, horizontal.windows, input.channels),
        window: vertical.window,
        step,
        top: vertical.before,
        left: horizontal.before,
    })
}

/// Pools a batch `[rows, channels, height, width]`, and notes where in its channel of the input each value came from.
pub(super) fn forward(shape: &Pool, input: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let isa = Isa::detect();
    let (from, to) = (&shape.input, &shape.output);
    let len = |picture: &Picture| picture.channels * picture.pixels();
    let rows = input.len() / len(from);
    let mut output = vec![0.0; rows * len(to)];
    let mut places = vec![0; output.len()];
    output
        .par_chunks_mut(len(to))
        .zip(places.par_chunks_mut(len(to)))
        .zip(input.par_chunks(len(from)))
        .for_each_init(
            || vec![0; to.len()],
            |in_windows, ((output, places), input)| {
                with_scratch(from.len() + to.len(), |scratch| {
                    let (pixels, pooled) = scratch.split_at_mut(from.len());
                    layout::to_bordered(from, from, (0, 0), input, pixels);
                    pool::forward(isa, shape, false, pixels, pooled, in_windows);
                    layout::from_bordered(to, to, (0, 0), pooled, output);
                });
                in_channels(shape, in_windows, places);
            },
        );
    (output, places)
}

/// From places in windows, pixel by pixel, to places in channels, channel by channel.
fn in_channels(shape: &Pool, in_windows: &[u8], in_channels: &mut [u32]) {
    let Pool { input, output, .. } = shape;
    let area = shape.window * shape.window;
    // Divided once, and not for each number.
    let steps: Vec<usize> = (0..area)
        .map(|place| place / shape.window * input.width + place % shape.window)
        .collect();
    for (index, pixel) in in_windows.chunks_exact(output.stride).enumerate() {
        let (y, x) = (index / output.width, index % output.width);
        let corner = y * shape.step * input.width + x * shape.step;
        // The corner may lie before the first pixel; what the window was pooled from does not.
        let before = shape.top * input.width + shape.left;
        let places = in_channels[index..].iter_mut().step_by(output.pixels());
        for (place, &in_window) in places.zip(pixel) {
            *place = (corner + steps[usize::from(in_window)] - before) as u32;
        }
    }
}
