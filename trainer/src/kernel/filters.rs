//! A convolution's weights, from candle's order of numbers to that of the kernels, and their gradients back.

use rayon::prelude::*;

use super::scratch::with_scratch;
use super::shape::Convolution;
use super::{Isa, convolution, winograd};

/// Numbers of the weights as [`forward`] takes them.
pub(crate) fn packed_len(shape: &Convolution) -> usize {
    match winograd::pays(shape) {
        true => winograd::packed_len(shape),
        false => convolution::packed_len(shape),
    }
}

/// Packs weights `[filters][channels][kernel][kernel]` for [`forward`].
pub(crate) fn pack(isa: Isa, shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    match winograd::pays(shape) {
        true => winograd::pack(isa, shape, weights, packed),
        false => convolution::pack(shape, weights, packed),
    }
}

/// Convolves in the faster way: [`winograd::forward`] or [`convolution::forward`].
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
pub(crate) fn forward(
    isa: Isa,
    shape: &Convolution,
    images: usize,
    input: &[f32],
    packed: &[f32],
    bias: &[f32],
    rectify: bool,
    output: &mut [f32],
) {
    let forward = match winograd::pays(shape) {
        true => winograd::forward,
        false => convolution::forward,
    };
    forward(isa, shape, images, input, packed, bias, rectify, output);
}

/// Numbers of all filters as the way back takes them, and of the sums of their gradients.
pub(crate) fn backward_len(shape: &Convolution) -> usize {
    shape.output.channels * shape.padded_filter()
}

/// Packs weights `[filters][channels][kernel][kernel]` for the way back: [`pack_filter`] for each filter.
pub(crate) fn pack_backward(shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    assert_eq!(packed.len(), backward_len(shape));
    weights
        .par_chunks_exact(weights.len() / shape.output.channels)
        .zip(packed.par_chunks_exact_mut(shape.padded_filter()))
        .for_each(|(weights, packed)| pack_filter(shape, weights, packed));
}

/// Adds up the chunks' sums of [`convolution::weight_gradient`], in their order, and writes them as
/// `[filters][channels][kernel][kernel]`.
pub(crate) fn add_up<'a>(
    shape: &Convolution,
    chunks: impl Iterator<Item = &'a [f32]> + Clone + Sync,
    gradient: &mut [f32],
) {
    let filter = shape.padded_filter();
    gradient
        .par_chunks_exact_mut(gradient.len() / shape.output.channels)
        .enumerate()
        .for_each(|(index, gradient)| {
            with_scratch(filter, |sums| {
                sums.fill(0.0);
                for chunk in chunks.clone() {
                    let own = &chunk[index * filter..][..filter];
                    sums.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
                }
                unpack_filter(shape, sums, gradient);
            });
        });
}

/// Packs one filter's weights `[channels][kernel][kernel]` for the way back: `[kernel row][padded segment]`.
pub(crate) fn pack_filter(shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    let (channels, kernel) = (shape.input.channels, shape.kernel);
    assert_eq!(weights.len(), channels * kernel * kernel);
    assert_eq!(packed.len(), shape.padded_filter());
    packed.fill(0.0);
    let rows = packed.chunks_exact_mut(shape.padded_segment());
    for (row, packed) in rows.enumerate() {
        let pixels = packed.chunks_exact_mut(shape.input.stride).take(kernel);
        for (column, pixel) in pixels.enumerate() {
            let own = weights[row * kernel + column..]
                .iter()
                .step_by(kernel * kernel);
            for (packed, &weight) in pixel[..channels].iter_mut().zip(own) {
                *packed = weight;
            }
        }
    }
}

/// The opposite of [`pack_filter`].
pub(crate) fn unpack_filter(shape: &Convolution, packed: &[f32], weights: &mut [f32]) {
    let (channels, kernel) = (shape.input.channels, shape.kernel);
    assert_eq!(weights.len(), channels * kernel * kernel);
    assert_eq!(packed.len(), shape.padded_filter());
    let rows = packed.chunks_exact(shape.padded_segment());
    for (row, packed) in rows.enumerate() {
        let pixels = packed.chunks_exact(shape.input.stride).take(kernel);
        for (column, pixel) in pixels.enumerate() {
            let own = weights[row * kernel + column..]
                .iter_mut()
                .step_by(kernel * kernel);
            for (&packed, weight) in pixel[..channels].iter().zip(own) {
                *weight = packed;
            }
        }
    }
}
