//! The convolution.

use candle_core::{Result, Tensor, Var};

use super::geometry::{Padding, Side};
use super::layer::{check_batch, picture};
use super::{Initializer, Layer, ParameterShape, Pass};

/// Moves square filters over the picture, by default pixel by pixel: `[channels, height, width]` becomes
/// `[filters, height, width]`, smaller at the edges unless the padding is [`Padding::Same`].
///
/// Holds `weight` `[filters, channels, kernel, kernel]`, which begins as [`Initializer::GlorotUniform`], and `bias`
/// `[filters]`, which begins as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    filters: usize,
    kernel: usize,
    stride: usize,
    padding: Padding,
}

impl Conv2d {
    /// This many filters of `kernel` × `kernel` pixels, without padding.
    pub fn new(filters: usize, kernel: usize) -> Self {
        Self {
            filters,
            kernel,
            stride: 1,
            padding: Padding::Valid,
        }
    }

    /// How many pixels a filter moves at a time, at least 1.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// What lies beyond the edge.
    #[must_use]
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Where the filters lie, from top to bottom and from left to right.
    pub(crate) fn sides(&self, height: usize, width: usize) -> [Side; 2] {
        [height, width].map(|size| Side::new(size, self.kernel, self.stride, self.padding))
    }

    pub(crate) fn filters(&self) -> usize {
        self.filters
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
            stride,
            padding,
        } = *self;
        if filters == 0 || kernel == 0 || stride == 0 {
            return Err("filters, kernel and stride must be at least 1".into());
        }
        if padding == Padding::Valid && kernel > height.min(width) {
            return Err(format!(
                "a kernel of {kernel}x{kernel} does not fit into {height}x{width} pixels"
            ));
        }
        let [vertical, horizontal] = self.sides(height, width);
        Ok(vec![filters, vertical.windows, horizontal.windows])
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
        let (_, channels, height, width) = input.dims4()?;
        let expected = [self.filters, channels, self.kernel, self.kernel];
        if weight.dims() != expected {
            let found = weight.dims();
            candle_core::bail!("conv2d's weight is {found:?}, expected {expected:?}");
        }
        let [vertical, horizontal] = self.sides(height, width);
        let reached = |side: &Side| side.size.min(side.reach() - side.before);
        input
            // What no filter reaches: candle's way back fails on it.
            .narrow(2, 0, reached(&vertical))?
            .narrow(3, 0, reached(&horizontal))?
            .pad_with_zeros(2, vertical.before, vertical.after())?
            .pad_with_zeros(3, horizontal.before, horizontal.after())?
            .conv2d(weight, 0, self.stride, 1, 1)?
            .broadcast_add(&bias.reshape((1, self.filters, 1, 1))?)
    }
}
