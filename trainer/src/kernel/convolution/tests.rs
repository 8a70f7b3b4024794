//! Tests: against naive loops in `f64`.

use feedline_pipeline::Random;
use proptest::prelude::*;

use super::*;
use crate::kernel::filters::{pack_filter, unpack_filter};
use crate::kernel::shape::Picture;
use crate::kernel::testing::{Sum, cases, check, most, noise, pictures};

/// Some pictures, filters and gradients.
#[derive(Debug)]
struct Case {
    shape: Convolution,
    images: usize,
    /// With slack, which is not a number.
    input: Vec<f32>,
    /// `[filter][channel][kernel row][kernel column]`
    weights: Vec<f32>,
    bias: Vec<f32>,
    d_output: Vec<f32>,
}

impl Case {
    fn new(shape: Convolution, images: usize, random: &mut Random) -> Self {
        let (input, output) = (shape.input, shape.output);
        let taps = shape.kernel * shape.kernel;
        let mut case = Self {
            shape,
            images,
            input: pictures(random, &input, images),
            weights: noise(random, output.channels * input.channels * taps),
            bias: noise(random, output.channels),
            d_output: pictures(random, &output, images),
        };
        case.input.resize(case.input.len() + SLACK, f32::NAN);
        case.bias.resize(output.stride, 0.0);
        case
    }

    /// Where a tap of an output pixel's window is in the input, without the channel; and where its weight is.
    fn tap(&self, pixel: usize, tap: usize) -> usize {
        let Convolution { input, output, .. } = self.shape;
        let image = pixel / output.pixels();
        let (y, x) = (pixel % output.pixels() / output.width, pixel % output.width);
        let row = y * self.shape.step + tap / self.shape.kernel;
        let column = x * self.shape.step + tap % self.shape.kernel;
        ((image * input.height + row) * input.width + column) * input.stride
    }

    /// Calls with output, input and weight of every product.
    fn products(&self, mut with: impl FnMut(usize, usize, usize)) {
        let Convolution { input, output, .. } = self.shape;
        let taps = self.shape.kernel * self.shape.kernel;
        for pixel in 0..self.images * output.pixels() {
            for tap in 0..taps {
                let from = self.tap(pixel, tap);
                for filter in 0..output.channels {
                    for channel in 0..input.channels {
                        let weight = (filter * input.channels + channel) * taps + tap;
                        with(pixel * output.stride + filter, from + channel, weight);
                    }
                }
            }
        }
    }

    fn check_forward(&self, isa: Isa, rectify: bool) -> Result<(), TestCaseError> {
        let shape = &self.shape;
        let bias = self.bias.iter().map(|&bias| Sum::of(bias));
        let mut expected: Vec<_> = bias.collect();
        expected = expected.repeat(self.images * shape.output.pixels());
        self.products(|output, input, weight| {
            expected[output].add(self.input[input], self.weights[weight]);
        });
        let expected: Vec<_> = expected.iter().map(|sum| sum.rectified(rectify)).collect();

        let mut packed = vec![f32::NAN; packed_len(shape)];
        pack(shape, &self.weights, &mut packed);
        let mut output = vec![f32::NAN; expected.len()];
        let input = &self.input[..self.images * shape.input.len()];
        let (images, bias) = (self.images, &self.bias);
        forward(
            isa,
            shape,
            images,
            input,
            &packed,
            bias,
            rectify,
            &mut output,
        );
        check((isa, "forward"), &output, &expected)
    }

    fn check_data_gradient(&self, isa: Isa, random: &mut Random) -> Result<(), TestCaseError> {
        let shape = &self.shape;
        let filter = self.weights.len() / shape.output.channels;
        let mut packed = vec![f32::NAN; shape.output.channels * shape.padded_filter()];
        let filters = self.weights.chunks_exact(filter);
        for (weights, packed) in filters.zip(packed.chunks_exact_mut(shape.padded_filter())) {
            pack_filter(shape, weights, packed);
        }
        // It adds to what is there, and leaves what lies beyond as it is.
        let length = self.images * shape.input.len() + shape.overreach();
        let mut d_input = noise(random, length);
        let mut expected: Vec<_> = d_input.iter().map(|&x| Sum::of(x)).collect();
        self.products(|output, input, weight| {
            expected[input].add(self.d_output[output], self.weights[weight]);
        });
        let (images, d_output) = (self.images, &self.d_output);
        data_gradient(isa, shape, images, &packed, d_output, &mut d_input);
        check((isa, "data gradient"), &d_input, &expected)
    }

