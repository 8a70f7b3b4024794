//! A replica's copy of the model, and what computes with it.

use candle_core::Device;
use feedline_pipeline::loader::LoaderState;
use feedline_pipeline::{HostBatch, Shape};

use super::averaging::Averaging;
use super::objective::Objective;
use super::parts::Parts;
use super::recipe::Recipe;
use super::tape;
use crate::checkpoint::{Checkpoint, Snapshot, key, of_all_ranks};
use crate::collective::Collective;
use crate::engine::{Batch, Engine, Totals};
use crate::error::{Result, invalid};
use crate::nn::flat;
use crate::nn::{Model, Pass};
use crate::optim::{Optimizer, OptimizerState};
use crate::parallel::Replica;

/// The rows of a batch that hold samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// Of one row.
    pub(super) shape: Shape,
    pub(super) images: &'a [f32],
    pub(super) labels: &'a [u32],
}

impl<'a> Rows<'a> {
    pub(super) fn of(batch: &'a HostBatch) -> Self {
        let (samples, shape) = (batch.info().samples, batch.shape());
        Self {
            shape,
            images: &batch.pixels()[..samples * shape.elements()],
            labels: &batch.labels()[..samples],
        }
    }

    fn batch(self) -> Batch<'a> {
        Batch {
            images: self.images,
            labels: self.labels,
        }
    }
}

/// One replica's model, and the numbers in it side by side, which is how collectives and optimizers take them.
///
/// If the model has an engine, the numbers are all there is while training runs, and the model's variables get them at
/// the end. Without one, or with a loss that it does not know, candle's tape computes with the variables, so that they follow each change.
pub(super) struct Learner<M> {
    model: M,
    device: Device,
    engine: Option<Engine>,
    parts: Parts,
    /// Of those that gradients change, and of the others.
    values: Vec<f32>,
    statistics: Vec<f32>,
    averaging: Option<Averaging>,
    objective: Objective,
}

impl<M: Model> Learner<M> {
    /// Begins with what rank 0 has, even if the model's own seed is not fixed.
    pub(super) fn new(
        model: M,
        replica: &Replica,
        recipe: &Recipe,
        objective: Objective,
    ) -> Result<Self> {
        let parts = Parts::of(&model);
        let (values, statistics) = parts.of_rank_0(replica.collective())?;
        parts.write(&values, &statistics)?;
        let engine = match objective {
            Objective::CrossEntropy { label_smoothing } => model.engine().map(|engine| {
                let engine = engine.label_smoothing(label_smoothing);
                engine.collective(replica.shared_collective())
            }),
            Objective::Own(_) => None,
        };
        let averaging = recipe.averaging.map(|decay| Averaging::new(decay, &values));
        Ok(Self {
            engine,
            device: replica.device().clone(),
            model,
            parts,
            values,
            statistics,
            averaging,
            objective,
        })
    }

    /// Whether an engine learns; candle's tape does if not.
    pub(super) fn has_engine(&self) -> bool {
        self.engine.is_some()
    }

    /// How many numbers each of the parameters has that are trained, in their order.
    pub(super) fn lengths(&self) -> impl Iterator<Item = usize> {
        self.parts.trained.iter().map(|own| own.value.elem_count())
    }

    /// The shapes of the parameters that are trained, in their order.
    pub(super) fn shapes(&self) -> Vec<Vec<usize>> {
        let trained = self.parts.trained.iter();
        trained.map(|own| own.value.dims().to_vec()).collect()
    }

    /// Makes `sums` the gradients of `share` times the sum of the rows' losses, and behind them the loss and the
    /// number of right answers. Calls `ready` as [`Engine::gradients_with`] does; candle's tape has all gradients at the
    /// end only, and so calls it once.
    pub(super) fn gradients(
        &mut self,
        rows: Rows<'_>,
        share: f32,
        pass: &Pass,
        sums: &mut [f32],
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        if let Some(engine) = &mut self.engine {
            let statistics = &mut self.statistics;
            let batch = rows.batch();
            engine.gradients_with(&self.values, statistics, batch, share, pass, sums, ready)?;
            return Ok(());
        }
        let (gradients, totals) = sums.split_at_mut(self.values.len());
        let own = tape::gradients(
            &self.model,
            &self.parts.trained,
            rows,
            &self.device,
            (share, &self.objective),
            pass,
            gradients,
        )?;
        totals.copy_from_slice(&[own.loss as f32, own.correct as f32]);
        ready(0, sums);
        Ok(())
    }

