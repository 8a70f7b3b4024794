//! A replica on a GPU, whose batches never leave it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::CudaSlice;
use feedline_pipeline::bf16;
use feedline_pipeline::cuda::{CudaElement, CudaLoader, Layout};
use feedline_pipeline::loader::LoaderBuilder;
use tracing::debug_span;

use super::parts::Parts;
use super::session::Session;
use super::worker::{Epoch, StepRecord, Sums, Worker};
use super::{Fitted, Input, Trainer, loaders};
use crate::collective::{Buckets, Communicator, DeviceReducer, Phase, Reduction};
use crate::cuda::{Engine, Exchange, PendingTotals, Real};
use crate::error::{Error, Result, invalid};
use crate::nn::{Model, Pass};
use crate::optim::{Optimizer, Rule};
use crate::parallel::Replica;
use crate::precision::Precision;

/// Trains a model on the replica's GPU. Gives it back if there is none, or if no engine there knows its layers, its
/// optimizer or its loss: then it is for candle's tape.
pub(super) fn run<M: Model, F, O: Optimizer>(
    trainer: &Trainer<F, O>,
    replica: &Replica,
    model: M,
    sets: (&Input, Option<&Input>),
) -> Result<ControlFlow<Fitted<M>, M>> {
    match trainer.precision {
        Precision::F32 => run_as::<M, f32, F, O>(trainer, replica, model, sets, false),
        Precision::Tf32 => run_as::<M, f32, F, O>(trainer, replica, model, sets, true),
        Precision::Bf16 => run_as::<M, bf16, F, O>(trainer, replica, model, sets, false),
    }
}

fn run_as<M: Model, T: Real + CudaElement, F, O: Optimizer>(
    trainer: &Trainer<F, O>,
    replica: &Replica,
    model: M,
    sets: (&Input, Option<&Input>),
    tf32: bool,
) -> Result<ControlFlow<Fitted<M>, M>> {
    let (Some(communicator), Some(rule)) = (replica.communicator(), trainer.optimizer.rule())
    else {
        return Ok(ControlFlow::Continue(model));
    };
    if trainer.loss.is_some() {
        return Ok(ControlFlow::Continue(model));
    }
    let Some(network) = model.sequential() else {
        return Ok(ControlFlow::Continue(model));
    };
    let Some(engine) = Engine::<T>::new(network, communicator.gpu())? else {
        return Ok(ControlFlow::Continue(model));
    };
    trainer.recipe.check_for_gpus()?;
    if trainer.saving.is_on() {
        let expected = "none: the engine for GPUs can't save its state yet, so train on the CPU or without them";
        return Err(invalid("checkpoints", "asked for", expected));
    }
    let classes = sets.0.source.classes();
    let engine = engine.tf32(tf32);
    let worker = GpuWorker::new(trainer, replica, communicator, (model, engine), rule, sets)?;
    worker.check_shapes(classes)?;
    Session::new(
        trainer,
        replica,
        worker,
        sets.1.is_some(),
        trainer.saving.clone(),
    )
    .train()
    .map(ControlFlow::Break)
}

/// A replica that computes on a GPU, some steps behind this thread.
pub(super) struct GpuWorker<M, T: Real + CudaElement> {
    communicator: Arc<Communicator>,
    model: M,
    parts: Parts,
    /// Before the engine, so that it is dropped first: until then the engine's sums may be on their way.
    reducer: DeviceReducer,
    engine: Engine<T>,
    rule: Rule,
    train: CudaLoader<T>,
    test: Option<CudaLoader<T>>,
    seed: u64,
    /// Steps whose totals the device may still be computing.
    pending: VecDeque<Pending>,
}

/// A step that was queued.
struct Pending {
    step: usize,
    samples: usize,
    totals: PendingTotals,
}

