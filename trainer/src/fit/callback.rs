//! What watches a training run, and may end it.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use candle_core::Device;

use super::Trainer;
use super::history::{EpochRecord, History, Metrics};
use crate::collective::{Collective, Phase};
use crate::error::{Result, invalid};
use crate::nn::Model;
use crate::optim::Optimizer;
use crate::run::RunFolder;

/// A run that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// How many epochs there will be, unless it ends early.
    pub epochs: u64,
    /// Steps of a whole epoch.
    pub steps_per_epoch: usize,
    /// Replicas that train.
    pub replicas: usize,
    /// Whether there is a test set.
    pub has_test: bool,
}

/// A step that was made.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TrainedStep {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The step in the epoch, from 0.
    pub step: usize,
    /// On the global batch, before the step.
    pub metrics: Metrics,
    /// How long the epoch has taken so far, and how much of that this replica has waited for data.
    pub duration: Duration,
    /// See `duration`.
    pub data_wait: Duration,
}

/// Code that is called while [`Trainer::fit`] runs, on the thread of rank 0 only: to log, to store, or to end training
/// early. Each method does nothing unless it is overridden.
///
/// An error ends the run, on all replicas; [`Error::Callback`](crate::Error::Callback) is for errors that this crate does not
/// know. What takes long keeps all replicas waiting, and longer than their
/// [deadline](crate::Replicas::deadline) is an error.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::time::{Duration, Instant};
///
/// use feedline_pipeline::Transform;
/// use feedline_pipeline::dataset::Generated;
/// use feedline_trainer::fit::{Callback, EpochRecord};
/// use feedline_trainer::nn::{Flatten, Linear, Sequential};
/// use feedline_trainer::{Input, Result, Trainer};
///
/// /// Begins no epoch after that much time.
/// struct Until(Instant);
///
/// impl Callback for Until {
///     fn epoch(&mut self, _: &EpochRecord) -> Result<ControlFlow<()>> {
///         Ok(match Instant::now() < self.0 {
///             true => ControlFlow::Continue(()),
///             false => ControlFlow::Break(()),
///         })
///     }
/// }
///
/// let data = Generated::open(100, 10)?;
/// let fitted = Trainer::new(|device| {
///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
/// })
/// .epochs(1_000_000)
/// .callback(Until(Instant::now() + Duration::from_millis(100)))
/// .progress(false)
/// .fit(Input::new(data.train, Transform::new().scale()), None)?;
/// assert!(fitted.history.epochs.len() < 1_000_000);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
pub trait Callback: Send {
    /// Training is about to begin.
    ///
    /// # Errors
    ///
    /// Ends the run before its first step.
    fn begin(&mut self, run: &Run) -> Result<()> {
        let _ = run;
        Ok(())
    }

    /// An earlier run, from whose checkpoint this one goes on, has trained this epoch. Said of each of them in order, after
    /// [`begin`](Self::begin), so that what follows from them is as if the run had not been stopped; `Break` means that it
    /// was over there, and this one is.
    ///
    /// # Errors
    ///
    /// Ends the run before its first step.
    fn resumed(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        let _ = record;
        Ok(ControlFlow::Continue(()))
    }

    /// A step was made. On GPUs this is said some steps later.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn step(&mut self, step: &TrainedStep) -> Result<()> {
        let _ = step;
        Ok(())
    }

    /// An epoch is over, evaluation included; `Break` makes it the last one, which is no error.
    ///
    /// # Errors
    ///
    /// Ends the run.
    fn epoch(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        let _ = record;
        Ok(ControlFlow::Continue(()))
    }

    /// Training is over, and has not failed.
    ///
    /// # Errors
    ///
    /// What was trained is lost.
    fn end(&mut self, history: &History) -> Result<()> {
        let _ = history;
        Ok(())
    }
}

/// Records each epoch, and with the feature `report` draws the curves and the report at the end.
impl Callback for RunFolder {
    /// A folder that was not there when the run began gets the epochs before, too.
    fn resumed(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        self.catch_up(record)?;
        Ok(ControlFlow::Continue(()))
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        #[cfg(feature = "report")]
        if record.test.is_some() {
            self.note_evaluation();
        }
        RunFolder::epoch(self, record)?;
        Ok(ControlFlow::Continue(()))
    }

    #[cfg(feature = "report")]
    fn begin(&mut self, _: &Run) -> Result<()> {
        self.start_clock();
        Ok(())
    }

    #[cfg(feature = "report")]
    fn step(&mut self, step: &TrainedStep) -> Result<()> {
        self.note_step(step);
        Ok(())
    }

    #[cfg(feature = "report")]
    fn end(&mut self, history: &History) -> Result<()> {
        self.finish(history, None).map(|_| ())
    }
}

/// The callbacks of a run, and how often there is an evaluation to show them.
#[derive(Clone)]
pub(super) struct Watch {
    /// Replicas share the trainer, though only rank 0 locks and calls them.
    callbacks: Vec<Arc<Mutex<dyn Callback>>>,
    pub(super) evaluate_every: u64,
    /// Then others may have callbacks where this process has none.
    pub(super) in_several_processes: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            callbacks: Vec::new(),
            evaluate_every: 1,
            in_several_processes: false,
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("callbacks", &self.callbacks.len())
            .field("evaluate_every", &self.evaluate_every)
            .finish()
    }
}

impl Watch {
    pub(super) fn check(&self) -> Result<()> {
        match self.evaluate_every {
            0 => Err(invalid(
                "epochs from one evaluation to the next",
                0,
                "at least 1",
            )),
            _ => Ok(()),
        }
    }

    /// Calls each callback if this is rank 0.
    pub(super) fn on_rank_0(
        &self,
        collective: &dyn Collective,
        mut call: impl FnMut(&mut dyn Callback) -> Result<()>,
    ) -> Result<()> {
        if collective.rank() > 0 {
            return Ok(());
        }
        self.callbacks.iter().try_for_each(|own| {
            // One that has panicked has ended its run; it may be called in another.
            call(&mut *own.lock().unwrap_or_else(PoisonError::into_inner))
        })
    }

    /// Whether a callback answers, after so many `steps`, that the run is over: the same on all replicas.
    pub(super) fn ends(
        &self,
        collective: &dyn Collective,
        steps: u64,
        mut ask: impl FnMut(&mut dyn Callback) -> Result<ControlFlow<()>>,
    ) -> Result<bool> {
        if self.callbacks.is_empty() && !self.in_several_processes {
            return Ok(false);
        }
        collective.note(steps, Phase::Other("the callbacks' decision"));
        let mut ends = [0.0];
        self.on_rank_0(collective, |own| {
            // All of them are asked, whatever the first ones say.
            if ask(own)?.is_break() {
                ends = [1.0];
            }
            Ok(())
        })?;
        collective.broadcast(&mut ends)?;
        Ok(ends == [1.0])
    }
}

impl<M: Model, F, O: Optimizer> Trainer<F, O>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    /// Calls `callback` while training runs, after those that were added before. Clones of this trainer
    /// call the same one.
    pub fn callback(mut self, callback: impl Callback + 'static) -> Self {
        self.watch.callbacks.push(Arc::new(Mutex::new(callback)));
        self
    }

    /// Evaluates after every so many epochs, and after the last one that is planned, instead of after each.
    pub fn evaluate_every(mut self, epochs: u64) -> Self {
        self.watch.evaluate_every = epochs;
        self
    }
}
