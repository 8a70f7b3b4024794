//! The way back through a convolution as a convolution.

use super::shape::{Convolution, Picture};

/// The gradient of a convolution's input: a convolution of the output's gradient, which gets a border of zeros, by the
/// filters turned around, with inputs and outputs changed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reversed {
    /// Its input has its border; its output is the original's input without one.
    pub(crate) shape: Convolution,
    /// Rows above and columns left of the output's gradient.
    pub(crate) border: (usize, usize),
}

impl Reversed {
    /// For a convolution of `input`, which gets `border` rows above and columns at the left; `None` if filters move by more
    /// than a pixel.
    pub(crate) fn new(input: Picture, border: (usize, usize), shape: &Convolution) -> Option<Self> {
        let reach = shape.kernel - 1;
        let (top, left) = (reach.checked_sub(border.0)?, reach.checked_sub(border.1)?);
        (shape.step == 1).then_some(Self {
            shape: Convolution {
                input: Picture {
                    height: input.height + reach,
                    width: input.width + reach,
                    ..shape.output
                },
                output: input,
                kernel: shape.kernel,
                step: 1,
            },
            border: (top, left),
        })
    }

    /// Turns weights `[filters][channels][kernel][kernel]` around: `[channels][filters][kernel][kernel]`, the last weight
    /// of each kernel first.
    pub(crate) fn turn(&self, weights: &[f32], turned: &mut [f32]) {
        let (filters, channels) = (self.shape.input.channels, self.shape.output.channels);
        let area = self.shape.kernel * self.shape.kernel;
        assert_eq!(
            [weights.len(), turned.len()],
            [filters * channels * area; 2]
        );
        for (channel, turned) in turned.chunks_exact_mut(filters * area).enumerate() {
            for (filter, turned) in turned.chunks_exact_mut(area).enumerate() {
                let own = &weights[(filter * channels + channel) * area..][..area];
                for (turned, &weight) in turned.iter_mut().rev().zip(own) {
                    *turned = weight;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::shape::SLACK;
    use crate::kernel::testing::{cases, most, noise};
    use crate::kernel::{Isa, convolution, filters, layout};
    use feedline_pipeline::Random;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(96))]

        #[test]
        #[cfg_attr(miri, ignore = "takes minutes, and has nothing unsafe of its own")]
        fn it_gives_the_gradient_of_the_input(
            (channels, filters, kernel) in (1..most(20, 4), 1..most(20, 4), 1usize..5),
            (height, width, top, left) in (1usize..8, 1usize..8, 0usize..4, 0usize..4),
            (bottom, right, seed) in (0usize..4, 0usize..4, any::<u64>()),
        ) {
            let (rows, columns) = (height + top + bottom, width + left + right);
            prop_assume!(kernel <= rows.min(columns) && top.max(left) < kernel);
            let input = Picture::new(height, width, channels);
            let shape = Convolution {
                input: Picture::new(rows, columns, channels),
                output: Picture::new(rows + 1 - kernel, columns + 1 - kernel, filters),
                kernel,
                step: 1,
            };
            let mut seed = Random::new([seed]);
            let weights = noise(&mut seed, filters * channels * kernel * kernel);
            let channels_first = noise(&mut seed, filters * shape.output.pixels());
            let mut d_output = vec![0.0; shape.output.len()];
            layout::to_pixels(&shape.output, &channels_first, &mut d_output);

            let mut packed = vec![0.0; filters * shape.padded_filter()];
            let each = weights.chunks_exact(channels * kernel * kernel);
            for (own, packed) in each.zip(packed.chunks_exact_mut(shape.padded_filter())) {
                filters::pack_filter(&shape, own, packed);
            }
            let mut bordered = vec![0.0; shape.input.len() + SLACK];
            convolution::data_gradient(Isa::Portable, &shape, 1, &packed, &d_output, &mut bordered);
            let mut expected = vec![0.0; input.len()];
            layout::out_of_border(&input, &shape.input, (top, left), &bordered, &mut expected);

            let reversed = Reversed::new(input, (top, left), &shape).unwrap();
            // What the output lacks of its full size is at the right and at the bottom.
            prop_assume!(reversed.border.0 + shape.output.height <= reversed.shape.input.height);
            prop_assume!(reversed.border.1 + shape.output.width <= reversed.shape.input.width);
            let mut turned = vec![0.0; weights.len()];
            reversed.turn(&weights, &mut turned);
            let mut packed = vec![0.0; convolution::packed_len(&reversed.shape)];
            convolution::pack(&reversed.shape, &turned, &mut packed);
            let mut bordered = vec![0.0; reversed.shape.input.len() + SLACK];
            layout::into_border(
                &shape.output,
                &reversed.shape.input,
                reversed.border,
                &d_output,
                &mut bordered,
            );
            let mut found = vec![0.0; input.len()];
            let zeros = vec![0.0; input.stride];
            convolution::forward(
                Isa::Portable, &reversed.shape, 1, &bordered, &packed, &zeros, false, &mut found,
            );
            for (found, expected) in found.iter().zip(expected) {
                prop_assert!((found - expected).abs() <= 1e-4, "{} and {}", found, expected);
            }
        }
    }
}