    /// Makes step `step`, counted over all epochs.
    pub(super) fn step(
        &mut self,
        step: u64,
        optimizer: &mut impl Optimizer,
        gradients: &[f32],
        learning_rate_factor: f32,
    ) -> Result<()> {
        optimizer.step(&mut self.values, gradients, learning_rate_factor);
        if let Some(averaging) = &mut self.averaging {
            averaging.take_in(step, &self.values);
        }
        self.show_values()
    }

    /// Takes the averaged weights, if they are averaged, for the others; a second call takes them back.
    pub(super) fn swap_average(&mut self) -> Result<()> {
        let Some(averaging) = &mut self.averaging else {
            return Ok(());
        };
        std::mem::swap(&mut self.values, &mut averaging.values);
        self.show_values()
    }

    /// Gives the model the values if it is what computes with them.
    fn show_values(&self) -> Result<()> {
        match self.engine {
            Some(_) => Ok(()),
            None => flat::write(&self.parts.trained, &self.values),
        }
    }

    /// Goes on from a checkpoint.
    pub(super) fn restore(
        &mut self,
        checkpoint: &Checkpoint,
        replica: &Replica,
        optimizer: &mut impl Optimizer,
    ) -> Result<()> {
        checkpoint.check(self.model.parameters())?;
        self.values = checkpoint.values(&self.parts.trained)?;
        let rank = (replica.rank(), replica.world_size());
        self.statistics = checkpoint.statistics(&self.parts.untrained, rank)?;
        self.parts.write(&self.values, &self.statistics)?;
        let mut kept = checkpoint.optimizer();
        if let Some(averaging) = &mut self.averaging {
            averaging.values = kept.take(key::AVERAGE, &[self.values.len()])?;
        }
        optimizer.restore(kept, self.values.len())
    }

    /// What a checkpoint holds. All replicas must call this; rank 0 alone gets it.
    pub(super) fn snapshot(
        &mut self,
        collective: &dyn Collective,
        optimizer: &impl Optimizer,
        loader: impl FnOnce() -> feedline_pipeline::Result<LoaderState>,
    ) -> Result<Option<Snapshot>> {
        self.read_statistics()?;
        let statistics = of_all_ranks(&self.statistics, collective)?;
        if collective.rank() != 0 {
            return Ok(None);
        }
        let state: Option<OptimizerState> = optimizer.state();
        let mut state = state.ok_or_else(|| invalid("optimizer", "without a state", "one"))?;
        if let Some(averaging) = &self.averaging {
            state = state.buffer(key::AVERAGE, averaging.values.clone());
        }
        Ok(Some(Snapshot::new(
            (&self.parts.trained, &self.values),
            (&self.parts.untrained, &statistics),
            &state,
            loader()?,
        )))
    }

    /// On the tape the model's variables have them.
    fn read_statistics(&mut self) -> Result<()> {
        if self.engine.is_none() {
            self.statistics = flat::read(&self.parts.untrained)?;
        }
        Ok(())
    }

    /// Takes over the statistics of rank 0: each replica has seen other rows.
    pub(super) fn share_statistics(&mut self, collective: &dyn Collective) -> Result<()> {
        self.read_statistics()?;
        collective.broadcast(&mut self.statistics)?;
        if self.engine.is_none() {
            flat::write(&self.parts.untrained, &self.statistics)?;
        }
        Ok(())
    }

    /// Loss and right answers, as in evaluation.
    pub(super) fn evaluate(&mut self, rows: Rows<'_>) -> Result<Totals> {
        match &mut self.engine {
            Some(engine) => engine.evaluate(&self.values, &self.statistics, rows.batch()),
            None => tape::evaluate(&self.model, rows, &self.device, &self.objective),
        }
    }

