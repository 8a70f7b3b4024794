//! Tests: against naive loops in `f64`.

use feedline_pipeline::Random;
use proptest::prelude::*;

use super::*;
use crate::kernel::padded;
use crate::kernel::testing::{Sum, cases, check, most, noise, rows};

/// Rows, weights and gradients.
#[derive(Debug)]
struct Case {
    shape: Linear,
    rows: usize,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    d_output: Vec<f32>,
}

impl Case {
    fn new(inputs: usize, outputs: usize, count: usize, random: &mut Random) -> Self {
        let shape = Linear {
            inputs,
            input_stride: padded(inputs),
            outputs,
            output_stride: padded(outputs),
        };
        Self {
            shape,
            rows: count,
            input: rows(random, count, inputs, shape.input_stride),
            weights: rows(random, inputs, outputs, shape.output_stride),
            bias: rows(random, 1, outputs, shape.output_stride),
            d_output: rows(random, count, outputs, shape.output_stride),
        }
    }

    /// Calls with output, input and weight of every product.
    fn products(&self, mut with: impl FnMut(usize, usize, usize)) {
        let shape = &self.shape;
        for row in 0..self.rows {
            for input in 0..shape.inputs {
                for output in 0..shape.outputs {
                    with(
                        row * shape.output_stride + output,
                        row * shape.input_stride + input,
                        input * shape.output_stride + output,
                    );
                }
            }
        }
    }

    fn check_forward(&self, isa: Isa, rectify: bool) -> Result<(), TestCaseError> {
        let bias: Vec<_> = self.bias.iter().map(|&bias| Sum::of(bias)).collect();
        let mut expected = bias.repeat(self.rows);
        self.products(|output, input, weight| {
            expected[output].add(self.input[input], self.weights[weight]);
        });
        let expected: Vec<_> = expected.iter().map(|sum| sum.rectified(rectify)).collect();
        let mut output = vec![f32::NAN; expected.len()];
        let Self {
            shape,
            rows,
            input,
            weights,
            bias,
            ..
        } = self;
        forward(
            isa,
            shape,
            *rows,
            input,
            weights,
            bias,
            rectify,
            &mut output,
        );
        check((isa, "forward"), &output, &expected)
    }

    fn check_data_gradient(&self, isa: Isa) -> Result<(), TestCaseError> {
        let Self {
            shape,
            rows,
            weights,
            d_output,
            ..
        } = self;
        let mut expected = vec![Sum::default(); self.input.len()];
        self.products(|output, input, weight| {
            expected[input].add(d_output[output], weights[weight]);
        });
        let mut d_input = vec![7.0; self.input.len()];
        data_gradient(isa, shape, *rows, weights, d_output, &mut d_input);
        let found = d_input.chunks_exact(shape.input_stride);
        for (found, expected) in found.zip(expected.chunks_exact(shape.input_stride)) {
            let (found, padding) = found.split_at(shape.inputs);
            check((isa, "data gradient"), found, &expected[..shape.inputs])?;
            prop_assert!(padding.iter().all(|&x| x == 0.0), "padding becomes 0");
        }
        Ok(())
    }

    /// Of the inputs from `first` to `end`.
    fn check_weight_gradient(
        &self,
        isa: Isa,
        first: usize,
        end: usize,
    ) -> Result<(), TestCaseError> {
        let Self {
            shape,
            rows,
            input,
            d_output,
            ..
        } = self;
        let mut all = vec![Sum::default(); self.weights.len()];
        self.products(|output, from, weight| all[weight].add(d_output[output], input[from]));
        let expected = all.chunks_exact(shape.output_stride).take(end).skip(first);
        let expected = expected.flat_map(|own| own[..shape.outputs].to_vec());
        let expected: Vec<_> = expected.collect();
        let mut found = vec![f32::NAN; expected.len()];
        weight_gradient(isa, shape, *rows, first, input, d_output, &mut found);
        check((isa, "weight gradient"), &found, &expected)
    }
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn products_and_gradients_are_those_of_naive_loops(
        (inputs, outputs) in (1..most(70, 18), 1..most(90, 18)),
        (rows, rectify, seed) in (0..most(20, 9), any::<bool>(), any::<u64>()),
        (one, other) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let case = Case::new(inputs, outputs, rows, &mut Random::new([seed]));
        let (one, other) = (one.index(inputs + 1), other.index(inputs + 1));
        for isa in Isa::available() {
            case.check_forward(isa, rectify)?;
            case.check_data_gradient(isa)?;
            case.check_weight_gradient(isa, one.min(other), one.max(other))?;
        }
    }
}

#[test]
fn nan_is_not_rectified_and_stays_in_its_row() {
    let mut case = Case::new(20, 20, 8, &mut Random::new([1]));
    let stride = case.shape.output_stride;
    case.input[3 * case.shape.input_stride + 5] = f32::NAN;
    for isa in Isa::available() {
        let mut output = vec![0.0; case.d_output.len()];
        let Case {
            shape,
            rows,
            input,
            weights,
            bias,
            ..
        } = &case;
        forward(isa, shape, *rows, input, weights, bias, true, &mut output);
        for (row, output) in output.chunks_exact(stride).enumerate() {
            assert!(
                output[..20].iter().all(|x| x.is_nan() == (row == 3)),
                "{isa:?}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "left == right")]
fn weights_of_another_shape_are_refused() {
    let case = Case::new(20, 20, 1, &mut Random::new([1]));
    let weights = noise(&mut Random::new([2]), 19 * 32);
    let (mut output, bias) = (vec![0.0; 32], &case.bias);
    forward(
        Isa::detect(),
        &case.shape,
        1,
        &case.input,
        &weights,
        bias,
        false,
        &mut output,
    );
}
