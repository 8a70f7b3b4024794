//! A training run, as one replica sees it.

use std::time::{Duration, Instant};

use candle_core::Device;
use feedline_pipeline::{Loader, Shard, Tail};

use super::history::{EpochRecord, History, Metrics};
use super::learner::{Learner, Rows};
use super::progress::Progress;
use super::{Fitted, Input, Length, Trainer, tape};
use crate::error::{Error, Result};
use crate::nn::flat;
use crate::nn::{Model, Pass};
use crate::optim::{Optimizer, Schedule};
use crate::parallel::Replica;

/// One replica's model, loaders and optimizer.
pub(super) struct Session<'a, M, O> {
    replica: &'a Replica,
    learner: Learner<M>,
    optimizer: O,
    schedule: Schedule,
    train: Loader,
    test: Option<Loader>,
    length: Length,
    seed: u64,
    progress: Progress,
    /// The gradients side by side, then the loss and the number of right answers.
    bucket: Vec<f32>,
}

/// Sums over samples.
#[derive(Default)]
struct Sums {
    loss: f64,
    correct: f64,
    samples: f64,
}

impl Sums {
    fn metrics(&self) -> Metrics {
        let samples = self.samples.max(1.0);
        Metrics {
            loss: self.loss / samples,
            accuracy: self.correct / samples,
            samples: self.samples as u64,
        }
    }
}

impl<'a, M: Model, O: Optimizer> Session<'a, M, O> {
    /// Builds everything and tries it out, so that what can't work fails before training starts.
    pub(super) fn new<F: Fn(&Device) -> Result<M>>(
        trainer: &Trainer<F, O>,
        replica: &'a Replica,
        train: &Input,
        test: Option<&Input>,
    ) -> Result<Self> {
        let (rank, world_size) = (replica.rank(), replica.world_size());
        let shard = Shard::new(rank, world_size)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let loaders = world_size * if test.is_some() { 2 } else { 1 };
        let load = |input: &Input, shuffle, tail| {
            Loader::builder(input.source.clone())
                .transform(input.transform.clone())
                .batch_size(trainer.batch_size)
                .seed(trainer.seed)
                .shuffle(shuffle)
                .tail(tail)
                .shard(shard)
                .workers((cores / world_size).max(1))
                .memory_budget(trainer.memory_budget / loaders)
                .build()
        };
        let train_loader = load(train, true, Tail::Drop)?;
        let test_loader = test.map(|test| load(test, false, Tail::Pad)).transpose()?;

        let model = (trainer.model)(replica.device())?;
        flat::check(model.parameters())?;
        let classes = train.source.classes();
        let try_out = |set, loader: &Loader| {
            tape::try_out(&model, set, loader.plan().shape, classes, replica.device())
        };
        try_out("training", &train_loader)?;
        if let Some(test_loader) = &test_loader {
            try_out("test", test_loader)?;
        }

        let epochs = match trainer.length {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps.div_ceil(train_loader.plan().steps as u64),
        };
        let learner = Learner::new(model, replica)?;
        Ok(Self {
            replica,
            optimizer: trainer.optimizer.clone(),
            schedule: trainer.schedule,
            train: train_loader,
            test: test_loader,
            length: trainer.length,
            seed: trainer.seed,
            progress: Progress::new(trainer.progress && rank == 0, epochs),
            bucket: vec![0.0; learner.trainable() + 2],
            learner,
        })
    }

    /// How many steps the whole run has.
    fn total_steps(&self) -> u64 {
        match self.length {
            Length::Epochs(epochs) => epochs.saturating_mul(self.train.plan().steps as u64),
            Length::Steps(steps) => steps,
        }
    }

    /// Trains and evaluates, epoch by epoch.
    pub(super) fn train(mut self) -> Result<Fitted<M>> {
        let mut history = History::default();
        let mut steps = 0;
        let mut epoch = 0;
        while match self.length {
            Length::Epochs(epochs) => epoch < epochs,
            Length::Steps(limit) => steps < limit,
        } {
            let mut record = self.train_epoch(epoch, &mut steps)?;
            record.test = self.evaluate(epoch)?;
            self.progress.end(&record);
            history.epochs.push(record);
            epoch += 1;
        }
        Ok(Fitted {
            model: self.learner.finish()?,
            history,
        })
    }

    fn train_epoch(&mut self, epoch: u64, steps: &mut u64) -> Result<EpochRecord> {
        let mut planned = self.train.plan().steps;
        if let Length::Steps(limit) = self.length {
            planned = planned.min(usize::try_from(limit - *steps).unwrap_or(planned));
        }
        self.progress.begin(epoch, planned);
        let total_steps = self.total_steps();
        let trainable = self.learner.trainable();
        let start = Instant::now();
        let mut data_wait = Duration::ZERO;
        let mut sums = Sums::default();
        let mut batches = self.train.epoch(epoch);
        for step in 0..planned {
            let before = Instant::now();
            let Some(batch) = batches.next().transpose()? else {
                break;
            };
            data_wait += before.elapsed();

            let info = batch.info();
            let pass = Pass::training(self.seed, *steps, info.first_row);
            let share = (1.0 / info.global_samples as f64) as f32;
            let (gradients, totals) = self.bucket.split_at_mut(trainable);
            let own = self
                .learner
                .gradients(Rows::of(&batch), share, &pass, gradients)?;
            totals.copy_from_slice(&[own.loss as f32, own.correct as f32]);
            self.replica.collective().all_reduce_sum(&mut self.bucket)?;
            let (gradients, totals) = self.bucket.split_at(trainable);
            let (loss, correct) = (f64::from(totals[0]), f64::from(totals[1]));
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch, step, loss });
            }
            let factor = self.schedule.factor(*steps, total_steps);
            self.learner.step(&mut self.optimizer, gradients, factor)?;

            sums.loss += loss;
            sums.correct += correct;
            sums.samples += info.global_samples as f64;
            *steps += 1;
            self.progress.step(sums.metrics());
        }
        Ok(EpochRecord {
            epoch,
            train: sums.metrics(),
            test: None,
            duration: start.elapsed(),
            data_wait,
        })
    }

    /// Loss and accuracy on the test set, if there is one; every sample counts once, whichever replica sees it.
    fn evaluate(&mut self, epoch: u64) -> Result<Option<Metrics>> {
        let Some(loader) = &mut self.test else {
            return Ok(None);
        };
        self.progress.evaluating();
        self.learner.share_statistics(self.replica.collective())?;
        let mut sums = Sums::default();
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let rows = Rows::of(&batch);
            // In the last batch all of a replica's rows may be padding.
            if rows.labels.is_empty() {
                continue;
            }
            let totals = self.learner.evaluate(rows)?;
            sums.loss += totals.loss;
            sums.correct += totals.correct as f64;
            sums.samples += rows.labels.len() as f64;
        }
        let mut all = [sums.loss, sums.correct, sums.samples];
        self.replica.collective().all_reduce_sum_f64(&mut all)?;
        let [loss, correct, samples] = all;
        let sums = Sums {
            loss,
            correct,
            samples,
        };
        Ok(Some(sums.metrics()))
    }
}
