//! The convolution.

use candle_core::{Result, Tensor, Var};

use super::layer::{check_batch, picture};
use super::{Initializer, Layer, ParameterShape, Pass};

/// What lies beyond the edge of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Padding {
    /// Nothing: the output is smaller by the kernel's size less one.
    #[default]
    Valid,
    /// Zeros, so that the output is as large as the input.
    Same,
}

/// Moves square filters over the picture pixel by pixel: `[channels, height, width]` becomes
/// `[filters, height, width]`, smaller at the edges unless the padding is [`Padding::Same`].
///
/// Holds `weight` `[filters, channels, kernel, kernel]`, which begins as [`Initializer::GlorotUniform`], and `bias`
/// `[filters]`, which begins as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    filters: usize,
    kernel: usize,
    padding: Padding,
}

impl Conv2d {
    /// This many filters of `kernel` × `kernel` pixels, without padding.
    pub fn new(filters: usize, kernel: usize) -> Self {
        Self {
            filters,
            kernel,
            padding: Padding::Valid,
        }
    }

    /// What lies beyond the edge.
    #[must_use]
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }
}

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        let [_, height, width] = picture(input)?;
        let Self {
            filters,
            kernel,
            padding,
        } = *self;
        if filters == 0 || kernel == 0 {
            return Err("filters and kernel must be at least 1".into());
        }
        match padding {
            Padding::Same if kernel.is_multiple_of(2) => Err(format!(
                "padding Same needs a kernel of odd size, it is {kernel}"
            )),
            Padding::Same => Ok(vec![filters, height, width]),
            Padding::Valid if kernel > height.min(width) => Err(format!(
                "a kernel of {kernel}x{kernel} does not fit into {height}x{width} pixels"
            )),
            Padding::Valid => Ok(vec![filters, height + 1 - kernel, width + 1 - kernel]),
        }
    }

    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let Self {
            filters, kernel, ..
        } = *self;
        let area = kernel * kernel;
        vec![
            ParameterShape {
                name: "weight",
                shape: vec![filters, input[0], kernel, kernel],
                initializer: Initializer::GlorotUniform {
                    fan_in: input[0] * area,
                    fan_out: filters * area,
                },
                trainable: true,
            },
            ParameterShape {
                name: "bias",
                shape: vec![filters],
                initializer: Initializer::Constant(0.0),
                trainable: true,
            },
        ]
    }

    fn forward(&self, input: &Tensor, parameters: &[Var], _: &Pass) -> Result<Tensor> {
        let [weight, bias] = parameters else {
            candle_core::bail!("conv2d has two parameters, not {}", parameters.len())
        };
        check_batch(self, input)?;
        let padding = match self.padding {
            Padding::Valid => 0,
            Padding::Same => self.kernel / 2,
        };
        input
            .conv2d(weight, padding, 1, 1, 1)?
            .broadcast_add(&bias.reshape((1, self.filters, 1, 1))?)
    }
}
