//! Filters, transformed.

use super::packed_plane;
use super::points::Points;
use super::transform::store;
use crate::kernel::shape::Convolution;
use crate::kernel::{BLOCK, Kernel, Vector};

/// [`pack`](super::pack) for one number of points and size of kernel.
pub(super) struct Pack<'a, const POINTS: usize, const KERNEL: usize> {
    pub(super) shape: &'a Convolution,
    pub(super) weights: &'a [f32],
    pub(super) packed: &'a mut [f32],
}

impl<const POINTS: usize, const KERNEL: usize> Kernel for Pack<'_, POINTS, KERNEL> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Convolution { input, output, .. } = self.shape;
        let area = KERNEL * KERNEL;
        let plane = packed_plane(self.shape);
        for filter in (0..output.stride).step_by(V::LANES) {
            let lanes = V::LANES.min(output.channels.saturating_sub(filter));
            // A register of filters, weight by weight. Lanes beyond the last filter stay 0.
            let mut transposed = [[0.0; BLOCK]; 25];
            for channel in 0..input.channels {
                for lane in 0..lanes {
                    let from = ((filter + lane) * input.channels + channel) * area;
                    let weights = &self.weights[from..][..area];
                    for (lanes, &weight) in transposed.iter_mut().zip(weights) {
                        lanes[lane] = weight;
                    }
                }
                let to = channel * output.stride + filter;
                let to = &mut self.packed[to..][..(POINTS * POINTS - 1) * plane + V::LANES];
                // SAFETY: the processor has the instructions; `to` was cut to what is written.
                unsafe {
                    transform_weights::<V, POINTS, KERNEL>(&transposed, to.as_mut_ptr(), plane);
                }
            }
        }
    }
}

/// # Safety
///
/// As [`Vector`]'s; a register can be written to each of the planes.
#[inline(always)]
unsafe fn transform_weights<V: Vector, const POINTS: usize, const KERNEL: usize>(
    weights: &[[f32; BLOCK]; 25],
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[V::zero(); KERNEL]; POINTS];
        for x in 0..KERNEL {
            let mut column = [V::zero(); KERNEL];
            for (y, weight) in column.iter_mut().enumerate() {
                *weight = V::load(weights[y * KERNEL + x].as_ptr());
            }
            let values: [V; POINTS] = weight_values(column);
            for (row, value) in rows.iter_mut().zip(values) {
                row[x] = value;
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            store::<V, POINTS>(weight_values(row), to.add(y * POINTS * plane), plane);
        }
    }
}

/// The values of a polynomial, whose coefficients are a row of the kernel, over the products of the differences between
/// the points: G of the paper.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn weight_values<V: Vector, const POINTS: usize, const KERNEL: usize>(
    row: [V; KERNEL],
) -> [V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [V::zero(); POINTS];
        values[0] = row[0].mul(V::splat(1.0 / Points::<POINTS>::ALL[0]));
        for pair in 0..Points::<POINTS>::PAIRS {
            let point = Points::<POINTS>::POSITIVE[pair];
            let scale = Points::<POINTS>::SCALES[pair];
            let mut halves = [V::zero(); 2];
            let mut factor = scale;
            for (degree, weight) in row.into_iter().enumerate() {
                let sum = &mut halves[degree % 2];
                *sum = weight.mul_add(V::splat(factor), *sum);
                factor *= point;
            }
            let [even, odd] = halves;
            values[1 + 2 * pair] = even.add(odd);
            values[2 + 2 * pair] = even.sub(odd);
        }
        values[POINTS - 1] = row[KERNEL - 1];
        values
    }
}