impl<M: Model, T: Real + CudaElement> GpuWorker<M, T> {
    /// Builds everything, so that what can't work fails before training starts.
    pub(super) fn new<F, O>(
        trainer: &Trainer<F, O>,
        replica: &Replica,
        communicator: &Arc<Communicator>,
        (model, mut engine): (M, Engine<T>),
        rule: Rule,
        (train, test): (&Input, Option<&Input>),
    ) -> Result<Self> {
        let load = |loader: LoaderBuilder| {
            let loader = loader
                .cuda(communicator.gpu())
                .element::<T>()
                .layout(Layout::Nhwc);
            loader.resident(trainer.resident).build()
        };
        let (train_loader, test_loader) = loaders::describe(trainer, replica, train, test)?;
        let train_loader = load(train_loader)?;
        let test_loader = test_loader.map(load).transpose()?;
        let parts = Parts::of(&model);
        let (values, statistics) = parts.of_rank_0(replica.collective())?;
        engine.upload(&values, &statistics)?;
        let overlap = trainer.overlap.unwrap_or(true);
        let (lengths, sizes) = (engine.lengths(), trainer.bucket_sizes);
        let buckets = Buckets::with_sizes(lengths, Engine::<T>::TOTALS, sizes);
        let mut reducer = DeviceReducer::new(Arc::clone(communicator), buckets, overlap);
        if trainer.gradients_in_bf16 {
            reducer = reducer.in_bf16(Engine::<T>::TOTALS)?;
        }
        Ok(Self {
            communicator: Arc::clone(communicator),
            model,
            parts,
            engine,
            rule,
            train: train_loader,
            test: test_loader,
            seed: trainer.seed,
            reducer,
            pending: VecDeque::new(),
        })
    }

    /// Refuses sets that are not what the network takes and gives.
    fn check_shapes(&self, classes: usize) -> Result<()> {
        let Some(network) = self.model.sequential() else {
            return Ok(());
        };
        let test = self.test.as_ref().map(|test| ("test", test.plan().shape));
        for (set, shape) in [("training", self.train.plan().shape)]
            .into_iter()
            .chain(test)
        {
            let pictures = [shape.channels, shape.height, shape.width];
            let (input, output) = (network.input(), network.output());
            if input != pictures || output != [classes] {
                return Err(Error::InvalidModel {
                    layer: format!("the model on a picture of the {set} set, {shape}"),
                    reason: format!(
                        "it takes {input:?} and gives {output:?}; the data have {pictures:?} and {classes} classes"
                    ),
                });
            }
        }
        Ok(())
    }
}

/// Waits until the device has done all that is queued, unless another replica fails or is missing.
fn wait(communicator: &Communicator, step: u64, phase: Phase) -> Result<()> {
    let event = communicator.gpu().stream().record_event(None);
    let event = event.map_err(Error::cuda("record an event"))?;
    communicator.wait(&event, step, phase)
}

/// Reports the steps that are surely done: all but the last `ahead`. So long was `data_wait` so far.
fn report(
    pending: &mut VecDeque<Pending>,
    ahead: usize,
    data_wait: Duration,
    done: &mut dyn FnMut(StepRecord) -> Result<()>,
) -> Result<()> {
    while pending.len() > ahead
        && let Some(Pending {
            step,
            samples,
            totals,
        }) = pending.pop_front()
    {
        let totals = totals.wait()?;
        let sums = Sums {
            loss: totals.loss,
            correct: totals.correct as f64,
            samples: samples as f64,
        };
        done(StepRecord {
            step,
            sums,
            data_wait,
        })?;
    }
    Ok(())
}

impl<M: Model, T: Real + CudaElement> Worker<M> for GpuWorker<M, T> {
    fn steps_per_epoch(&self) -> usize {
        self.train.plan().steps
    }

