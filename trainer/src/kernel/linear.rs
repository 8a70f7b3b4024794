//! The fully connected layer's products. Rows of inputs and outputs are padded; weights are `[inputs][padded outputs]`.

use super::tile::{Panel, ROWS, multiply, panels};
use super::{Isa, Kernel, Vector, run};

/// A fully connected layer's sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Linear {
    pub(crate) inputs: usize,
    pub(crate) input_stride: usize,
    pub(crate) outputs: usize,
    pub(crate) output_stride: usize,
}

impl Linear {
    /// Numbers of the weights.
    pub(crate) fn weights(&self) -> usize {
        self.inputs * self.output_stride
    }

    fn check(&self, rows: usize, input: usize, output: usize) {
        assert!(self.inputs <= self.input_stride && self.outputs <= self.output_stride);
        assert!(self.output_stride.is_multiple_of(super::BLOCK));
        assert_eq!(
            (input, output),
            (rows * self.input_stride, rows * self.output_stride)
        );
    }
}

/// Multiplies `rows` rows by the weights and adds the bias; then max(0, x) if it is to `rectify`.
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
pub(crate) fn forward(
    isa: Isa,
    shape: &Linear,
    rows: usize,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    rectify: bool,
    output: &mut [f32],
) {
    shape.check(rows, input.len(), output.len());
    assert_eq!(weights.len(), shape.weights());
    assert_eq!(bias.len(), shape.output_stride);
    if rows > 0 {
        run(
            isa,
            Forward {
                shape,
                rows,
                input,
                weights,
                bias,
                rectify,
                output,
            },
        );
    }
}

struct Forward<'a> {
    shape: &'a Linear,
    rows: usize,
    input: &'a [f32],
    weights: &'a [f32],
    bias: &'a [f32],
    rectify: bool,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.shape.output_stride, &mut self) }
    }
}

impl Panel for Forward<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let &Linear {
            inputs,
            input_stride,
            output_stride,
            ..
        } = self.shape;
        // SAFETY: all lengths were compared with the shape's.
        unsafe {
            let mut bias = [V::zero(); WIDE];
            for (wide, bias) in bias.iter_mut().enumerate() {
                *bias = V::load(self.bias.as_ptr().add(column + wide * V::LANES));
            }
            for first in (0..self.rows).step_by(ROWS) {
                let count = ROWS.min(self.rows - first);
                let mut a = [self.input.as_ptr().add(first * input_stride); ROWS];
                for (row, a) in a.iter_mut().enumerate() {
                    *a = a.add(row.min(count - 1) * input_stride);
                }
                let mut tile = [bias; ROWS];
                let weights = self.weights.as_ptr().add(column);
                multiply(&mut tile, a, 1, weights, output_stride, inputs);
                for (row, sums) in tile.iter().enumerate().take(count) {
                    let to = self.output.as_mut_ptr();
                    let to = to.add((first + row) * output_stride + column);
                    for (wide, sum) in sums.iter().enumerate() {
                        let sum = if self.rectify { sum.rectify() } else { *sum };
                        sum.store(to.add(wide * V::LANES));
                    }
                }
            }
        }
    }
}

/// The gradients of `rows` rows of inputs; what pads them becomes 0.
pub(crate) fn data_gradient(
    isa: Isa,
    shape: &Linear,
    rows: usize,
    weights: &[f32],
    d_output: &[f32],
    d_input: &mut [f32],
) {
    shape.check(rows, d_input.len(), d_output.len());
    assert_eq!(weights.len(), shape.weights());
    if rows > 0 {
        for row in d_input.chunks_exact_mut(shape.input_stride) {
            row[shape.inputs..].fill(0.0);
        }
        run(
            isa,
            DataGradient {
                shape,
                rows,
                weights,
                d_output,
                d_input,
            },
        );
    }
}

struct DataGradient<'a> {
    shape: &'a Linear,
    rows: usize,
    weights: &'a [f32],
    d_output: &'a [f32],
    d_input: &'a mut [f32],
}

impl Kernel for DataGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe {
            match V::WIDEST {
                4.. => self.products::<V, 4>(),
                2.. => self.products::<V, 2>(),
                _ => self.products::<V, 1>(),
            }
        }
    }
}

