//! Tests: against naive loops.

use proptest::prelude::*;

use super::*;
use crate::kernel::pool;
use crate::kernel::shape::{Convolution, Picture, Pool, SLACK};
use crate::kernel::testing::{cases, most};

/// A convolution, its pool, and what flows through them.
struct Case {
    shape: Convolution,
    pool: Pool,
    rectify: bool,
    input: Vec<f32>,
    weights: Vec<f32>,
    output: Vec<f32>,
    places: Vec<u8>,
    d_output: Vec<f32>,
}

impl Case {
    fn new(shape: Convolution, pool: Pool, rectify: bool, seed: u64) -> Self {
        let mut random = feedline_pipeline::Random::new([seed]);
        let mut value = || random.below(2000) as f32 / 1000.0 - 1.0;
        let (filters, segment) = (shape.output.channels, shape.padded_segment());
        let convolved: Vec<f32> = (0..pool.input.len()).map(|_| value()).collect();
        let weights = (0..filters * shape.padded_filter()).map(|index| {
            if index % segment < shape.segment() {
                value()
            } else {
                0.0
            }
        });
        let weights = weights.collect();
        let d_output = (0..pool.output.len()).map(|index| {
            let counts = index % pool.output.stride < filters && value() > -0.5;
            if counts { value() } else { 0.0 }
        });
        let d_output: Vec<f32> = d_output.collect();
        let input = (0..shape.input.len() + SLACK).map(|_| value()).collect();
        let mut output = vec![0.0; d_output.len()];
        let mut places = vec![0; d_output.len()];
        pool::forward(
            Isa::Portable,
            &pool,
            rectify,
            &convolved,
            &mut output,
            &mut places,
        );
        Self {
            shape,
            pool,
            rectify,
            input,
            weights,
            output,
            places,
            d_output,
        }
    }

    fn entries(&self) -> Entries {
        Entries::new(&self.shape, &self.pool, self.rectify, true)
    }

    fn build(&self, isa: Isa, entries: &mut Entries) {
        entries.build(isa, &self.output, &self.d_output, &self.places);
    }

    /// Weight gradient, bias gradient, and data gradient.
    fn gradients(&self, isa: Isa, entries: &Entries) -> [Vec<f32>; 3] {
        let mut sums = vec![1.0; self.weights.len()];
        let mut bias = vec![1.0; self.shape.output.channels];
        let mut d_input = vec![0.0; self.input.len()];
        weight_gradient(isa, entries, &self.input, &mut sums, &mut bias);
        data_gradient(isa, entries, &self.weights, &mut d_input);
        [sums, bias, d_input]
    }

    /// The same by naive loops, each with the sum of magnitudes.
    fn expected(&self) -> [Vec<(f64, f64)>; 3] {
        let Self { shape, pool, .. } = self;
        let mut sums = vec![(1.0, 1.0); self.weights.len()];
        let mut bias = vec![(1.0, 1.0); shape.output.channels];
        let mut d_input = vec![(0.0, 0.0); self.input.len()];
        let add = |sum: &mut (f64, f64), x: f32, y: f32| {
            let product = f64::from(x) * f64::from(y);
            *sum = (sum.0 + product, sum.1 + product.abs());
        };
        for (index, &gradient) in self.d_output.iter().enumerate() {
            let (pixel, filter) = (index / pool.output.stride, index % pool.output.stride);
            if filter >= shape.output.channels || self.rectify && self.output[index] <= 0.0 {
                continue;
            }
            let pixel = (pixel / pool.output.width, pixel % pool.output.width);
            let pixel = pool.pixel(pixel, self.places[index].into());
            let window = shape.window(pixel / shape.output.width, pixel % shape.output.width);
            add(&mut bias[filter], gradient, 1.0);
            for row in 0..shape.kernel {
                for column in 0..shape.segment() {
                    let weight = (filter * shape.kernel + row) * shape.padded_segment() + column;
                    let at = window + row * shape.input.row() + column;
                    add(&mut sums[weight], gradient, self.input[at]);
                    add(&mut d_input[at], gradient, self.weights[weight]);
                }
            }
        }
        [sums, bias, d_input]
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn gradients_are_those_of_naive_loops(
        (height, width, channels) in (1..most(9, 3), 1..most(9, 3), 1..most(70, 18)),
        (kernel, step) in (1..most(6, 3), 1usize..3),
            (filters, packed) in (1..most(40, 6), any::<bool>()),
        (window, pool_step, same) in (1usize..5, 1usize..4, any::<bool>()),
        (rectify, more, seed) in (any::<bool>(), 0usize..2, any::<u64>()),
    ) {
        prop_assume!(window <= height.min(width));
        // A packed picture, as the first layer's, has few channels and no padding.
        let channels = if packed { 1 + channels % 4 } else { channels };
        let side = |size: usize| (size - 1) * step + kernel + more % step;
        let mut input = Picture::new(side(height), side(width), channels);
        if packed {
            input.stride = channels;
        }
        let output = Picture::new(height, width, filters);
        let shape = Convolution { input, output, kernel, step };
        let pool = pool::tests::pool(output, window, pool_step, same);
        let cases = [seed, !seed].map(|seed| Case::new(shape, pool, rectify, seed));
        for isa in Isa::available() {
            // One after the other, so that nothing of the first may be left.
            let mut entries = cases[0].entries();
            for case in &cases {
                case.build(isa, &mut entries);
                let gradients = case.gradients(isa, &entries);
                prop_assert_eq!(&gradients[2], &case.gradients(isa, &entries)[2]);
                for (kind, (actual, expected)) in gradients.iter().zip(case.expected()).enumerate() {
                    for (index, (&actual, (value, magnitude))) in actual.iter().zip(expected).enumerate() {
                        let counts = kind != 0 || index % shape.padded_segment() < shape.segment();
                        let error = (f64::from(actual) - value).abs();
                        prop_assert!(
                            !counts || error <= 1e-5 * magnitude,
                            "{isa:?}, gradient {kind}, number {index}: {actual} instead of {value}"
                        );
                    }
                }
            }
        }
    }
}

fn small() -> Case {
    let input = Picture::new(5, 5, 16);
    let output = Picture::new(3, 3, 17);
    let shape = Convolution {
        input,
        output,
        kernel: 3,
        step: 1,
    };
    Case::new(shape, pool::tests::pool(output, 3, 2, true), true, 7)
}

#[test]
fn a_diverged_network_is_not_hidden() {
    for isa in Isa::available() {
        let mut case = small();
        (case.output[0], case.d_output[0]) = (1.0, f32::NAN);
        let mut entries = case.entries();
        case.build(isa, &mut entries);
        for gradient in case.gradients(isa, &entries) {
            assert!(gradient.iter().any(|x| x.is_nan()));
        }
    }
}

#[test]
fn places_of_another_pool_are_harmless() {
    for isa in Isa::available() {
        for place in (0..=u8::MAX).step_by(most(1, 255)) {
            let mut case = small();
            case.places.fill(place);
            case.output.fill(1.0);
            let mut entries = case.entries();
            case.build(isa, &mut entries);
            case.gradients(isa, &entries);
        }
    }
}
