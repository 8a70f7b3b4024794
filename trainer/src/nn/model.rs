//! What the trainer can train.

use candle_core::{Tensor, Var};

use super::{Pass, Sequential};
use crate::engine::Engine;
use crate::error::Result;

/// A network that the trainer can train: [`Sequential`](super::Sequential), or your own.
///
/// A model of your own is two methods around candle code, in which it may call [`Layer`](super::Layer)s: the repository's
/// example `own_model` has a residual network. Every replica builds its own, so the order of its
/// parameters must be the same each time: a `VarMap` iterates in another order in every process; sort by name.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use feedline_trainer::nn::{Model, Parameter, Pass};
///
/// struct Linear {
///     parameters: Vec<Parameter>,
/// }
///
/// impl Model for Linear {
///     fn forward(&self, images: &Tensor, _pass: &Pass) -> feedline_trainer::Result<Tensor> {
///         Ok(images.flatten_from(1)?.matmul(self.parameters[0].value.as_tensor())?)
///     }
///     fn parameters(&self) -> &[Parameter] {
///         &self.parameters
///     }
/// }
///
/// let weight = Var::zeros((784, 10), candle_core::DType::F32, &Device::Cpu)?;
/// let model = Linear { parameters: vec![Parameter::new("weight", weight)] };
/// let images = Tensor::ones((2, 1, 28, 28), candle_core::DType::F32, &Device::Cpu)?;
/// assert_eq!(model.forward(&images, &Pass::evaluation())?.dims(), [2, 10]);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// candle has one helper thread for the large tensors of all replicas, and they wait for it. With the environment
/// variable `CANDLE_NUM_THREADS=1` it has none, and a model of your own on several replicas may take half the time.
pub trait Model: Send + 'static {
    /// One row of logits per picture: `[rows, channels, height, width]` becomes `[rows, classes]`.
    ///
    /// # Errors
    ///
    /// If the batch has another shape than the model expects.
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor>;

    /// Everything the model holds, in the same order on every replica.
    fn parameters(&self) -> &[Parameter];

    /// The network that this model is, if it is nothing but layers one after the other: then the trainer need not call
    /// [`forward`](Self::forward), but has an engine compute the same, rounding aside, several times as fast.
    ///
    /// A model of your own need not care; one that does nothing but hold a [`Sequential`] can return it.
    fn sequential(&self) -> Option<&Sequential> {
        None
    }

    /// What trains this model fast on the CPU, if there is something: if it is a [`sequential`](Self::sequential) network
    /// there, of layers that the engine knows.
    fn engine(&self) -> Option<Engine> {
        let network = self.sequential()?;
        let on_cpu = |own: &Parameter| own.value.device().is_cpu();
        match network.parameters().iter().all(on_cpu) {
            true => Engine::new(network),
            false => None,
        }
    }
}

/// A tensor that a model holds. Clones share its memory.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// The name, unique in the model: `conv2d_1.weight`.
    pub name: String,
    /// The values, `f32`.
    pub value: Var,
    /// Whether gradients change it.
    pub trainable: bool,
}

impl Parameter {
    /// A parameter that is trained.
    pub fn new(name: impl Into<String>, value: Var) -> Self {
        Self {
            name: name.into(),
            value,
            trainable: true,
        }
    }
}
