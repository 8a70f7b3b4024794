//! The convolution.

use candle_core::{DType, Result, Tensor, Var};

use super::convolution::Operation;
use super::geometry::{Padding, Side};
use super::layer::{check_batch, check_size, picture};
use super::{Initializer, Layer, ParameterShape, Pass};
use crate::kernel::border::Border;
use crate::kernel::shape::{Convolution, Picture};
use crate::kernel::{BLOCK, Isa, winograd};

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

    /// The convolution of pictures `input`, and how many rows of border it wants above them and columns left of them.
    pub(crate) fn convolution(&self, input: Picture) -> (Convolution, (usize, usize)) {
        let sides = self.sides(input.height, input.width);
        let step = Side::step(&sides);
        let [vertical, horizontal] = sides;
        let shape = Convolution {
            input: Picture {
                height: vertical.before + vertical.size + vertical.after(),
                width: horizontal.before + horizontal.size + horizontal.after(),
                ..input
            },
            output: Picture::new(vertical.windows, horizontal.windows, self.filters),
            kernel: self.kernel,
            step,
        };
        (shape, (vertical.before, horizontal.before))
    }

    /// As an operation of ours on a batch of this shape.
    fn operation(&self, input: &Tensor) -> Result<Operation> {
        let (_, channels, height, width) = input.dims4()?;
        let backward = input.track_op();
        let mut inner = Picture::new(height, width, channels);
        if channels < BLOCK && !backward && !winograd::pays(&self.convolution(inner).0) {
            // Padding would only make more products.
            inner.stride = channels;
        }
        let (shape, corner) = self.convolution(inner);
        let border = Border {
            inner,
            outer: shape.input,
            corner,
        };
        Ok(Operation {
            isa: Isa::detect(),
            border,
            shape,
            backward,
        })
    }

    /// By candle's own operations, for all devices and types of numbers.
    fn by_candle(&self, input: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let (_, _, height, width) = input.dims4()?;
        let [vertical, horizontal] = self.sides(height, width);
        let reached = |side: &Side| side.size.min(side.reach() - side.before);
        input
            // What no filter reaches: candle's way back fails on it.
            .narrow(2, 0, reached(&vertical))?
            .narrow(3, 0, reached(&horizontal))?
            .pad_with_zeros(2, vertical.before, vertical.after())?
            .pad_with_zeros(3, horizontal.before, horizontal.after())?
            .conv2d(weight, 0, Side::step(&[vertical, horizontal]), 1, 1)?
            .broadcast_add(&bias.reshape((1, self.filters, 1, 1))?)
    }
}

impl Layer for Conv2d {
    fn kind(&self) -> &'static str {
        "conv2d"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        let [channels, height, width] = picture(input)?;
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
        check_size(&[filters, channels, kernel, kernel])?;
        let [vertical, horizontal] = self.sides(height, width);
        let output = vec![filters, vertical.windows, horizontal.windows];
        check_size(&output)?;
        Ok(output)
    }

    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let Self {
            filters, kernel, ..
        } = *self;
        let area = kernel * kernel;
        vec![
            ParameterShape {
                name: "weight".into(),
                shape: vec![filters, input[0], kernel, kernel],
                initializer: Initializer::GlorotUniform {
                    fan_in: input[0] * area,
                    fan_out: filters * area,
                },
                trainable: true,
            },
            ParameterShape {
                name: "bias".into(),
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
        let (rows, channels, ..) = input.dims4()?;
        let expected = [self.filters, channels, self.kernel, self.kernel];
        if weight.dims() != expected || bias.dims() != [self.filters] {
            candle_core::bail!(
                "conv2d's weight and bias are {:?} and {:?}, expected {expected:?} and {:?}",
                weight.dims(),
                bias.dims(),
                [self.filters]
            );
        }
        let ours = |own: &Tensor| own.device().is_cpu() && own.dtype() == DType::F32;
        if rows == 0 || ![input, weight, bias].into_iter().all(ours) {
            return self.by_candle(input, weight, bias);
        }
        let operation = self.operation(input)?;
        let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
        input.contiguous()?.apply_op3(&weight, &bias, operation)
    }
}