    fn train(
        &mut self,
        epoch: &Epoch<'_>,
        done: &mut dyn FnMut(StepRecord) -> Result<()>,
    ) -> Result<Duration> {
        let mut waited = Duration::ZERO;
        let mut batches = self.train.epoch(epoch.number);
        self.pending.clear();
        for (step, number) in (0..epoch.steps).zip(epoch.first_step..) {
            let before = Instant::now();
            self.communicator.note(number, Phase::Data);
            let Some(batch) = batches.next().transpose()? else {
                break;
            };
            waited += before.elapsed();
            // Until it is queued: nothing here waits until it is done.
            let _training =
                debug_span!(target: "feedline_trainer", "train", epoch = epoch.number, step)
                    .entered();

            let info = batch.info();
            let pass = Pass::training(self.seed, number, info.first_row);
            let share = (1.0 / info.global_samples as f64) as f32;
            self.communicator.note(number, Phase::Gradients);
            // Waits for the step before the last two at most.
            self.reducer.begin(number)?;
            report(&mut self.pending, DeviceReducer::AHEAD, waited, done)?;
            let (images, labels) = (batch.images(), batch.labels());
            let mut exchange = Sharing {
                communicator: &self.communicator,
                reducer: &mut self.reducer,
            };
            self.engine
                .gradients(&images, &labels, info.samples, share, &pass, &mut exchange)?;
            self.reducer.join(self.engine.sums())?;
            let totals = self.engine.totals_later()?;
            self.communicator.note(number, Phase::Optimizer);
            self.engine.step(&self.rule, (epoch.factor)(number))?;
            self.pending.push_back(Pending {
                step,
                samples: info.global_samples,
                totals,
            });
        }
        drop(batches);
        let last = epoch.first_step + epoch.steps.saturating_sub(1) as u64;
        wait(&self.communicator, last, Phase::Gradients)?;
        report(&mut self.pending, 0, waited, done)?;
        Ok(waited)
    }

    fn evaluate(&mut self, epoch: u64, steps: u64) -> Result<Option<Sums>> {
        let Some(loader) = &mut self.test else {
            return Ok(None);
        };
        let _evaluating = debug_span!(target: "feedline_trainer", "evaluate", epoch).entered();
        self.communicator.note(steps, Phase::Statistics);
        // Each replica has seen other rows.
        let statistics = &mut self.engine.statistics();
        self.communicator.broadcast_first(statistics)?;
        // What the loader waits for later would be late to notice that one is missing.
        wait(&self.communicator, steps, Phase::Statistics)?;
        self.communicator.note(steps, Phase::Evaluation);
        let mut samples = 0;
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            let rows = batch.info().samples;
            // In the last batch all of a replica's rows may be padding.
            if rows > 0 {
                self.engine
                    .evaluate(&batch.images(), &batch.labels(), rows)?;
                samples += rows;
            }
        }
        wait(&self.communicator, steps, Phase::Evaluation)?;
        let totals = self.engine.read_totals()?;
        let sums = Sums {
            loss: totals.loss,
            correct: totals.correct as f64,
            samples: samples as f64,
        };
        sums.over_all(&*self.communicator).map(Some)
    }

    fn finish(self) -> Result<M> {
        let (values, statistics) = self.engine.download()?;
        self.parts.write(&values, &statistics)?;
        Ok(self.model)
    }
}

/// What replicas do together while one of them computes.
struct Sharing<'a> {
    communicator: &'a Communicator,
    reducer: &'a mut DeviceReducer,
}

impl Exchange for Sharing<'_> {
    fn ready(&mut self, sums: &mut CudaSlice<f32>, from: usize) -> Result<()> {
        // SAFETY: until the `join` that follows the gradients the engine neither writes nor reads what is final. Should it
        // come to no `join`, the worker drops the reducer before the engine, whose memory this is.
        unsafe { self.reducer.ready(from, sums) }
    }

    fn sum(&mut self, numbers: &mut CudaSlice<f32>) -> Result<()> {
        let numbers = &mut numbers.as_view_mut();
        self.communicator.all_reduce(numbers, Reduction::Sum)
    }
}
