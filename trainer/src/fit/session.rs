//! A training run, as one replica sees it.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use candle_core::Device;

use super::callback::{Run, TrainedStep, Watch};
use super::history::{EpochRecord, History};
use super::host::HostWorker;
use super::progress::{Moment, Progress};
use super::saving::Saving;
use super::worker::{Epoch, StepRecord, Worker};
use super::{Fitted, Input, Length, Trainer, together};
use crate::checkpoint::{Position, Running, Snapshot};
use crate::collective::{Collective, Phase};
use crate::error::{Error, Result, invalid};
use crate::nn::{Model, flat};
use crate::optim::{Optimizer, Schedule};
use crate::parallel::Replica;
use crate::precision::Precision;

/// Trains one replica.
///
/// Everything is built and tried out first, so that what can't work fails before training starts.
pub(super) fn run<M: Model, O: Optimizer, F: Fn(&Device) -> Result<M>>(
    trainer: &Trainer<F, O>,
    replica: &Replica,
    train: &Input,
    test: Option<&Input>,
) -> Result<Fitted<M>> {
    replica.collective().note(0, Phase::Start);
    let model = (trainer.model)(replica.device())?;
    flat::check(model.parameters())?;
    together::agree_on_model(replica, &model)?;
    #[cfg(feature = "nccl")]
    let model = match super::gpu::run(trainer, replica, model, (train, test))? {
        ControlFlow::Break(fitted) => return Ok(fitted),
        ControlFlow::Continue(model) => model,
    };
    if trainer.precision != Precision::F32 {
        let found = format!("{:?}", trainer.precision);
        let expected = match replica.device().is_cpu() {
            true => {
                "F32, as these replicas are on the CPU; others need GPUs and a build with the feature `nccl`"
            }
            false => {
                "F32, as the engine for GPUs does not know this model, optimizer or loss: it takes a `Sequential` of this crate's layers, with Adam or Sgd, without weight decay and without a loss of one's own"
            }
        };
        return Err(invalid("precision", found, expected));
    }
    let saving = trainer.saving.of_all(replica)?;
    let worker = HostWorker::new(trainer, replica, model, (train, test), &saving)?;
    Session::new(trainer, replica, worker, test.is_some(), saving).train()
}

/// The epochs of a run.
pub(super) struct Session<'a, W> {
    collective: &'a dyn Collective,
    worker: W,
    schedule: Schedule,
    length: Length,
    progress: Progress,
    watch: &'a Watch,
    run: Run,
    saving: Saving,
    in_several_processes: bool,
}

impl<'a, W> Session<'a, W> {
    pub(super) fn new<M, F, O>(
        trainer: &'a Trainer<F, O>,
        replica: &'a Replica,
        worker: W,
        has_test: bool,
        saving: Saving,
    ) -> Self
    where
        W: Worker<M>,
    {
        let steps_per_epoch = worker.steps_per_epoch();
        let epochs = match trainer.length {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps.div_ceil(steps_per_epoch as u64),
        };
        let visible = trainer.progress && replica.rank() == 0;
        Self {
            collective: replica.collective(),
            worker,
            schedule: trainer.schedule,
            length: trainer.length,
            progress: Progress::new(visible, epochs),
            watch: &trainer.watch,
            run: Run {
                epochs,
                steps_per_epoch,
                replicas: replica.world_size(),
                has_test,
            },
            saving,
            in_several_processes: replica.world().is_some(),
        }
    }

    /// Trains and evaluates, epoch by epoch.
    pub(super) fn train<M: Model>(mut self) -> Result<Fitted<M>>
    where
        W: Worker<M>,
    {
        // At once: to drop the worker may take until its device is done, which may wait for a replica that waits for this.
        let collective = self.collective;
        let abort = |error: &Error| collective.abort(&error.to_string());
        let history = self.epochs().inspect_err(abort)?;
        let loading = self.worker.loading();
        let model = self.worker.finish()?;
        // The other replicas' models are not given back.
        if collective.rank() == 0 {
            let epochs = history.epochs.len() as u64;
            self.saving.restore_best(&model, epochs)?;
        }
        if self.in_several_processes && self.saving.restores_best() {
            together::take_over_weights(&model, collective).inspect_err(abort)?;
        }
        Ok(Fitted {
            model,
            history,
            loading,
            origin: self.saving.origin(),
        })
    }

    fn epochs<M>(&mut self) -> Result<History>
    where
        W: Worker<M>,
    {
        let (collective, watch, run) = (self.collective, self.watch, self.run);
        watch.on_rank_0(collective, |own| own.begin(&run))?;
        let mut at = self.saving.position();
        let before = &at.history.epochs;
        let mut ended = !before.is_empty()
            && watch.ends(collective, at.step, |own| {
                // After an earlier one the run went on, whatever it says of it.
                let mut answer = ControlFlow::Continue(());
                for record in before {
                    answer = own.resumed(record)?;
                }
                Ok(answer)
            })?;
        while !ended && !self.is_over(&at) {
            let mut record = self.train_epoch(&mut at)?;
            at.epoch += 1;
            if at.epoch.is_multiple_of(watch.evaluate_every) || at.epoch == run.epochs {
                self.progress.evaluating(record.epoch);
                let test = self.worker.evaluate(record.epoch, at.step)?;
                record.test = test.map(|sums| sums.metrics());
            }
            self.progress.end(&record);
            at.history.epochs.push(record);
            ended = watch.ends(collective, at.step, |own| own.epoch(&record))?;
            if self.saving.due_after(&at, ended || self.is_over(&at)) {
                let snapshot = self.worker.snapshot()?;
                self.saving.save(collective, &at, snapshot)?;
            }
        }
        watch.on_rank_0(collective, |own| own.end(&at.history))?;
        Ok(at.history)
    }

