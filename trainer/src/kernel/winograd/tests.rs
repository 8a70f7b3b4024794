//! Tests: against the convolution in double precision.

use proptest::prelude::*;

use super::*;
use crate::kernel::shape::{Picture, SLACK};
use crate::kernel::testing::{cases, most};

/// Pictures with a convolution's operands, all of them random, and the convolution in double precision.
#[derive(Debug)]
struct Case {
    shape: Convolution,
    images: usize,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn new(
        kernel: usize,
        (height, width): (usize, usize),
        images: usize,
        channels: usize,
        filters: usize,
        seed: u64,
    ) -> Self {
        let shape = Convolution {
            input: Picture::new(height + kernel - 1, width + kernel - 1, channels),
            output: Picture::new(height, width, filters),
            kernel,
            step: 1,
        };
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut input = vec![0.0; images * shape.input.len() + SLACK];
        for pixel in input[..images * shape.input.len()].chunks_exact_mut(shape.input.stride) {
            pixel[..channels].fill_with(&mut random);
        }
        let mut weights = vec![0.0; filters * channels * kernel * kernel];
        weights.fill_with(&mut random);
        let mut bias = vec![0.0; shape.output.stride];
        bias[..filters].fill_with(&mut random);
        Self {
            shape,
            images,
            input,
            weights,
            bias,
        }
    }

    fn forward(&self, isa: Isa, rectify: bool, images: std::ops::Range<usize>) -> Vec<f32> {
        let shape = &self.shape;
        let mut packed = vec![f32::NAN; packed_len(shape)];
        pack(isa, shape, &self.weights, &mut packed);
        let input = &self.input[images.start * shape.input.len()..];
        let input = &input[..images.len() * shape.input.len() + SLACK];
        let mut output = vec![f32::NAN; images.len() * shape.output.len()];
        let (bias, images) = (&self.bias, images.len());
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
        output
    }

    fn expected(&self, rectify: bool) -> Vec<f64> {
        let Convolution {
            input,
            output,
            kernel,
            ..
        } = self.shape;
        let mut expected = Vec::new();
        for image in self.input.chunks_exact(input.len()).take(self.images) {
            for pixel in 0..output.pixels() {
                let from = self
                    .shape
                    .window(pixel / output.width, pixel % output.width);
                for filter in 0..output.stride {
                    let mut sum = f64::from(self.bias[filter]);
                    for weight in 0..input.channels * kernel * kernel {
                        if filter >= output.channels {
                            break;
                        }
                        let (channel, place) =
                            (weight / kernel / kernel, weight % (kernel * kernel));
                        let at = from + self.shape.window(place / kernel, place % kernel) + channel;
                        let weight = filter * input.channels * kernel * kernel + weight;
                        sum += f64::from(image[at]) * f64::from(self.weights[weight]);
                    }
                    expected.push(if rectify { sum.max(0.0) } else { sum });
                }
            }
        }
        expected
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn is_the_convolution_whatever_the_other_images_are(
        (kernel, height, width) in prop_oneof![
            (Just(3_usize), 4..most(16, 5), 4..most(16, 5)),
            (Just(5_usize), 2..most(14, 3), 2..most(14, 3)),
        ],
        images in 1..most(5, 2),
        channels in 1..most(41, 4),
        filters in 1..most(81, 9),
        rectify: bool,
        seed: u64,
    ) {
        let case = Case::new(kernel, (height, width), images, channels, filters, seed);
        let expected = case.expected(rectify);
        let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        for isa in Isa::available() {
            let output = case.forward(isa, rectify, 0..images);
            prop_assert_eq!(output.len(), expected.len());
            for (&x, y) in output.iter().zip(&expected) {
                prop_assert!((f64::from(x) - y).abs() <= 1e-4 * largest, "{isa:?}: {x}, not {y}");
            }
            let one_by_one: Vec<f32> = (0..images)
                .flat_map(|image| case.forward(isa, rectify, image..image + 1))
                .collect();
            let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&output), bits(&one_by_one));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn many_images_are_worked_on_in_blocks() {
    let case = Case::new(3, (11, 11), 16, 16, 16, 1);
    for isa in Isa::available() {
        let together = case.forward(isa, true, 0..16);
        let parts = [0..5, 5..6, 6..16].map(|images| case.forward(isa, true, images));
        assert_eq!(together, parts.concat());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn nan_is_not_rectified() {
    let mut case = Case::new(5, (4, 4), 1, 16, 16, 1);
    case.input[0] = f32::NAN;
    for isa in Isa::available() {
        assert!(case.forward(isa, true, 0..1)[0].is_nan());
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes")]
fn only_shapes_that_fit_pay() {
    let shape = Case::new(3, (11, 11), 1, 32, 64, 1).shape;
    assert!(pays(&shape));
    assert!(!pays(&Convolution { step: 2, ..shape }));
    assert!(!pays(&Convolution { kernel: 5, ..shape }));
    assert!(!pays(&Case::new(7, (11, 11), 1, 32, 64, 1).shape));
    assert!(!pays(&Case::new(3, (3, 11), 1, 32, 64, 1).shape));
    assert!(!pays(&Case::new(3, (11, 11), 1, 1, 64, 1).shape));
}
