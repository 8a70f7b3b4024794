//! From pictures to rows of features.

use candle_core::{Result, Tensor, Var};

use super::{Layer, Pass};

/// `[channels, height, width]` as `[features]`, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flatten;

impl Layer for Flatten {
    fn kind(&self) -> &'static str {
        "flatten"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        Ok(vec![input.iter().product()])
    }

    fn forward(&self, input: &Tensor, _: &[Var], _: &Pass) -> Result<Tensor> {
        input.flatten_from(1)
    }
}
