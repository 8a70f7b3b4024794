//! What a layer is.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;

use candle_core::{Device, Tensor, Var};
use feedline_pipeline::Random;

use super::Pass;

/// One step of a network, as a plain description: it holds settings, and neither weights nor a device.
///
/// A layer of your own is candle code, and trains as all others do. But a [`Sequential`](super::Sequential) that has one
/// can't use the [`Engine`](crate::engine::Engine), which knows the layers of this module only: the whole network then
/// trains on candle's tape, some times slower.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use feedline_trainer::nn::{Flatten, Layer, Linear, Model, Pass, Sequential};
///
/// /// x · sigmoid(x)
/// #[derive(Debug)]
/// struct Swish;
///
/// impl Layer for Swish {
///     fn kind(&self) -> &'static str {
///         "swish"
///     }
///     fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
///         Ok(input.to_vec())
///     }
///     fn forward(&self, input: &Tensor, _: &[Var], _: &Pass) -> candle_core::Result<Tensor> {
///         input.silu()
///     }
/// }
///
/// let builder = Sequential::builder([1, 28, 28]).add(Flatten).add(Linear::new(32));
/// let network = builder.add(Swish).add(Linear::new(10)).build(1, &Device::Cpu)?;
/// assert!(network.engine().is_none());
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
pub trait Layer: Any + Debug + Send + Sync {
    /// The kind of layer, as it appears in names and summaries: `conv2d`.
    fn kind(&self) -> &'static str;

    /// The shape that comes out when `input` goes in, both without the batch.
    ///
    /// # Errors
    ///
    /// In a few words why the layer can't take this shape or has settings that can't work.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String>;

    /// What the layer holds for an input of this shape, in the order in which [`forward`](Self::forward) gets it. It is
    /// asked only about shapes that [`output_shape`](Self::output_shape) takes, and may panic on others.
    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let _ = input;
        Vec::new()
    }

    /// Computes the output for a batch.
    ///
    /// # Errors
    ///
    /// candle's, for a batch or parameters of other shapes than those that the network was built for, and for settings
    /// that can't work.
    fn forward(
        &self,
        input: &Tensor,
        parameters: &[Var],
        pass: &Pass,
    ) -> candle_core::Result<Tensor>;
}

/// One tensor that a layer holds, and how it begins.
#[derive(Debug, Clone)]
pub struct ParameterShape {
    /// The name within the layer: `weight`.
    pub name: Cow<'static, str>,
    /// The shape.
    pub shape: Vec<usize>,
    /// The first values.
    pub initializer: Initializer,
    /// Whether gradients change it. Running statistics are changed by the layer itself.
    pub trainable: bool,
}

impl ParameterShape {
    /// Makes the parameter with its first values, which follow from `random` alone: for a [`Model`](super::Model) of your
    /// own that is made of layers. A [`Sequential`](super::Sequential) does it by itself.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor, Var};
    /// use feedline_pipeline::Random;
    /// use feedline_trainer::nn::{Conv2d, Layer, Pass};
    ///
    /// let (layer, seed) = (Conv2d::new(8, 3), 42);
    /// let shapes = layer.parameters(&[3, 24, 24]).into_iter().enumerate();
    /// let variables = shapes.map(|(i, own)| own.create(Random::new([seed, i as u64]), &Device::Cpu));
    /// let variables: Vec<Var> = variables.collect::<Result<_, _>>()?;
    /// assert_eq!(variables[0].dims(), [8, 3, 3, 3]);
    ///
    /// let images = Tensor::zeros((2, 3, 24, 24), DType::F32, &Device::Cpu)?;
    /// let output = layer.forward(&images, &variables, &Pass::evaluation())?;
    /// assert_eq!(output.dims(), [2, 8, 22, 22]);
    /// # Ok::<(), candle_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// candle's, if `device` can't hold it.
    pub fn create(&self, random: Random, device: &Device) -> candle_core::Result<Var> {
        let values = self.initializer.values(self.shape.iter().product(), random);
        Var::from_vec(values, self.shape.as_slice(), device)
    }
}

/// How a parameter begins.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Initializer {
    /// Evenly within ±√(6 / (fan in + fan out)) (Glorot, Bengio: "Understanding the difficulty of training deep
    /// feedforward neural networks", 2010); Keras' default.
    GlorotUniform {
        /// Inputs of one output.
        fan_in: usize,
        /// Outputs that one input reaches.
        fan_out: usize,
    },
    /// The same value everywhere.
    Constant(f32),
}

impl Initializer {
    /// The first `count` values. candle can't seed its generator on the CPU, so they come from the pipeline's.
    fn values(self, count: usize, mut random: Random) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; count],
            Self::GlorotUniform { fan_in, fan_out } => {
                let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
                (0..count).map(|_| random.uniform(-limit, limit)).collect()
            }
        }
    }
}

/// The name of a layer behind those of these kinds: `conv2d_2` if one of them is a `conv2d`.
pub(super) fn name(before: impl Iterator<Item = &'static str>, kind: &str) -> String {
    let before = before.filter(|&own| own == kind).count();
    format!("{kind}_{}", before + 1)
}

/// Refuses a tensor of this shape if no machine can hold it: more than 2³⁸ numbers, a terabyte.
pub(super) fn check_size(shape: &[usize]) -> Result<(), String> {
    let count = shape
        .iter()
        .try_fold(1, |count: usize, &side| count.checked_mul(side));
    match count {
        Some(count) if count as u64 <= 1 << 38 => Ok(()),
        _ => Err(format!("a tensor of {shape:?} is larger than any memory")),
    }
}

/// `[channels, height, width]`, or why it can't be.
pub(super) fn picture(input: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(input)
        .map_err(|_| format!("the input must be [channels, height, width], it is {input:?}"))
}

/// Checks a batch as [`SequentialBuilder::build`](super::SequentialBuilder::build) checks a network, for layers that
/// are called by themselves.
pub(super) fn check_batch(layer: &impl Layer, batch: &Tensor) -> candle_core::Result<()> {
    let shape = batch.dims().get(1..).unwrap_or_default();
    if shape.contains(&0) {
        candle_core::bail!("{}: the input {shape:?} is empty", layer.kind());
    }
    match layer.output_shape(shape) {
        Ok(_) => Ok(()),
        Err(reason) => candle_core::bail!("{}: {reason}", layer.kind()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{BatchNorm, Conv2d, Linear, MaxPool2d, Padding};
    use candle_core::{DType, Device};

    #[test]
    fn a_layer_that_was_never_built_gives_an_error_instead_of_a_panic() {
        let layers: [&dyn Layer; 8] = [
            &MaxPool2d::new(2, 0),
            &MaxPool2d::new(0, 1),
            &Conv2d::new(2, 9),
            &Conv2d::new(2, 3).padding(Padding::Same),
            &Conv2d::new(2, 3).stride(0),
            &Linear::new(3),
            &BatchNorm::new(),
            &BatchNorm::new().epsilon(0.0),
        ];
        let pass = Pass::training(0, 0, 0);
        let var = |shape: &[usize]| Var::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let images = Tensor::ones((2, 1, 4, 4), DType::F32, &Device::Cpu).unwrap();
        for layer in layers {
            for own in [vec![], vec![var(&[2, 1, 9, 9]), var(&[2])]] {
                assert!(layer.forward(&images, &own, &pass).is_err(), "{layer:?}");
            }
        }
        let none = Tensor::ones((2, 0, 4, 4), DType::F32, &Device::Cpu).unwrap();
        let own = [(); 4].map(|()| var(&[1]));
        assert!(BatchNorm::new().forward(&none, &own, &pass).is_err());
    }
}