impl DataGradient<'_> {
    /// Scalar products of rows, which both lie side by side: `WIDE` inputs by four rows at once.
    #[inline(always)]
    unsafe fn products<V: Vector, const WIDE: usize>(&mut self) {
        const HIGH: usize = 4;
        let &Linear {
            inputs,
            input_stride,
            output_stride,
            ..
        } = self.shape;
        // SAFETY: all lengths were compared with the shape's; the last rows and inputs are repeated.
        unsafe {
            for left in (0..inputs).step_by(WIDE) {
                let weights: [*const f32; WIDE] = std::array::from_fn(|wide| {
                    let input = (left + wide).min(inputs - 1);
                    self.weights.as_ptr().wrapping_add(input * output_stride)
                });
                for top in (0..self.rows).step_by(HIGH) {
                    let gradients: [*const f32; HIGH] = std::array::from_fn(|high| {
                        let row = (top + high).min(self.rows - 1);
                        self.d_output.as_ptr().wrapping_add(row * output_stride)
                    });
                    let mut sums = [[V::zero(); WIDE]; HIGH];
                    for k in (0..output_stride).step_by(V::LANES) {
                        let mut right = [V::zero(); WIDE];
                        for wide in 0..WIDE {
                            right[wide] = V::load(weights[wide].add(k));
                        }
                        for high in 0..HIGH {
                            let gradient = V::load(gradients[high].add(k));
                            for wide in 0..WIDE {
                                sums[high][wide] = gradient.mul_add(right[wide], sums[high][wide]);
                            }
                        }
                    }
                    for wide in 0..WIDE.min(inputs - left) {
                        let column = [sums[0][wide], sums[1][wide], sums[2][wide], sums[3][wide]];
                        let sums = V::sums(column);
                        for (high, sum) in sums.iter().enumerate().take(self.rows - top) {
                            let place = (top + high) * input_stride + left + wide;
                            *self.d_input.as_mut_ptr().add(place) = *sum;
                        }
                    }
                }
            }
        }
    }
}

/// The gradients of the weights of `d_weights.len() / outputs` inputs from `first_input` on, over `rows` rows:
/// `[inputs][outputs]`, not padded.
pub(crate) fn weight_gradient(
    isa: Isa,
    shape: &Linear,
    rows: usize,
    first_input: usize,
    input: &[f32],
    d_output: &[f32],
    d_weights: &mut [f32],
) {
    shape.check(rows, input.len(), d_output.len());
    let count = d_weights.len() / shape.outputs;
    assert_eq!(d_weights.len(), count * shape.outputs);
    assert!(first_input + count <= shape.inputs);
    if rows == 0 {
        d_weights.fill(0.0);
    } else if count > 0 {
        run(
            isa,
            WeightGradient {
                shape,
                rows,
                first_input,
                count,
                input,
                d_output,
                d_weights,
            },
        );
    }
}

struct WeightGradient<'a> {
    shape: &'a Linear,
    rows: usize,
    first_input: usize,
    count: usize,
    input: &'a [f32],
    d_output: &'a [f32],
    d_weights: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.shape.output_stride, &mut self) }
    }
}

impl Panel for WeightGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let &Linear {
            input_stride,
            outputs,
            output_stride,
            ..
        } = self.shape;
        let columns = (WIDE * V::LANES).min(outputs.saturating_sub(column));
        if columns == 0 {
            return;
        }
        // SAFETY: all lengths were compared with the shape's.
        unsafe {
            for first in (0..self.count).step_by(ROWS) {
                let count = ROWS.min(self.count - first);
                let mut a = [self.input.as_ptr().add(self.first_input + first); ROWS];
                for (row, a) in a.iter_mut().enumerate() {
                    *a = a.add(row.min(count - 1));
                }
                let mut tile = [[V::zero(); WIDE]; ROWS];
                let d_output = self.d_output.as_ptr().add(column);
                multiply(
                    &mut tile,
                    a,
                    input_stride,
                    d_output,
                    output_stride,
                    self.rows,
                );
                for (row, sums) in tile.iter().enumerate().take(count) {
                    let mut numbers = [0.0f32; 64];
                    for (wide, sum) in sums.iter().enumerate() {
                        sum.store(numbers.as_mut_ptr().add(wide * V::LANES));
                    }
                    let place = (first + row) * outputs + column;
                    let place = self.d_weights.get_unchecked_mut(place..place + columns);
                    place.copy_from_slice(&numbers[..columns]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
