//! A training run, as one replica sees it.

use std::time::{Duration, Instant};

use candle_core::{D, DType, Device, Tensor};
use feedline_pipeline::sink::Candle;
use feedline_pipeline::{Loader, Shard, Tail, TensorBatch};

use super::history::{EpochRecord, History, Metrics};
use super::progress::Progress;
use super::{Fitted, Input, Length, Trainer, flat};
use crate::error::{Error, Result};
use crate::nn::{Model, Parameter, Pass, cross_entropy};
use crate::optim::Optimizer;
use crate::parallel::Replica;

/// One replica's model, loaders and optimizer.
pub(super) struct Session<'a, M, O> {
    replica: &'a Replica,
    model: M,
    optimizer: O,
    train: Loader<Candle>,
    test: Option<Loader<Candle>>,
    length: Length,
    seed: u64,
    progress: Progress,
    /// The parameters that are trained, and their values side by side.
    trained: Vec<Parameter>,
    values: Vec<f32>,
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
                .device(replica.device())
                .build()
        };
        let train_loader = load(train, true, Tail::Drop)?;
        let test_loader = test.map(|test| load(test, false, Tail::Pad)).transpose()?;

        let model = (trainer.model)(replica.device())?;
        flat::check(model.parameters())?;
        let classes = train.source.classes();
        try_out(&model, "training", &train_loader, classes, replica.device())?;
        if let Some(test_loader) = &test_loader {
            try_out(&model, "test", test_loader, classes, replica.device())?;
        }

        let epochs = match trainer.length {
            Length::Epochs(epochs) => epochs,
            Length::Steps(steps) => steps.div_ceil(train_loader.plan().steps as u64),
        };
        // Every replica begins with what rank 0 has, even if the model's own seed is not fixed.
        let mut all = flat::read(model.parameters())?;
        replica.collective().broadcast(&mut all)?;
        flat::write(model.parameters(), &all)?;
        let trained: Vec<_> = model
            .parameters()
            .iter()
            .filter(|own| own.trainable)
            .cloned()
            .collect();
        Ok(Self {
            replica,
            optimizer: trainer.optimizer.clone(),
            train: train_loader,
            test: test_loader,
            length: trainer.length,
            seed: trainer.seed,
            progress: Progress::new(trainer.progress && rank == 0, epochs),
            values: flat::read(&trained)?,
            trained,
            bucket: Vec::new(),
            model,
        })
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
            model: self.model,
            history,
        })
    }

    fn train_epoch(&mut self, epoch: u64, steps: &mut u64) -> Result<EpochRecord> {
        let mut planned = self.train.plan().steps;
        if let Length::Steps(limit) = self.length {
            planned = planned.min(usize::try_from(limit - *steps).unwrap_or(planned));
        }
        self.progress.begin(epoch, planned);
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

            let pass = Pass::training(self.seed, *steps, batch.info.first_row);
            compute_gradients(&self.model, &self.trained, &batch, &pass, &mut self.bucket)?;
            self.replica.collective().all_reduce_sum(&mut self.bucket)?;
            let (gradients, totals) = self.bucket.split_at(self.values.len());
            let (loss, correct) = (f64::from(totals[0]), f64::from(totals[1]));
            if !loss.is_finite() {
                return Err(Error::Diverged { epoch, step, loss });
            }
            self.optimizer.step(&mut self.values, gradients, 1.0);
            flat::write(&self.trained, &self.values)?;

            sums.loss += loss;
            sums.correct += correct;
            sums.samples += batch.info.global_samples as f64;
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
        // Running statistics differ between replicas until here; those of rank 0 count.
        let own = self.model.parameters().iter().filter(|own| !own.trainable);
        let statistics: Vec<Parameter> = own.cloned().collect();
        let mut values = flat::read(&statistics)?;
        self.replica.collective().broadcast(&mut values)?;
        flat::write(&statistics, &values)?;

        let mut sums = Sums::default();
        for batch in loader.epoch(epoch) {
            let batch = batch?;
            // In the last batch all of a replica's rows may be padding.
            if batch.info.samples == 0 {
                continue;
            }
            let (logits, labels) = answers(&self.model, &batch, &Pass::evaluation())?;
            let losses = cross_entropy(&logits, &labels)?.to_vec1::<f32>()?;
            sums.loss += losses.into_iter().map(f64::from).sum::<f64>();
            sums.correct += f64::from(count_correct(&logits, &labels)?);
            sums.samples += batch.info.samples as f64;
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

/// Shows the model one black picture, so that one that does not fit the set fails before training starts.
fn try_out(
    model: &impl Model,
    set: &str,
    loader: &Loader<Candle>,
    classes: usize,
    device: &Device,
) -> Result<()> {
    let shape = loader.plan().shape;
    let one = (1, shape.channels, shape.height, shape.width);
    let picture = Tensor::zeros(one, DType::F32, device)?;
    let fits = match model.forward(&picture, &Pass::evaluation()) {
        Err(error) => Err(error.to_string()),
        Ok(logits) if logits.dims() == [1, classes] => Ok(()),
        Ok(logits) => Err(format!(
            "the data have {classes} classes, so one picture must give logits of [1, {classes}]; they are {:?}",
            logits.dims()
        )),
    };
    fits.map_err(|reason| Error::InvalidModel {
        layer: format!("the model on a picture of the {set} set, {shape}"),
        reason,
    })
}

/// The gradients of this replica's share of the global batch's mean loss, then its summed loss and its right answers.
fn compute_gradients(
    model: &impl Model,
    trained: &[Parameter],
    batch: &TensorBatch,
    pass: &Pass,
    bucket: &mut Vec<f32>,
) -> Result<()> {
    let (logits, labels) = answers(model, batch, pass)?;
    let loss = cross_entropy(&logits, &labels)?.sum_all()?;
    let share = (&loss / batch.info.global_samples as f64)?;
    flat::gradients(trained, &share.backward()?, bucket)?;
    bucket.push(loss.to_scalar::<f32>()?);
    bucket.push(count_correct(&logits, &labels)?);
    Ok(())
}

/// Logits and labels of the rows that hold samples.
fn answers(model: &impl Model, batch: &TensorBatch, pass: &Pass) -> Result<(Tensor, Tensor)> {
    let samples = batch.info.samples;
    let logits = model.forward(&batch.images, pass)?.narrow(0, 0, samples)?;
    Ok((logits, batch.labels.narrow(0, 0, samples)?))
}

fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<f32> {
    let right = logits.detach().argmax(D::Minus1)?.eq(labels)?;
    Ok(right.to_dtype(DType::F32)?.sum_all()?.to_scalar()?)
}
