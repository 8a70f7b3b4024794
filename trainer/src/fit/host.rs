//! A replica that is fed through the host's memory: on the CPU, or on candle's tape.

use std::time::{Duration, Instant};

use feedline_pipeline::Loader;
use feedline_pipeline::loader::{LoaderBuilder, LoaderState, Stats};
use tracing::debug_span;

use super::gradients::{Accumulation, Clipping};
use super::learner::{Learner, Rows};
use super::saving::Saving;
use super::worker::{Epoch, StepRecord, Sums, Worker};
use super::{Trainer, loaders, tape};
use crate::checkpoint::{Checkpoint, CheckpointFault, Snapshot};
use crate::collective::{Buckets, Collective, Phase, Reducer};
use crate::engine::Engine;
use crate::error::{Error, Result, invalid};
use crate::fit::Input;
use crate::nn::{Model, Pass};
use crate::optim::Optimizer;
use crate::parallel::Replica;

/// A replica that is fed through the host's memory.
pub(super) struct HostWorker<'a, M, O> {
    collective: &'a dyn Collective,
    learner: Learner<M>,
    optimizer: O,
    train: Loader,
    test: Option<Loader>,
    seed: u64,
    /// The gradients side by side, then the loss and the number of right answers.
    sums: Vec<f32>,
    reducer: Reducer,
    accumulation: Accumulation,
    clipping: Option<Clipping>,
}

impl<'a, M: Model, O: Optimizer> HostWorker<'a, M, O> {
    /// Builds everything and tries it out, so that what can't work fails before training starts.
    pub(super) fn new<F>(
        trainer: &Trainer<F, O>,
        replica: &'a Replica,
        model: M,
        (train, test): (&Input, Option<&Input>),
        saving: &Saving,
    ) -> Result<Self> {
        let (train_loader, test_loader) = loaders::describe(trainer, replica, train, test)?;
        let from = saving.from();
        let train_loader = match from.filter(|own| own.manifest().position.running.step > 0) {
            Some(within) => train_loader.resume(within.manifest().loader.clone()),
            None => train_loader,
        };
        let train_loader = train_loader.build()?;
        let mut optimizer = trainer.optimizer.clone();
        if saving.is_on() {
            if optimizer.state().is_none() {
                let expected = "one that overrides `Optimizer::state`, or no checkpoints";
                return Err(invalid("optimizer", format!("{optimizer:?}"), expected));
            }
            // Even without a checkpoint: what the source says about it must not come at the first one.
            let state = train_loader.state()?;
            from.map_or(Ok(()), |own| check_data(own, &state))?;
        }
        let test_loader = test_loader.map(LoaderBuilder::build).transpose()?;
        let (batches, steps) = (trainer.recipe.batches, train_loader.plan().steps);
        if batches > steps {
            let expected = format!("at most {steps}, the batches of an epoch");
            return Err(invalid(
                "number of batches to accumulate",
                batches,
                expected,
            ));
        }
        let classes = train.source.classes();
        let try_out = |set, loader: &Loader| {
            tape::try_out(&model, set, loader.plan().shape, classes, replica.device())
        };
        try_out("training", &train_loader)?;
        if let Some(test_loader) = &test_loader {
            try_out("test", test_loader)?;
        }
        let objective = trainer.objective();
        objective.try_out(classes, replica.device())?;
        let mut learner = Learner::new(model, replica, &trainer.recipe, objective)?;
        optimizer.shapes(&learner.shapes());
        if let Some(checkpoint) = from {
            learner.restore(checkpoint, replica, &mut optimizer)?;
        }
        // The tape, and a step of several batches, have all gradients at the end only.
        let at_once = !learner.has_engine() || batches > 1;
        let overlap = trainer.overlap.unwrap_or(false) && !at_once;
        let (lengths, sizes) = (learner.lengths(), trainer.bucket_sizes);
        let buckets = Buckets::with_sizes(lengths, Engine::TOTALS, sizes);
        Ok(Self {
            collective: replica.collective(),
            learner,
            optimizer,
            train: train_loader,
            test: test_loader,
            seed: trainer.seed,
            sums: vec![0.0; buckets.length()],
            reducer: Reducer::new(replica.shared_collective(), buckets, overlap)?,
            accumulation: Accumulation::new(batches),
            clipping: trainer.recipe.largest_norm.map(Clipping::new),
        })
    }
}

