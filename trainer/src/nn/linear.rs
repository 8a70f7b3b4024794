//! The fully connected layer.

use candle_core::{Result, Tensor, Var};

use super::layer::check_size;
use super::{Initializer, Layer, ParameterShape, Pass};

/// Every output is a weighted sum of all inputs, plus a bias: `[inputs]` becomes `[outputs]`.
///
/// Holds `weight` `[inputs, outputs]`, which begins as [`Initializer::GlorotUniform`], and `bias` `[outputs]`, which
/// begins as 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    outputs: usize,
}

impl Linear {
    /// A layer with this many outputs.
    pub fn new(outputs: usize) -> Self {
        Self { outputs }
    }

    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }
}

impl Layer for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        if self.outputs == 0 {
            return Err("the number of outputs must be at least 1".into());
        }
        match input {
            &[inputs] => {
                check_size(&[inputs, self.outputs])?;
                Ok(vec![self.outputs])
            }
            _ => Err(format!(
                "the input must be [features], it is {input:?}; put a Flatten before"
            )),
        }
    }

    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let (fan_in, fan_out) = (input[0], self.outputs);
        vec![
            ParameterShape {
                name: "weight".into(),
                shape: vec![fan_in, fan_out],
                initializer: Initializer::GlorotUniform { fan_in, fan_out },
                trainable: true,
            },
            ParameterShape {
                name: "bias".into(),
                shape: vec![fan_out],
                initializer: Initializer::Constant(0.0),
                trainable: true,
            },
        ]
    }

    fn forward(&self, input: &Tensor, parameters: &[Var], _: &Pass) -> Result<Tensor> {
        let [weight, bias] = parameters else {
            candle_core::bail!("linear has two parameters, not {}", parameters.len())
        };
        input.matmul(weight)?.broadcast_add(bias)
    }
}
