//! The training loop.
//!
//! ```
//! use feedline_pipeline::Transform;
//! use feedline_pipeline::dataset::Generated;
//! use feedline_trainer::nn::{Flatten, Linear, Sequential};
//! use feedline_trainer::{Input, Replicas, Trainer};
//!
//! let data = Generated::open(500, 100)?;
//! let scaled = || Transform::new().scale();
//! let fitted = Trainer::new(|device| {
//!     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
//! })
//! .epochs(1)
//! .replicas(Replicas::cpu(2)?)
//! .progress(false)
//! .fit(Input::new(data.train, scaled()), Some(Input::new(data.test, scaled())))?;
//! println!("{}", fitted.history);
//! assert_eq!(fitted.history.last_test().unwrap().samples, 100);
//! # Ok::<(), feedline_trainer::Error>(())
//! ```

mod averaging;
mod callback;
mod early_stopping;
#[cfg(feature = "nccl")]
mod gpu;
#[cfg(all(test, feature = "nccl"))]
mod gpu_tests;
mod gradients;
mod history;
mod host;
mod learner;
mod loaders;
#[cfg(test)]
mod loss_tests;
mod objective;
mod parts;
mod progress;
mod recipe;
#[cfg(test)]
mod recipe_tests;
mod saving;
mod session;
mod tape;
#[cfg(test)]
mod tests;
mod together;
mod worker;

pub use callback::{Callback, Run, TrainedStep};
pub use early_stopping::EarlyStopping;
pub use history::{EpochRecord, History, Metrics};
pub use progress::beside_progress;
pub use saving::Origin;
pub(crate) use worker::Sums;

use std::fmt;
use std::sync::Arc;

use candle_core::Device;
use feedline_pipeline::loader::Stats;
use feedline_pipeline::{Source, Transform};

use crate::checkpoint::{Checkpoints, Resume};
use crate::collective::BucketSizes;
use crate::error::{Result, invalid};
use crate::nn::{Loss, Model};
use crate::optim::{Adam, Optimizer, Schedule};
use crate::parallel::Replicas;
use crate::precision::Precision;
use callback::Watch;
use recipe::Recipe;

/// Samples, and what is done to each of them.
#[derive(Clone)]
pub struct Input {
    source: Arc<dyn Source>,
    transform: Transform,
}

impl Input {
    /// The samples of `source`, each changed by `transform`.
    pub fn new(source: Arc<dyn Source>, transform: Transform) -> Self {
        Self { source, transform }
    }

    pub(crate) fn into_parts(self) -> (Arc<dyn Source>, Transform) {
        (self.source, self.transform)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("samples", &self.source.len())
            .finish_non_exhaustive()
    }
}

/// A trained model and how it came to be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fitted<M> {
    /// The model, which is the same on all replicas: the last one, unless the checkpoints
    /// [restore the best](Checkpoints::restore_best).
    pub model: M,
    /// Loss and accuracy of each epoch.
    pub history: History,
    /// What the time of the training set's loader went into, in this run, on the replica with rank 0, or of another process
    /// its first one. Where another replica's loader is slower, rank 0 waits for that replica instead of for data, and this
    /// does not show it. Prints in words; `None` on GPUs.
    ///
    /// ```
    /// # use feedline_pipeline::Transform;
    /// # use feedline_pipeline::dataset::Generated;
    /// # use feedline_trainer::nn::{Flatten, Linear, Sequential};
    /// # use feedline_trainer::{Input, Replicas, Trainer};
    /// # let train = Input::new(Generated::open(100, 10)?.train, Transform::new().scale());
    /// let fitted = Trainer::new(|device| {
    ///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
    /// })
    /// .replicas(Replicas::cpu(1)?)
    /// .fit(train, None)?;
    /// if let Some(loading) = fitted.loading {
    ///     println!("{loading}"); // who waited for whom
    ///     assert_eq!(loading.batches, 3);
    /// }
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub loading: Option<Stats>,
    /// The checkpoint that training went on from, if it did not begin at the beginning.
    pub origin: Option<Origin>,
}

