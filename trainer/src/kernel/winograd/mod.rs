//! The convolution by Winograd's minimal filtering, which makes several outputs with few products.
//!
//! A convolution along a row is a product of polynomials transposed, and polynomials can be multiplied point by point:
//! one product for each of enough points, the leading coefficient being the value at infinity. In two dimensions, the 36
//! pairs of six points make 4 × 4 outputs with a kernel of 3 × 3, which are 144 products directly; the 64 pairs of eight
//! points make as many with a kernel of 5 × 5, which are 400. Lavin & Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015, arXiv:1509.09308.
//!
//! First, tiles of the input are transformed to values at the pairs of points, channel by channel. Then there is one
//! product of matrices for each pair (tiles × channels by channels × filters). At last, products become pixels.

mod packing;
mod points;
mod product;
#[cfg(test)]
mod tests;
mod transform;

use super::scratch::with_scratch;
use super::shape::Convolution;
use super::{BLOCK, Isa, run};
use packing::Pack;
use product::{Arguments, Forward, TILES};

/// Whether [`forward`] is faster than the direct convolution. With fewer channels, most of it are transforms.
pub(crate) fn pays(shape: &Convolution) -> bool {
    points(shape).is_some() && shape.input.channels >= 4
}

/// How many points make the fewest products, or none if the shape does not fit.
fn points(shape: &Convolution) -> Option<usize> {
    let Convolution {
        input,
        output,
        kernel,
        step,
    } = *shape;
    let fits = matches!(kernel, 3 | 5)
        && step == 1
        && input.height + 1 == output.height + kernel
        && input.width + 1 == output.width + kernel
        && (1..=input.stride).contains(&input.channels)
        && input.stride.is_multiple_of(BLOCK)
        && output.stride.is_multiple_of(BLOCK);
    let possible = |&points: &usize| fits && points <= input.height.min(input.width);
    let products = |&points: &usize| products_at(points, shape);
    [6, 8].into_iter().filter(possible).min_by_key(products)
}

fn products_at(points: usize, shape: &Convolution) -> usize {
    let Convolution { output, kernel, .. } = *shape;
    let outputs = points + 1 - kernel;
    output.height.div_ceil(outputs) * output.width.div_ceil(outputs) * points * points
}

/// Products of a channel of a picture and a filter, if the shape fits. Directly there are as many as pixels come out, times
/// those of a window.
pub(crate) fn products(shape: &Convolution) -> Option<usize> {
    points(shape).map(|points| products_at(points, shape))
}

/// Numbers of one pair of points in packed weights. The extra line spreads them over the sets of the cache.
fn packed_plane(shape: &Convolution) -> usize {
    shape.input.channels * shape.output.stride + BLOCK
}

/// Numbers that [`pack`] writes.
pub(crate) fn packed_len(shape: &Convolution) -> usize {
    points(shape).map_or(0, |points| points * points * packed_plane(shape))
}

/// Transforms filters `[filter][channel][kernel row][kernel column]` to `[pair of points][channel][filter]`, with
/// padded filters.
pub(crate) fn pack(isa: Isa, shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    let area = shape.kernel * shape.kernel;
    assert_eq!(
        weights.len(),
        shape.output.channels * shape.input.channels * area
    );
    assert_eq!(packed.len(), packed_len(shape));
    match (points(shape), shape.kernel) {
        (Some(6), 3) => run(
            isa,
            Pack::<6, 3> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(6), 5) => run(
            isa,
            Pack::<6, 5> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(8), 3) => run(
            isa,
            Pack::<8, 3> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(8), 5) => run(
            isa,
            Pack::<8, 5> {
                shape,
                weights,
                packed,
            },
        ),
        _ => panic!("the shape does not fit"),
    }
}

/// Convolves `images` pictures that lie one after the other, adds the bias, and takes max(0, ·) if `rectify`.
///
/// What becomes of a picture does not depend on the others.
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
    let points = points(shape).expect("the shape does not fit");
    assert!(input.len() >= images * shape.input.len());
    assert!(output.len() >= images * shape.output.len());
    assert_eq!(packed.len(), packed_len(shape));
    assert_eq!(bias.len(), shape.output.stride);
    // The extra line spreads the planes over the sets of the cache.
    let planes = [shape.input.stride, shape.output.stride].map(|stride| TILES * stride + BLOCK);
    with_scratch(points * points * (planes[0] + planes[1]), |scratch| {
        let (values, products) = scratch.split_at_mut(points * points * planes[0]);
        let arguments = Arguments {
            shape,
            images,
            input,
            packed,
            bias,
            rectify,
            output,
            values,
            products,
            planes,
        };
        match (points, shape.kernel) {
            (6, 3) => run(isa, Forward::<6, 4>(arguments)),
            (6, _) => run(isa, Forward::<6, 2>(arguments)),
            (_, 3) => run(isa, Forward::<8, 6>(arguments)),
            (_, _) => run(isa, Forward::<8, 4>(arguments)),
        }
    });
}