impl<M: Model, O: Optimizer> Worker<M> for HostWorker<'_, M, O> {
    fn steps_per_epoch(&self) -> usize {
        self.train.plan().steps / self.accumulation.batches
    }

    fn train(
        &mut self,
        epoch: &Epoch<'_>,
        done: &mut dyn FnMut(StepRecord) -> Result<()>,
    ) -> Result<Duration> {
        let mut waited = Duration::ZERO;
        let mut batches = self.train.epoch(epoch.number);
        for (step, number) in (epoch.begin..epoch.steps).zip(epoch.first_step..) {
            let (sums, reducer) = (&mut self.sums, &mut self.reducer);
            reducer.begin(number)?;
            let parts = self.accumulation.batches;
            let mut samples = 0;
            let span = debug_span!(target: "feedline_trainer", "train", epoch = epoch.number, step);
            let mut training = None;
            for part in 0..parts {
                // To wait for data is not to train.
                drop(training.take());
                let before = Instant::now();
                self.collective.note(number, Phase::Data);
                let Some(batch) = batches.next().transpose()? else {
                    return Ok(waited);
                };
                waited += before.elapsed();
                training = Some(span.enter());

                let info = batch.info();
                let noise = number * parts as u64 + part as u64;
                let pass = Pass::training(self.seed, noise, info.first_row);
                // All batches of an epoch have as many samples.
                let share = (1.0 / (info.global_samples * parts) as f64) as f32;
                samples += info.global_samples;
                self.collective.note(number, Phase::Gradients);
                // Does nothing if more batches follow, as then nothing overlaps.
                let ready = &mut |from, sums: &[f32]| reducer.ready(from, sums);
                self.learner
                    .gradients(Rows::of(&batch), share, &pass, sums, ready)?;
                if parts > 1 {
                    self.accumulation.add(part, sums);
                }
            }
            reducer.join(sums)?;
            let numbers = sums.len() - Engine::TOTALS;
            let (gradients, totals) = sums.split_at_mut(numbers);
            let sums = Sums {
                loss: totals[0].into(),
                correct: totals[1].into(),
                samples: samples as f64,
            };
            // Before the step: a loss that is no number must not reach the parameters.
            done(StepRecord {
                step,
                sums,
                data_wait: waited,
            })?;
            self.collective.note(number, Phase::Optimizer);
            if let Some(clipping) = &mut self.clipping {
                clipping.clip(gradients);
            }
            let factor = (epoch.factor)(number);
            self.learner
                .step(number, &mut self.optimizer, gradients, factor)?;
            drop(training);
            if step + 1 < epoch.steps && (epoch.due)(number + 1) {
                self.collective.note(number, Phase::Statistics);
                let learner = &mut self.learner;
                let snapshot =
                    learner.snapshot(self.collective, &self.optimizer, || batches.state())?;
                (epoch.save)(snapshot, waited)?;
            }
        }
        batches.pause();
        Ok(waited)
    }

    fn evaluate(&mut self, epoch: u64, steps: u64) -> Result<Option<Sums>> {
        let Some(loader) = &mut self.test else {
            return Ok(None);
        };
        let _evaluating = debug_span!(target: "feedline_trainer", "evaluate", epoch).entered();
        self.collective.note(steps, Phase::Statistics);
        self.learner.share_statistics(self.collective)?;
        self.learner.swap_average()?;
        self.collective.note(steps, Phase::Evaluation);
        let mut sums = Sums::default();
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let rows = Rows::of(&batch);
            // In the last batch all of a replica's rows may be padding.
            if rows.labels.is_empty() {
                continue;
            }
            let totals = self.learner.evaluate(rows)?;
            sums.add(Sums {
                loss: totals.loss,
                correct: totals.correct as f64,
                samples: rows.labels.len() as f64,
            });
        }
        self.learner.swap_average()?;
        sums.over_all(self.collective).map(Some)
    }

    fn loading(&self) -> Option<Stats> {
        Some(self.train.stats())
    }

    fn snapshot(&mut self) -> Result<Option<Snapshot>> {
        let (learner, train) = (&mut self.learner, &self.train);
        learner.snapshot(self.collective, &self.optimizer, || train.state())
    }

    fn finish(self) -> Result<M> {
        self.learner.finish()
    }
}

/// Refuses a checkpoint of a run on other data.
fn check_data(checkpoint: &Checkpoint, now: &LoaderState) -> Result<()> {
    let saved = checkpoint.manifest().loader.fingerprint();
    if saved == now.fingerprint() {
        return Ok(());
    }
    Err(Error::Checkpoint {
        path: checkpoint.path().to_owned(),
        fault: CheckpointFault::Foreign,
        reason: format!(
            "the training data had fingerprint {saved:016x} and have {:016x}: train on the same, or begin anew in another folder",
            now.fingerprint()
        ),
    })
}
