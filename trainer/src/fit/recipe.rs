//! How a step is made, beyond the optimizer's rule.

use std::sync::Arc;

use candle_core::Device;

use super::Trainer;
use super::objective::Objective;
use crate::error::{Result, invalid};
use crate::nn::{Loss, Model};
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

impl<F, O> Trainer<F, O> {
    /// Refuses what a loss of one's own leaves no room for.
    pub(super) fn check_loss(&self) -> Result<()> {
        match (&self.loss, self.recipe.label_smoothing) {
            (Some(loss), smoothing) if smoothing > 0.0 => {
                let expected = format!(
                    "0 with the loss {loss:?}: smoothing is part of cross-entropy, so smooth labels in `losses`"
                );
                Err(invalid("label smoothing", smoothing, expected))
            }
            _ => Ok(()),
        }
    }

    /// What training makes small.
    pub(super) fn objective(&self) -> Objective {
        match &self.loss {
            Some(loss) => Objective::Own(Arc::clone(loss)),
            None => Objective::CrossEntropy {
                label_smoothing: self.recipe.label_smoothing,
            },
        }
    }
}

impl<M: Model, F, O: Optimizer> Trainer<F, O>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    /// Makes `loss` small instead of cross-entropy; evaluation reports it, too, and accuracy is counted as ever. Not together
    /// with [`label_smoothing`](Self::label_smoothing), which is part of cross-entropy.
    ///
    /// The engines know cross-entropy only, so that any model then trains on candle's tape, as a
    /// [`Model`] of one's own does: several times slower, and on any number of replicas. Layers that need an
    /// engine, such as [synchronized](crate::nn::BatchNorm::synchronized) batch normalization, say so.
    ///
    /// ```
    /// use candle_core::Tensor;
    /// use feedline_pipeline::Transform;
    /// use feedline_pipeline::dataset::Generated;
    /// use feedline_trainer::nn::{Flatten, Linear, Loss, Sequential, cross_entropy};
    /// use feedline_trainer::{Input, Trainer};
    ///
    /// /// Mistakes on the first class count twice.
    /// #[derive(Debug)]
    /// struct Weighted;
    ///
    /// impl Loss for Weighted {
    ///     fn losses(&self, logits: &Tensor, labels: &Tensor) -> feedline_trainer::Result<Tensor> {
    ///         let weights = (labels.eq(0u32)?.to_dtype(logits.dtype())? + 1.0)?;
    ///         Ok((cross_entropy(logits, labels)? * weights)?)
    ///     }
    /// }
    ///
    /// let data = Generated::open(100, 10)?;
    /// let fitted = Trainer::new(|device| {
    ///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
    /// })
    /// .loss(Weighted)
    /// .progress(false)
    /// .fit(Input::new(data.train, Transform::new().scale()), None)?;
    /// assert!(fitted.history.epochs[0].train.loss > 0.0);
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub fn loss(mut self, loss: impl Loss) -> Self {
        self.loss = Some(Arc::new(loss));
        self
    }

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
