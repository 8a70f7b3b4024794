//! What a training run has shown.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::checkpoint::number;

/// Mean loss and accuracy over samples, each of which counts once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metrics {
    /// The mean cross-entropy in nats, in training of smoothed labels if
    /// [`label_smoothing`](super::Trainer::label_smoothing) is set; or the mean of a [loss](super::Trainer::loss) of one's own.
    #[serde(with = "number")]
    pub loss: f64,
    /// The share of samples whose largest logit is that of their label, 0 to 1.
    #[serde(with = "number")]
    pub accuracy: f64,
    /// How many samples.
    pub samples: u64,
}

/// One epoch of training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: u64,
    /// On the samples trained on, each as it was seen: with augmentation, before its step.
    pub train: Metrics,
    /// On the test set after the epoch, if there is one and it was this epoch's turn.
    pub test: Option<Metrics>,
    /// How long training took, without the evaluation.
    pub duration: Duration,
    /// How much of it rank 0 waited for data.
    pub data_wait: Duration,
}

impl EpochRecord {
    /// Samples per second of training, on all replicas together.
    pub fn samples_per_second(&self) -> f64 {
        self.train.samples as f64 / self.duration.as_secs_f64().max(1e-9)
    }

    /// The part of training's time that rank 0 waited for data: from 0 to 1.
    pub fn data_wait_share(&self) -> f64 {
        self.data_wait.as_secs_f64() / self.duration.as_secs_f64().max(1e-9)
    }
}

/// All epochs of a training run. Prints as a table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// The epochs, in order.
    pub epochs: Vec<EpochRecord>,
}

impl History {
    /// The metrics on the test set after the last epoch.
    pub fn last_test(&self) -> Option<Metrics> {
        self.epochs.last()?.test
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5}  {:>10}  {:>9}  {:>9}  {:>9}  {:>8}  {:>9}  {:>9}",
            "epoch",
            "train loss",
            "accuracy",
            "test loss",
            "accuracy",
            "seconds",
            "samples/s",
            "data wait"
        )?;
        for record in &self.epochs {
            let (epoch, train) = (record.epoch + 1, record.train);
            write!(
                f,
                "\n{epoch:>5}  {:>10.4}  {:>7.2} %",
                train.loss,
                100.0 * train.accuracy
            )?;
            match record.test {
                Some(test) => write!(f, "  {:>9.4}  {:>7.2} %", test.loss, 100.0 * test.accuracy)?,
                None => write!(f, "  {:>9}  {:>9}", "-", "-")?,
            }
            let (seconds, rate) = (record.duration.as_secs_f64(), record.samples_per_second());
            let waited = 100.0 * record.data_wait_share();
            write!(f, "  {seconds:>8.1}  {rate:>9.0}  {waited:>7.1} %")?;
        }
        Ok(())
    }
}
