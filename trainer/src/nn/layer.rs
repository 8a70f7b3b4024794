//! What a layer is.

use std::fmt::Debug;

use candle_core::{Tensor, Var};
use feedline_pipeline::Random;

use super::Pass;

/// One step of a network, as a plain description: it holds settings, and neither weights nor a device.
pub trait Layer: Debug + Send + Sync {
    /// The kind of layer, as it appears in names and summaries: `conv2d`.
    fn kind(&self) -> &'static str;

    /// The shape that comes out when `input` goes in, both without the batch.
    ///
    /// # Errors
    ///
    /// In a few words why the layer can't take this shape or has settings that can't work.
    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String>;

    /// What the layer holds for an input of this shape, in the order in which [`forward`](Self::forward) gets it.
    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let _ = input;
        Vec::new()
    }

    /// Computes the output for a batch.
    ///
    /// # Errors
    ///
    /// candle's, for a batch of another shape than the one that the network was built for.
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
    pub name: &'static str,
    /// The shape.
    pub shape: Vec<usize>,
    /// The first values.
    pub initializer: Initializer,
    /// Whether gradients change it. Running statistics are changed by the layer itself.
    pub trainable: bool,
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
    pub(super) fn values(self, count: usize, mut random: Random) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; count],
            Self::GlorotUniform { fan_in, fan_out } => {
                let limit = (6.0 / (fan_in + fan_out) as f32).sqrt();
                (0..count).map(|_| random.uniform(-limit, limit)).collect()
            }
        }
    }
}

/// `[channels, height, width]`, or why it can't be.
pub(super) fn picture(input: &[usize]) -> Result<[usize; 3], String> {
    <[usize; 3]>::try_from(input)
        .map_err(|_| format!("the input must be [channels, height, width], it is {input:?}"))
}