    fn check_weight_gradient(&self, isa: Isa, random: &mut Random) -> Result<(), TestCaseError> {
        let shape = &self.shape;
        let mut sums = noise(random, shape.output.channels * shape.padded_filter());
        let mut bias = noise(random, shape.output.stride);
        let unpack = |sums: &[f32]| {
            let filter = self.weights.len() / shape.output.channels;
            let mut weights = vec![f32::NAN; self.weights.len()];
            let filters = weights.chunks_exact_mut(filter);
            for (weights, sums) in filters.zip(sums.chunks_exact(shape.padded_filter())) {
                unpack_filter(shape, sums, weights);
            }
            weights
        };
        let before = |own: &[f32]| own.iter().map(|&x| Sum::of(x)).collect::<Vec<_>>();
        let (mut weights, mut biases) = (before(&unpack(&sums)), before(&bias));
        self.products(|output, input, weight| {
            weights[weight].add(self.d_output[output], self.input[input]);
        });
        for (index, &gradient) in self.d_output.iter().enumerate() {
            biases[index % shape.output.stride].add(gradient, 1.0);
        }
        let (images, d_output) = (self.images, &self.d_output);
        weight_gradient(
            isa,
            shape,
            images,
            &self.input,
            d_output,
            &mut sums,
            &mut bias,
        );
        check((isa, "weight gradient"), &unpack(&sums), &weights)?;
        check((isa, "bias gradient"), &bias, &biases)
    }
}

fn shape() -> impl Strategy<Value = Convolution> {
    const MOST: usize = most(40, 18);
    const SIDE: usize = most(7, 3);
    let sides = (1..SIDE, 1..SIDE, 1..most(6, 3), 1usize..4, 0usize..3);
    let channels = (1..MOST, 1..MOST, any::<bool>());
    (sides, channels).prop_map(|((height, width, kernel, step, more), channels)| {
        let (channels, filters, packed) = channels;
        // A packed picture, as the first layer's, has few channels and no padding.
        let channels = if packed { 1 + channels % 5 } else { channels };
        let side = |size: usize| (size - 1) * step + kernel + more % step;
        let mut input = Picture::new(side(height), side(width), channels);
        if packed {
            input.stride = channels;
        }
        let output = Picture::new(height, width, filters);
        Convolution {
            input,
            output,
            kernel,
            step,
        }
    })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_convolution_and_its_gradients_are_those_of_naive_loops(
        shape in shape(),
        (images, rectify, seed) in (1..most(4, 2), any::<bool>(), any::<u64>()),
    ) {
        let random = &mut Random::new([seed]);
        let case = Case::new(shape, images, random);
        for isa in Isa::available() {
            case.check_forward(isa, rectify)?;
            case.check_data_gradient(isa, random)?;
            case.check_weight_gradient(isa, random)?;
        }
    }

    #[test]
    fn what_was_packed_is_unpacked(shape in shape(), seed in any::<u64>()) {
        let count = shape.input.channels * shape.kernel * shape.kernel;
        let weights = noise(&mut Random::new([seed]), count);
        let mut packed = vec![f32::NAN; shape.padded_filter()];
        pack_filter(&shape, &weights, &mut packed);
        prop_assert_eq!(packed.iter().filter(|&&x| x != 0.0).count(), count);
        let mut unpacked = vec![f32::NAN; count];
        unpack_filter(&shape, &packed, &mut unpacked);
        prop_assert_eq!(unpacked, weights);
    }
}

fn small() -> Case {
    let shape = Convolution {
        input: Picture::new(5, 5, 3),
        output: Picture::new(3, 3, 2),
        kernel: 3,
        step: 1,
    };
    Case::new(shape, 2, &mut Random::new([1]))
}

#[test]
#[cfg_attr(miri, ignore = "takes long")]
fn nan_is_not_rectified() {
    for isa in Isa::available() {
        let case = small();
        let shape = &case.shape;
        let mut packed = vec![0.0; packed_len(shape)];
        pack(shape, &case.weights, &mut packed);
        let mut input = case.input.clone();
        input[0] = f32::NAN;
        let mut output = vec![0.0; 2 * shape.output.len()];
        forward(
            isa,
            shape,
            2,
            &input,
            &packed,
            &case.bias,
            true,
            &mut output,
        );
        // Only the first picture's first window has it, for both filters.
        let nans = output.iter().enumerate().filter(|(_, x)| x.is_nan());
        let nans: Vec<_> = nans.map(|(index, _)| index % shape.output.stride).collect();
        assert!(nans.starts_with(&[0, 1]), "{nans:?}");
        assert!(output[shape.output.stride..].iter().all(|x| !x.is_nan()));
    }
}

#[test]
fn no_picture_is_no_work() {
    let case = small();
    let shape = &case.shape;
    let length = shape.output.channels * shape.padded_filter();
    for isa in Isa::available() {
        let packed = vec![0.0; packed_len(shape)];
        forward(isa, shape, 0, &[], &packed, &case.bias, true, &mut []);
        let (mut sums, mut bias) = (vec![1.0; length], vec![1.0; shape.output.stride]);
        let slack = [0.0; SLACK];
        weight_gradient(isa, shape, 0, &slack, &[], &mut sums, &mut bias);
        data_gradient(isa, shape, 0, &sums, &[], &mut [0.0; SLACK]);
        assert!(sums.iter().chain(&bias).all(|&x| x == 1.0));
    }
}

#[test]
#[should_panic(expected = "shape.fits()")]
fn windows_beyond_the_picture_are_refused() {
    let case = small();
    let mut shape = case.shape;
    (shape.kernel, shape.step) = (3, 2);
    let packed = vec![0.0; packed_len(&shape)];
    let mut output = vec![0.0; 2 * shape.output.len()];
    forward(
        Isa::detect(),
        &shape,
        2,
        &case.input,
        &packed,
        &case.bias,
        true,
        &mut output,
    );
}