    fn is_over(&self, at: &Position) -> bool {
        match self.length {
            Length::Epochs(epochs) => at.epoch >= epochs,
            Length::Steps(limit) => at.step >= limit,
        }
    }

    /// Trains the epoch to its end, from where it is left.
    fn train_epoch<M>(&mut self, at: &mut Position) -> Result<EpochRecord>
    where
        W: Worker<M>,
    {
        let whole = self.worker.steps_per_epoch();
        let (epoch, begin) = (at.epoch, at.running);
        let before = at.step - begin.step as u64;
        let (planned, total) = match self.length {
            Length::Epochs(epochs) => (whole, epochs.saturating_mul(whole as u64)),
            Length::Steps(limit) => {
                let left = usize::try_from(limit - before).unwrap_or(whole);
                (whole.min(left), limit)
            }
        };
        let watch = self.watch;
        let (schedule, progress, saving) = (self.schedule, &self.progress, &self.saving);
        let start = Instant::now();
        let running = Cell::new(begin);
        let collective = self.collective;
        let save = |snapshot: Option<Snapshot>, data_wait: Duration| {
            let running = Running {
                duration: begin.duration + start.elapsed(),
                data_wait: begin.data_wait + data_wait,
                ..running.get()
            };
            let position = Position {
                step: before + running.step as u64,
                epoch,
                running,
                history: at.history.clone(),
            };
            saving.save(collective, &position, snapshot)
        };
        let plan = Epoch {
            number: epoch,
            begin: begin.step,
            first_step: at.step,
            steps: planned,
            factor: &|step| schedule.factor(step, total),
            due: &|step| saving.due_within(step),
            save: &save,
        };
        let mut done = |record: StepRecord| {
            let StepRecord {
                step, sums: own, ..
            } = record;
            if !own.loss.is_finite() {
                let loss = own.loss;
                return Err(Error::Diverged { epoch, step, loss });
            }
            let mut sums = running.get().sums;
            sums.add(own);
            running.set(Running {
                step: step + 1,
                sums,
                ..begin
            });
            let duration = begin.duration + start.elapsed();
            let data_wait = begin.data_wait + record.data_wait;
            progress.step(&Moment {
                epoch,
                step: step + 1,
                steps: planned,
                metrics: sums.metrics(),
                duration,
                data_wait,
                steps_left: total.saturating_sub(before + step as u64 + 1),
            });
            let metrics = own.metrics();
            let trained = TrainedStep {
                epoch,
                step,
                metrics,
                duration,
                data_wait,
            };
            watch.on_rank_0(collective, |own| own.step(&trained))
        };
        let data_wait = self.worker.train(&plan, &mut done)?;
        let Running { step, sums, .. } = running.get();
        at.step = before + step as u64;
        at.running = Running::default();
        Ok(EpochRecord {
            epoch,
            train: sums.metrics(),
            test: None,
            duration: begin.duration + start.elapsed(),
            data_wait: begin.data_wait + data_wait,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replicas;
    use crate::fit::Sums;
    use crate::nn::Sequential;
    use std::sync::Mutex;
    use std::sync::mpsc::{self, Receiver};

    /// Fails at once, and is not dropped before others have stopped.
    struct Failing<'a> {
        others: &'a Mutex<Receiver<()>>,
    }

    impl Worker<Sequential> for Failing<'_> {
        fn steps_per_epoch(&self) -> usize {
            1
        }

        fn train(
            &mut self,
            _: &Epoch<'_>,
            _: &mut dyn FnMut(StepRecord) -> Result<()>,
        ) -> Result<Duration> {
            Err(invalid("colour", "green", "red"))
        }

        fn evaluate(&mut self, _: u64, _: u64) -> Result<Option<Sums>> {
            Ok(None)
        }

        fn finish(self) -> Result<Sequential> {
            Err(invalid("colour", "green", "red"))
        }
    }

    impl Drop for Failing<'_> {
        fn drop(&mut self) {
            let _ = self.others.lock().map(|others| others.recv());
        }
    }

    #[test]
    fn the_others_learn_of_an_error_before_the_worker_is_dropped() {
        let (stopped, others) = mpsc::channel();
        let (stopped, others) = (Mutex::new(stopped), Mutex::new(others));
        let (seen, reasons) = mpsc::channel();
        let seen = Mutex::new(seen);
        let replicas = Replicas::cpu(2).unwrap().deadline(Duration::from_secs(30));
        let run = replicas.run(move |replica| {
            if replica.rank() == 0 {
                let trainer =
                    Trainer::new(|_: &Device| Err::<Sequential, _>(invalid("a", "b", "c")));
                let worker = Failing { others: &others };
                let trainer = trainer.progress(false);
                let saving = Saving::default();
                let session = Session::new(&trainer, replica, worker, false, saving);
                return session.train().map(|_| ());
            }
            let stop = replica.collective().barrier();
            let reason = stop.as_ref().unwrap_err().to_string();
            seen.lock().unwrap().send(reason).unwrap();
            stopped.lock().unwrap().send(()).unwrap();
            stop
        });
        assert_eq!(
            run.unwrap_err().to_string(),
            "colour is green, expected red"
        );
        let reason = reasons.recv().unwrap();
        assert!(reason.contains("colour is green"), "{reason}");
    }
}
