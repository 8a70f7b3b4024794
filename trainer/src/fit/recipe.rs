//! How a step is made, beyond the optimizer's rule.

use candle_core::Device;

use super::Trainer;
use crate::error::{Result, invalid};
use crate::nn::Model;
use crate::optim::Optimizer;

/// What is done to labels, gradients and weights in each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recipe {
    /// The share of each label that is spread over all classes.
    pub(super) label_smoothing: f32,
    /// How much of the averaged weights stays in a step.
    pub(super) averaging: Option<f32>,
    /// The largest length of all gradients together.
    pub(super) largest_norm: Option<f32>,
    /// How many batches make a step.
    pub(super) batches: usize,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            averaging: None,
            largest_norm: None,
            batches: 1,
        }
    }
}

impl Recipe {
    pub(super) fn check(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let expected = "a share of the label, from 0 to below 1";
            return Err(invalid("label smoothing", self.label_smoothing, expected));
        }
        if let Some(decay) = self.averaging
            && !(0.0..1.0).contains(&decay)
        {
            return Err(invalid("weight averaging", decay, "from 0 to below 1"));
        }
        if let Some(norm) = self.largest_norm
            && !(norm > 0.0 && norm.is_finite())
        {
            return Err(invalid("largest gradient norm", norm, "a number above 0"));
        }
        if self.batches == 0 {
            return Err(invalid("number of batches to accumulate", 0, "at least 1"));
        }
        Ok(())
    }

    /// Refuses what the engine for GPUs does not do.
    #[cfg(any(test, feature = "nccl"))]
    pub(super) fn check_for_gpus(&self) -> Result<()> {
        let refused = |name, found: String, off| {
            let expected = format!(
                "{off}, as the engine for GPUs does not do it; replicas on the CPU do (Replicas::cpu)"
            );
            Err(invalid(name, found, expected))
        };
        match *self {
            Self {
                label_smoothing, ..
            } if label_smoothing > 0.0 => {
                refused("label smoothing", label_smoothing.to_string(), "0")
            }
            Self {
                averaging: Some(decay),
                ..
            } => refused("weight averaging", decay.to_string(), "not set"),
            Self {
                largest_norm: Some(norm),
                ..
            } => refused("largest gradient norm", norm.to_string(), "not set"),
            Self { batches, .. } if batches > 1 => {
                refused("number of batches to accumulate", batches.to_string(), "1")
            }
            _ => Ok(()),
        }
    }
}

impl<M: Model, F, O: Optimizer> Trainer<F, O>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    /// Spreads this share of each label evenly over all classes while training, so that the network does not learn to be
    /// more certain than it should: [`smoothed_cross_entropy`](crate::nn::smoothed_cross_entropy). Usual is 0.1; from 0, the
    /// default, to below 1. The training loss is the smoothed one and so does not go to 0, the test loss is plain
    /// cross-entropy. Not for networks on GPUs.
    pub fn label_smoothing(mut self, smoothing: f32) -> Self {
        self.recipe.label_smoothing = smoothing;
        self
    }

    /// Evaluates, and returns, an average of the weights over the last steps, which is usually better than any of them: steps
    /// jump around a good place, and their mean is nearer to it (Polyak, Juditsky: "Acceleration of Stochastic Approximation
    /// by Averaging", 1992). After step `t`, from 0, it is `d · average + (1 − d) · weights`, where `d` is `decay`, from 0 to
    /// below 1, or `(1 + t) / (10 + t)` if that is less, so that the first weights are soon forgotten. 0.999 looks back about
    /// a thousand steps; there should be several times as many. Training itself goes on with the weights as they are.
    ///
    /// [`BatchNorm`](crate::nn::BatchNorm)'s running statistics are no weights and are not averaged: they are running means
    /// already. Not for networks on GPUs.
    pub fn weight_averaging(mut self, decay: f32) -> Self {
        self.recipe.averaging = Some(decay);
        self
    }

    /// Shortens the gradient of the global batch, all parameters' as one vector, to the length `largest_norm`, above 0, where
    /// it is longer: one odd batch then can't throw the weights far away (Pascanu, Mikolov, Bengio: "On the difficulty of
    /// training recurrent neural networks", 2012, [arXiv:1211.5063](https://arxiv.org/abs/1211.5063)). Not for networks on
    /// GPUs.
    pub fn clip_gradients(mut self, largest_norm: f32) -> Self {
        self.recipe.largest_norm = Some(largest_norm);
        self
    }

    /// Makes one step of this many batches, whose gradients are averaged: a global batch is then `batches` times the
    /// [batch size](Self::batch_size), in the memory of one. [`steps`](Self::steps) and the [schedule](Self::schedule) count
    /// steps of the optimizer. Batches that make no whole step at an epoch's end are left out. Default: 1. Batch
    /// normalization still sees one batch at a time, and nothing [overlaps](Self::overlap). Not for networks on GPUs.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.recipe.batches = batches;
        self
    }
}
