//! Ending a run that gets no better.

use std::ops::ControlFlow;

use super::callback::{Callback, Run};
use super::history::{EpochRecord, Metrics};
use crate::error::{Result, invalid};

/// Ends training when the test set's loss, or accuracy, has not improved for a number of evaluations. What is left is the
/// last model; the one with the lowest loss if there are [checkpoints](crate::Trainer::checkpoints) that
/// [restore the best](crate::checkpoint::Checkpoints::restore_best).
///
/// A run that is [resumed](crate::Trainer::resume) counts on from the epochs in its checkpoint, and so ends where it would
/// have ended; it trains no more if that is where it was.
///
/// A test set that decides when to stop is no fair judge of the result any more: split a part off the training set for this.
///
/// ```
/// use feedline_pipeline::Transform;
/// use feedline_pipeline::dataset::Generated;
/// use feedline_trainer::fit::EarlyStopping;
/// use feedline_trainer::nn::{Flatten, Linear, Sequential};
/// use feedline_trainer::{Input, Trainer};
///
/// let data = Generated::open(100, 20)?;
/// let scaled = || Transform::new().scale();
/// let fitted = Trainer::new(|device| {
///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
/// })
/// .epochs(1000)
/// .callback(EarlyStopping::new(2).accuracy())
/// .progress(false)
/// .fit(Input::new(data.train, scaled()), Some(Input::new(data.test, scaled())))?;
/// assert!(fitted.history.epochs.len() < 1000);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopping {
    patience: u64,
    least: f64,
    measure: Measure,
    best: Option<f64>,
    /// Evaluations since the best one.
    since: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Loss,
    Accuracy,
}

impl EarlyStopping {
    /// Ends training when `patience` evaluations one after the other, at least 1, had no lower loss than the best one
    /// before.
    pub fn new(patience: u64) -> Self {
        Self {
            patience,
            least: 0.0,
            measure: Measure::Loss,
            best: None,
            since: 0,
        }
    }

    /// Looks at the accuracy instead of the loss.
    #[must_use]
    pub fn accuracy(self) -> Self {
        Self {
            measure: Measure::Accuracy,
            ..self
        }
    }

    /// Takes for better only what is better by more than this, 0 or above; 0 by default.
    #[must_use]
    pub fn least_improvement(self, least: f64) -> Self {
        Self { least, ..self }
    }

    /// The larger, the better.
    fn score(&self, metrics: &Metrics) -> f64 {
        match self.measure {
            Measure::Loss => -metrics.loss,
            Measure::Accuracy => metrics.accuracy,
        }
    }
}

impl Callback for EarlyStopping {
    fn begin(&mut self, run: &Run) -> Result<()> {
        (self.best, self.since) = (None, 0);
        if self.patience == 0 {
            return Err(invalid("patience", 0, "at least 1 evaluation"));
        }
        if !(self.least >= 0.0 && self.least.is_finite()) {
            return Err(invalid("least improvement", self.least, "0 or above"));
        }
        if !run.has_test {
            return Err(invalid(
                "test set",
                "none",
                "one, for early stopping to look at",
            ));
        }
        Ok(())
    }

    fn resumed(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        self.epoch(record)
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        let Some(test) = &record.test else {
            return Ok(ControlFlow::Continue(()));
        };
        let score = match self.score(test) {
            // Worse than anything.
            none if none.is_nan() => f64::NEG_INFINITY,
            score => score,
        };
        if self.best.is_none_or(|best| score > best + self.least) {
            (self.best, self.since) = (Some(score), 0);
        } else {
            self.since += 1;
        }
        Ok(match self.since < self.patience {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    }
}
