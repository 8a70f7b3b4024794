//! A run that is ready to begin.

use std::fmt;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

use candle_core::Device;
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::loader::Stats;
use feedline_trainer::checkpoint::Checkpoints;
use feedline_trainer::fit::{Callback, EarlyStopping, History, Origin};
use feedline_trainer::nn::Model;
use feedline_trainer::optim::{Adam, Muon, Sgd};
use feedline_trainer::run::Evaluation;
use feedline_trainer::{Input, Replicas, Trainer, inference};

use super::record::Record;
use super::{OptimizerName, Training};
use crate::config::Config;
use crate::watching::Watch;
use crate::{Error, Recipe, Result, console};

/// A run that is ready to begin. Prints as a line that says what is trained on.
#[derive(Debug)]
#[must_use = "nothing is trained until fit() is called"]
pub struct Job<F> {
    trainer: Trainer<F>,
    optimizer: OptimizerName,
    learning_rate: f32,
    weight_decay: f32,
    dataset: Dataset,
    recipe: Recipe,
    record: Option<Record>,
    /// Ends when the job does.
    _watch: Watch,
    heading: String,
}

/// What came of a run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Loss and accuracy of each epoch.
    pub history: History,
    /// What the time of the loader went into: see [`Fitted`](feedline_trainer::fit::Fitted::loading).
    pub loading: Option<Stats>,
    /// The checkpoint that training went on from, if it did not begin at the beginning.
    pub origin: Option<Origin>,
    /// What the trained network makes of the test set, if the run was recorded.
    pub evaluation: Option<Evaluation>,
    /// The report on it, if the run was recorded.
    pub report: Option<PathBuf>,
}

impl Training {
    /// The run on `replicas` that these options describe, with what the recipe says where they say nothing; `model` builds the
    /// network. Of several processes the one with rank 0 alone records it.
    ///
    /// # Errors
    ///
    /// If the run to go on with has other settings, or the trace can't be written; other processes are told.
    pub fn job<M, F>(
        &self,
        dataset: &Dataset,
        recipe: &Recipe,
        model: F,
        replicas: Replicas,
    ) -> Result<Job<F>>
    where
        M: Model,
        F: Fn(&Device) -> feedline_trainer::Result<M> + Send + Sync + 'static,
    {
        let first = replicas.has_rank_0();
        let own = self.resolved(recipe);
        let epochs = own.epochs.map_or(recipe.epochs, NonZeroU64::get);
        let batch_size = own.batch_size.map_or(recipe.batch_size, NonZeroUsize::get);
        let heading = format!(
            "{}: {} pictures to train on, {} to test on; {epochs} epochs, batches of {batch_size}, on {replicas}",
            dataset.name,
            dataset.train.len(),
            dataset.test.len()
        );
        let record = self.record.as_ref().filter(|_| first);
        let record = record.map(|folder| {
            let mut config = Config::new(dataset, recipe, self.seed, replicas.to_string());
            config.options = options(&own);
            config.checkpoints = self.checkpoints().map(|path| {
                match path.strip_prefix(folder) {
                    Ok(inside) => inside.to_owned(),
                    // Found from wherever the run is looked at.
                    Err(_) => std::path::absolute(&path).unwrap_or(path),
                }
            });
            Record::new(folder.clone(), config, self.resume)
        });
        let told = |error: &Error| replicas.abort(&error.to_string());
        let record = record.transpose().inspect_err(told)?;
        let watch = self.watching.begin(record.is_some()).inspect_err(told)?;
        let mut trainer = Trainer::new(model)
            .schedule(own.schedule.unwrap_or(recipe.schedule).into())
            .epochs(epochs)
            .batch_size(batch_size)
            .replicas(replicas)
            .precision(self.precision.into())
            .resident(self.resident)
            .label_smoothing(self.label_smoothing)
            .accumulate(self.accumulate.get())
            .seed(self.seed);
        if let Some(decay) = self.weight_averaging {
            trainer = trainer.weight_averaging(decay);
        }
        if let Some(length) = self.clip {
            trainer = trainer.clip_gradients(length);
        }
        if let Some(patience) = self.patience {
            trainer = trainer.callback(EarlyStopping::new(patience.get()));
        }
        if let Some(folder) = self.checkpoints() {
            if first
                && self.resume
                && record.as_ref().is_some_and(Record::has_epochs)
                && !is_begun(&folder)
            {
                console::say(format_args!(
                    "warning: {} has no checkpoint, so the run begins anew with its first epoch",
                    folder.display()
                ));
            }
            let checkpoints = Checkpoints::in_folder(folder).keep_last(3).keep_best(true);
            trainer = trainer.checkpoints(checkpoints).resume(self.resume);
        }
        if let Some(record) = &record {
            trainer = trainer.callback(record.clone());
        }
        Ok(Job {
            trainer,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate_for(recipe),
            weight_decay: self.weight_decay,
            dataset: dataset.clone(),
            recipe: recipe.clone(),
            record,
            _watch: watch,
            heading,
        })
    }

