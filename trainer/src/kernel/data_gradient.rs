//! The gradient of a convolution's input, in the way that takes the fewest products.

use super::border::Border;
use super::reversed::Reversed;
use super::scratch::with_scratch;
use super::shape::Convolution;
use super::{Isa, convolution, filters, winograd};

/// How to go back through a convolution.
#[derive(Debug, Clone)]
pub(crate) struct DataGradient {
    border: Border,
    shape: Convolution,
    /// If that is a convolution with few products.
    reversed: Option<(Reversed, Border)>,
}

impl DataGradient {
    /// For a convolution of pictures that get `border`. Of each of its filters, `windows` output pixels have a gradient.
    pub(crate) fn new(border: Border, shape: &Convolution, windows: usize) -> Self {
        let reversed = Reversed::new(border.inner, border.corner, shape);
        let reversed = reversed.filter(|own| {
            let direct = windows * shape.kernel * shape.kernel;
            // The transforms cost about a third of the products.
            winograd::products(&own.shape).is_some_and(|own| 4 * own < 3 * direct)
        });
        let reversed = reversed.map(|own| {
            let border = Border {
                inner: shape.output,
                outer: own.shape.input,
                corner: own.border,
            };
            (own, border)
        });
        Self {
            border,
            shape: *shape,
            reversed,
        }
    }

    /// Whether it reads the gradients of all output pixels, those that are 0 too.
    pub(crate) fn is_dense(&self) -> bool {
        self.reversed.is_some()
    }

    /// Numbers of packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        match &self.reversed {
            Some((reversed, _)) => winograd::packed_len(&reversed.shape),
            None => filters::backward_len(&self.shape),
        }
    }

    /// Packs weights `[filters][channels][kernel][kernel]`.
    pub(crate) fn pack(&self, isa: Isa, weights: &[f32], packed: &mut [f32]) {
        match &self.reversed {
            Some((reversed, _)) => with_scratch(weights.len(), |turned| {
                reversed.turn(weights, turned);
                winograd::pack(isa, &reversed.shape, turned, packed);
            }),
            None => filters::pack_backward(&self.shape, weights, packed),
        }
    }

    /// Writes the gradients of `images` pictures without their border.
    pub(crate) fn run(
        &self,
        isa: Isa,
        images: usize,
        packed: &[f32],
        d_output: &[f32],
        d_input: &mut [f32],
    ) {
        match &self.reversed {
            Some((Reversed { shape, .. }, border)) => {
                border.put(images, d_output, |d_output| {
                    with_scratch(shape.output.stride, |bias| {
                        bias.fill(0.0);
                        winograd::forward(
                            isa, shape, images, d_output, packed, bias, false, d_input,
                        );
                    });
                });
            }
            None => self.border.take(images, d_input, |d_input| {
                let shape = &self.shape;
                convolution::data_gradient(isa, shape, images, packed, d_output, d_input);
            }),
        }
    }
}
