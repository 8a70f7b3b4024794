//! What a training run asks of a replica.

use std::time::Duration;

use feedline_pipeline::loader::Stats;
use serde::{Deserialize, Serialize};

use super::history::Metrics;
use crate::checkpoint::{Snapshot, number};
use crate::collective::Collective;
use crate::error::{Result, invalid};

/// One replica's share of a run: what feeds it, and what learns.
///
/// Workers may be some steps ahead of what they have reported.
pub(super) trait Worker<M> {
    /// Steps of a whole epoch of training.
    fn steps_per_epoch(&self) -> usize;

    /// Trains for an epoch, or a part of it. Calls `done` for each step in order, all of them before it returns; what that
    /// returns ends the epoch if it is an error. Returns how long it waited for data.
    fn train(
        &mut self,
        epoch: &Epoch<'_>,
        done: &mut dyn FnMut(StepRecord) -> Result<()>,
    ) -> Result<Duration>;

    /// Sums over the test set, of all replicas; `None` if there is no test set. `steps` have been made.
    fn evaluate(&mut self, epoch: u64, steps: u64) -> Result<Option<Sums>>;

    /// What the time of the training set's loader went into, if it says so.
    fn loading(&self) -> Option<Stats> {
        None
    }

    /// What a checkpoint holds of this moment. All replicas must call this; rank 0 alone gets it.
    fn snapshot(&mut self) -> Result<Option<Snapshot>> {
        Err(invalid(
            "checkpoints",
            "asked for",
            "none, as this worker has no state to save",
        ))
    }

    /// The trained model.
    fn finish(self) -> Result<M>
    where
        Self: Sized;
}

/// What to do in an epoch.
pub(super) struct Epoch<'a> {
    /// Its number, from 0.
    pub(super) number: u64,
    /// Its first step to make: not 0 if an earlier run made those before.
    pub(super) begin: usize,
    /// The same, counted over all epochs.
    pub(super) first_step: u64,
    /// How many steps it has, from the epoch's start.
    pub(super) steps: usize,
    /// What the learning rate is multiplied by, at a step counted over all epochs.
    pub(super) factor: &'a dyn Fn(u64) -> f32,
    /// Whether to save when this many steps have been made over all epochs. Not asked after the epoch's last step.
    pub(super) due: &'a dyn Fn(u64) -> bool,
    /// Saves a [`snapshot`](Worker::snapshot); takes how long was waited for data in this epoch.
    pub(super) save: &'a dyn Fn(Option<Snapshot>, Duration) -> Result<()>,
}

/// A step that was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StepRecord {
    /// In the epoch, from 0.
    pub(super) step: usize,
    /// Of the global batch.
    pub(super) sums: Sums,
    /// How long this call of [`Worker::train`] has waited for data so far.
    pub(super) data_wait: Duration,
}

/// Sums over samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Sums {
    #[serde(with = "number")]
    pub(super) loss: f64,
    #[serde(with = "number")]
    pub(super) correct: f64,
    #[serde(with = "number")]
    pub(super) samples: f64,
}

impl Sums {
    pub(super) fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.samples += other.samples;
    }

    /// Those of all replicas together.
    pub(super) fn over_all(self, collective: &dyn Collective) -> Result<Self> {
        let mut all = [self.loss, self.correct, self.samples];
        collective.all_reduce_sum_f64(&mut all)?;
        let [loss, correct, samples] = all;
        Ok(Self {
            loss,
            correct,
            samples,
        })
    }

    pub(super) fn metrics(&self) -> Metrics {
        let samples = self.samples.max(1.0);
        Metrics {
            loss: self.loss / samples,
            accuracy: self.correct / samples,
            samples: self.samples as u64,
        }
    }
}