    /// Whether to fetch the data set if it isn't there.
    ///
    /// # Errors
    ///
    /// If several processes would fetch it at the same time.
    pub fn may_download(&self) -> Result<bool> {
        if self.download && console::other_processes().is_some() {
            let reason = "--download: each process would fetch the same files; fetch them before, as in `feedline data fetch mnist --data DIR`";
            return Err(Error::Usage(reason.into()));
        }
        Ok(self.download)
    }

    /// Where these options have it trained: together with the other processes, if a launcher started some. Waits for these,
    /// so a program calls it once.
    ///
    /// # Errors
    ///
    /// If there are not as many GPUs as asked for; and as [`Replicas::join_launched`].
    pub fn replicas(&self) -> Result<Replicas> {
        let replicas = match (self.gpus, self.replicas) {
            (Some(count), _) => Replicas::gpu_count(count.get())?,
            (None, Some(count)) => Replicas::cpu(count.get())?,
            (None, None) => Replicas::auto(),
        };
        let replicas = match self.threads {
            Some(threads) => replicas.threads(threads.get())?,
            None => replicas,
        };
        let deadline = Duration::from_secs(self.deadline.get());
        Ok(replicas.deadline(deadline).join_launched()?)
    }

    fn learning_rate_for(&self, recipe: &Recipe) -> f32 {
        let usual = || self.optimizer.usual_rate();
        let own = self.learning_rate.or(recipe.learning_rate);
        own.unwrap_or_else(usual)
    }

    /// The options with the recipe's in the place of those that were not given.
    fn resolved(&self, recipe: &Recipe) -> Self {
        Self {
            epochs: self.epochs.or(NonZeroU64::new(recipe.epochs)),
            batch_size: self.batch_size.or(NonZeroUsize::new(recipe.batch_size)),
            learning_rate: Some(self.learning_rate_for(recipe)),
            schedule: self.schedule.or(Some(recipe.schedule)),
            ..self.clone()
        }
    }
}

impl<M, F> Job<F>
where
    M: Model,
    F: Fn(&Device) -> feedline_trainer::Result<M> + Send + Sync + 'static,
{
    /// Calls `callback` while training runs.
    pub fn callback(self, callback: impl Callback + 'static) -> Self {
        Self {
            trainer: self.trainer.callback(callback),
            ..self
        }
    }

    /// Trains. If the run is recorded, the trained network is then tried on the test set, and the report written.
    ///
    /// # Errors
    ///
    /// As [`Trainer::fit`]; and if the record can't be made, or gone on with.
    pub fn fit(self) -> Result<Outcome> {
        let input = |source: &_, transform: &feedline_pipeline::Transform| {
            Input::new(std::sync::Arc::clone(source), transform.clone())
        };
        let train = input(&self.dataset.train, &self.recipe.train);
        let test = input(&self.dataset.test, &self.recipe.test);
        let (rate, decay) = (self.learning_rate, self.weight_decay);
        let fitted = match self.optimizer {
            OptimizerName::Adam => {
                let adam = Adam::new(rate).weight_decay(decay);
                self.trainer.optimizer(adam).fit(train, Some(test.clone()))
            }
            OptimizerName::Sgd => {
                let sgd = Sgd::new(rate).momentum(0.9).nesterov();
                let sgd = sgd.weight_decay(decay);
                self.trainer.optimizer(sgd).fit(train, Some(test.clone()))
            }
            OptimizerName::Muon => {
                let muon = Muon::new(rate).weight_decay(decay);
                self.trainer.optimizer(muon).fit(train, Some(test.clone()))
            }
        }?;
        let (mut evaluation, mut report) = (None, None);
        if let Some(record) = self.record {
            let classes = &self.dataset.class_names;
            let evaluated = match inference::evaluate(&fitted.model, test, classes) {
                Ok(evaluated) => evaluated,
                Err(error) => {
                    // What there is, is drawn first.
                    record.finish(&fitted.history, None)?;
                    return Err(error.into());
                }
            };
            report = Some(record.finish(&fitted.history, Some(&evaluated))?);
            evaluation = Some(evaluated);
        }
        Ok(Outcome {
            history: fitted.history,
            loading: fitted.loading,
            origin: fitted.origin,
            evaluation,
            report,
        })
    }
}

/// Whether there is a checkpoint in the folder.
fn is_begun(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names = entries.map(|own| own.file_name());
    names.any(|own| own.to_string_lossy().starts_with("step-"))
}

/// The options as JSON, with numbers as they were given: in the shortest digits that are the same `f32`.
fn options(training: &Training) -> serde_json::Value {
    let text = serde_json::to_string(training);
    let value = text.and_then(|text| serde_json::from_str(&text));
    value.unwrap_or_default()
}

impl<F> fmt::Display for Job<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.heading)
    }
}