/// How long to train.
#[derive(Debug, Clone, Copy)]
enum Length {
    Epochs(u64),
    Steps(u64),
}

/// Trains a model on several replicas, each with its own shard of every batch.
///
/// In each step every replica computes the gradients of its rows of the global batch, divided by the samples of the
/// *global* batch; the gradients are summed over the replicas, and each makes the same update. So the number of
/// replicas changes the speed and, rounding aside, nothing else
/// ([`BatchNorm`](crate::nn::BatchNorm) excepted, which sees its replica's rows only unless it is
/// [synchronized](crate::nn::BatchNorm::synchronized)).
#[derive(Debug, Clone)]
#[must_use = "nothing is trained until fit() is called"]
pub struct Trainer<F, O = Adam> {
    model: F,
    optimizer: O,
    schedule: Schedule,
    replicas: Replicas,
    length: Length,
    batch_size: usize,
    seed: u64,
    memory_budget: usize,
    progress: bool,
    /// On GPUs, and not on the CPU, if nothing was said.
    overlap: Option<bool>,
    bucket_sizes: BucketSizes,
    precision: Precision,
    gradients_in_bf16: bool,
    resident: bool,
    recipe: Recipe,
    /// In place of cross-entropy.
    loss: Option<Arc<dyn Loss>>,
    watch: Watch,
    saving: saving::Saving,
}

impl<M: Model, F: Fn(&Device) -> Result<M> + Send + Sync + 'static> Trainer<F> {
    /// Trains what `model` builds; it is called once for each replica, on the replica's thread. By default: one epoch in
    /// batches of 32, with Adam at a constant learning rate, on [`Replicas::auto`], seed 0, 256 MiB for batches, with a progress line.
    pub fn new(model: F) -> Self {
        Self {
            model,
            optimizer: Adam::default(),
            schedule: Schedule::constant(),
            replicas: Replicas::auto(),
            length: Length::Epochs(1),
            batch_size: 32,
            seed: 0,
            memory_budget: 256 << 20,
            progress: true,
            overlap: None,
            bucket_sizes: BucketSizes::default(),
            precision: Precision::default(),
            gradients_in_bf16: false,
            resident: false,
            recipe: Recipe::default(),
            loss: None,
            watch: Watch::default(),
            saving: saving::Saving::default(),
        }
    }
}