    /// The trained model.
    pub(super) fn finish(mut self) -> Result<M> {
        self.swap_average()?;
        if self.engine.is_some() {
            self.parts.write(&self.values, &self.statistics)?;
        }
        Ok(self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::tests::OnTape;
    use crate::fit::{Fitted, Input, Trainer};
    use crate::nn::{
        BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Padding, Relu, Sequential,
    };
    use crate::optim::{Adam, Sgd};
    use crate::parallel::Replicas;
    use feedline_pipeline::{Random, Transform, source::InMemory};
    use std::sync::Arc;

    const SHAPE: Shape = Shape::new(2, 6, 5);

    fn input(samples: usize) -> Input {
        let mut random = Random::new([samples as u64]);
        let pixels = (0..samples * SHAPE.elements()).map(|_| random.below(256) as u8);
        let labels = (0..samples as u32).map(|index| index % 3);
        let source = InMemory::new(SHAPE, 3, pixels.collect(), labels.collect());
        Input::new(Arc::new(source.unwrap()), Transform::new().scale())
    }

    fn network(device: &Device) -> Result<Sequential> {
        Sequential::builder([2, 6, 5])
            .add(Conv2d::new(5, 3).padding(Padding::Same))
            .add(Relu)
            .add(MaxPool2d::new(2, 2))
            .add(BatchNorm::new())
            .add(Flatten)
            .add(Dropout::new(0.3))
            .add(Linear::new(3))
            .build(1, device)
    }

    /// Seven steps on 2 replicas.
    fn fit<M: Model>(
        model: fn(&Device) -> Result<M>,
        optimizer: impl Optimizer,
        threads: usize,
    ) -> Fitted<M> {
        let replicas = Replicas::cpu(2).unwrap().threads(threads).unwrap();
        let trainer = Trainer::new(model).optimizer(optimizer).replicas(replicas);
        let trainer = trainer.batch_size(16).steps(7).progress(false);
        trainer.fit(input(50), Some(input(21))).unwrap()
    }

    fn on_tape(device: &Device) -> Result<OnTape> {
        network(device).map(OnTape)
    }

    fn numbers(model: &impl Model) -> Vec<f32> {
        flat::read(model.parameters()).unwrap()
    }

    #[test]
    fn an_engine_and_the_tape_learn_the_same() {
        // Not Adam, which makes whole steps of gradients that are nothing but rounding.
        let sgd = Sgd::new(0.1).momentum(0.9);
        let by_engine = fit(network, sgd.clone(), 1);
        let on_tape = fit(on_tape, sgd, 1);
        let pairs = numbers(&by_engine.model).into_iter();
        for (engine, tape) in pairs.zip(numbers(&on_tape.model)) {
            assert!((engine - tape).abs() < 1e-4, "{engine} and {tape}");
        }
        let epochs = by_engine.history.epochs.iter();
        for (engine, tape) in epochs.zip(&on_tape.history.epochs) {
            let tests = (engine.test.unwrap(), tape.test.unwrap());
            for (engine, tape) in [(engine.train, tape.train), tests] {
                assert_eq!(engine.samples, tape.samples);
                assert!((engine.loss - tape.loss).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        fn check<M: Model>(model: fn(&Device) -> Result<M>) {
            let one = numbers(&fit(model, Adam::default(), 1).model);
            for threads in [2, 3] {
                assert_eq!(one, numbers(&fit(model, Adam::default(), threads).model));
            }
        }
        check(on_tape);
        check(network);
    }

    /// Adds 1 to every parameter.
    #[derive(Debug, Clone)]
    struct AddOne;

    impl Optimizer for AddOne {
        fn check(&self) -> Result<()> {
            Ok(())
        }

        fn step(&mut self, parameters: &mut [f32], _gradients: &[f32], _factor: f32) {
            parameters.iter_mut().for_each(|own| *own += 1.0);
        }
    }

    #[test]
    fn the_model_has_what_was_learnt_when_training_is_over() {
        fn check<M: Model>(model: fn(&Device) -> Result<M>) {
            let values = |model: &M| {
                let trained = model.parameters().iter().filter(|own| own.trainable);
                flat::read(&trained.cloned().collect::<Vec<_>>()).unwrap()
            };
            let before = values(&model(&Device::Cpu).unwrap());
            let after = values(&fit(model, AddOne, 1).model);
            for (before, after) in before.into_iter().zip(after) {
                assert!((before + 7.0 - after).abs() < 1e-5, "{before} and {after}");
            }
        }
        check(on_tape);
        check(network);
    }
}