impl<M: Model, F, O: Optimizer> Trainer<F, O>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    /// The rule that changes the parameters.
    pub fn optimizer<P: Optimizer>(self, optimizer: P) -> Trainer<F, P> {
        Trainer {
            model: self.model,
            optimizer,
            schedule: self.schedule,
            replicas: self.replicas,
            length: self.length,
            batch_size: self.batch_size,
            seed: self.seed,
            memory_budget: self.memory_budget,
            progress: self.progress,
            overlap: self.overlap,
            bucket_sizes: self.bucket_sizes,
            precision: self.precision,
            gradients_in_bf16: self.gradients_in_bf16,
            resident: self.resident,
            recipe: self.recipe,
            loss: self.loss,
            watch: self.watch,
            saving: self.saving,
        }
    }

    /// How the learning rate changes over the run, all epochs of it; constant by default.
    ///
    /// ```
    /// use feedline_trainer::optim::Schedule;
    /// # use feedline_pipeline::Transform;
    /// # use feedline_pipeline::dataset::Generated;
    /// # use feedline_trainer::nn::{Flatten, Linear, Sequential};
    /// # use feedline_trainer::{Input, Trainer};
    /// # let data = Generated::open(100, 100)?;
    /// # let train = Input::new(data.train, Transform::new().scale());
    ///
    /// let fitted = Trainer::new(|device| {
    ///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
    /// })
    /// .epochs(2)
    /// .schedule(Schedule::cosine(0.01).warm_up(0.1))
    /// .fit(train, None)?;
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// On what to train.
    pub fn replicas(self, replicas: Replicas) -> Self {
        Self { replicas, ..self }
    }

    /// Trains this many epochs. The last call of this and [`steps`](Self::steps) counts.
    pub fn epochs(self, epochs: u64) -> Self {
        let length = Length::Epochs(epochs);
        Self { length, ..self }
    }

    /// Trains this many steps, over as many epochs as it takes, of which the last may be cut short. The last call of
    /// this and [`epochs`](Self::epochs) counts.
    pub fn steps(self, steps: u64) -> Self {
        let length = Length::Steps(steps);
        Self { length, ..self }
    }

    /// Rows of a global batch, of all replicas together; of a part of it if steps [accumulate](Self::accumulate). What does not fill a batch at an epoch's end is left out; the
    /// next epoch's order brings it.
    pub fn batch_size(self, batch_size: usize) -> Self {
        Self { batch_size, ..self }
    }

    /// What order, augmentation and dropout follow from. The weights' seed is the model's.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Bytes for batches, of all loaders of a process together: each replica has one loader, and another if there is a test set, and
    /// each gets an equal part. [`BudgetTooSmall`](feedline_pipeline::Error::BudgetTooSmall) speaks of one loader's
    /// part.
    pub fn memory_budget(self, bytes: usize) -> Self {
        Self {
            memory_budget: bytes,
            ..self
        }
    }

    /// Whether gradients are summed over the replicas while the backward pass still runs, bucket by bucket. Changes the
    /// speed and no bit. Default: on GPUs, where another stream does it, yes; on the CPU, where one more thread for each
    /// replica does, no. On candle's tape (a model of one's own) all gradients are there at the end only, so that there is
    /// nothing to overlap with.
    pub fn overlap(self, overlap: bool) -> Self {
        Self {
            overlap: Some(overlap),
            ..self
        }
    }

    /// How large the [buckets](crate::collective::Buckets) are in which gradients are summed.
    pub fn bucket_sizes(self, bucket_sizes: BucketSizes) -> Self {
        Self {
            bucket_sizes,
            ..self
        }
    }

    /// How exactly networks are computed on GPUs; on the CPU, and where a model of one's own trains on candle's tape, there
    /// is only [`Precision::F32`], the default.
    pub fn precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Whether gradients travel between GPUs as `bf16`, in half as many bytes: each replica's are rounded before they are
    /// summed, the sums again, so that the result depends a little on the number of GPUs. What a GPU computes from them stays
    /// `f32`, and loss and accuracy travel as they are. Nothing changes on one GPU, on the CPU, and where a model of one's own
    /// trains on candle's tape. Default: no.
    pub fn gradients_in_bf16(self, in_bf16: bool) -> Self {
        Self {
            gradients_in_bf16: in_bf16,
            ..self
        }
    }

    /// Whether GPUs get all of both sets once, when training begins, instead of batch after batch: for sets that fit into the
    /// memory of each GPU, a byte for each stored byte. Changes the speed and no bit. Not for transforms with a
    /// [`map`](Transform::map), which the host has to do. Nothing changes on the CPU. Default: no.
    pub fn resident(self, resident: bool) -> Self {
        Self { resident, ..self }
    }

    /// Makes [checkpoints](crate::checkpoint), from which a run that was stopped goes on with [`resume`](Self::resume): to the
    /// bit on as many replicas, and on another number of them with rounding. Not on GPUs yet, but for models of one's own on
    /// candle's tape.
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.saving.checkpoints = Some(checkpoints);
        self
    }

    /// Whether to go on from the latest checkpoint in the folder. Model, data, batch size, seed, optimizer, and schedule must
    /// be those of the run that made it; the length may be another if the learning rate is constant, but an epoch that was
    /// cut short is not gone on with. Transforms are not compared. Default: [`Resume::Never`].
    pub fn resume(mut self, resume: impl Into<Resume>) -> Self {
        self.saving.resume = resume.into();
        self
    }

    /// Whether to show progress on standard error, on one line: how far the epoch is, how fast, loss and accuracy so far, how
    /// long the epoch and the run will take, and how much of the time was waiting for data. It moves on a terminal; else
    /// there is a plain line for each epoch, and one every half a minute.
    pub fn progress(self, visible: bool) -> Self {
        Self {
            progress: visible,
            ..self
        }
    }

    /// Trains on `train` and, after each epoch unless [`evaluate_every`](Self::evaluate_every) says otherwise, evaluates on
    /// `test`.
    ///
    /// # Errors
    ///
    /// Before training starts: [`InvalidArgument`](crate::Error::InvalidArgument) for settings or sets that can't work,
    /// [`InvalidModel`](crate::Error::InvalidModel) for a model that doesn't fit the data,
    /// [`Pipeline`](crate::Error::Pipeline) for what a loader refuses, such as a budget that is too small,
    /// [`Checkpoint`](crate::Error::Checkpoint) for one that can't be gone on from. Later:
    /// [`Diverged`](crate::Error::Diverged) if the loss is no number any more, and whatever stops a replica, as
    /// [`Replicas::run`] has it; [`Checkpoint`](crate::Error::Checkpoint) if one can't be written.
    ///
    /// In several processes, each must call this with the same settings and data, or all fail with
    /// [`Disagreement`](crate::Error::Disagreement). Each gets the trained model; callbacks are rank 0's only, and so are
    /// checkpoints, which the others need not see.
    pub fn fit(self, train: Input, test: Option<Input>) -> Result<Fitted<M>> {
        let replicas = self.replicas.clone();
        // What keeps this process from training, others would wait for.
        self.fit_on_all(train, test)
            .inspect_err(|error| replicas.abort(&error.to_string()))
    }

    fn fit_on_all(mut self, train: Input, test: Option<Input>) -> Result<Fitted<M>> {
        self.optimizer.check()?;
        self.schedule.check()?;
        self.recipe.check()?;
        self.check_loss()?;
        self.watch.check()?;
        match self.length {
            Length::Epochs(0) => return Err(invalid("epochs", 0, "at least 1")),
            Length::Steps(0) => return Err(invalid("steps", 0, "at least 1")),
            _ => {}
        }
        if let Some(test) = &test {
            let (found, most) = (test.source.classes(), train.source.classes());
            if found > most {
                let expected = format!("at most {most}, as many as the training set has");
                return Err(invalid(
                    "number of classes in the test set",
                    found,
                    expected,
                ));
            }
        }
        let replicas = self.replicas_for(&train, test.as_ref())?;
        let settings = self.settings(&train, test.as_ref());
        self.agree(&replicas, &settings, &train, test.as_ref())?;
        self.watch.in_several_processes = replicas.world().is_some();
        self.saving
            .begin(settings, test.is_some(), replicas.has_rank_0())?;
        self.say_what_is_read(&replicas, &train, test.as_ref())?;
        let results =
            replicas.run(move |replica| session::run(&self, replica, &train, test.as_ref()))?;
        // The first is rank 0's, or of another process its first rank's; there is at least one replica.
        let first = results.into_iter().next();
        first.ok_or_else(|| invalid("number of replicas", 0, "at least 1"))
    }

    /// As many replicas as can have a row of each batch of each set.
    fn replicas_for(&self, train: &Input, test: Option<&Input>) -> Result<Replicas> {
        let limits = [
            Some(("batch size", self.batch_size)),
            Some(("number of samples to train on", train.source.len())),
            test.map(|test| ("number of samples to test on", test.source.len())),
        ];
        // What is 0 is the loader's to refuse, with any number of replicas.
        limits
            .into_iter()
            .flatten()
            .filter(|&(_, most)| most > 0)
            .try_fold(self.replicas.clone(), Replicas::limited)
    }
}
