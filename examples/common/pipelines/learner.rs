//! The training that both pipelines feed.

use feedline_pipeline::{BoxError, Random};
use feedline_trainer::engine::{Batch, Engine};
use feedline_trainer::nn::{Pass, Sequential};
use feedline_trainer::optim::{Adam, Optimizer};
use tracing::trace_span;

use super::TARGET;

const LEARNING_RATE: f32 = 0.001;

/// A network and what it has learnt, on all cores.
pub(crate) struct Learner {
    engine: Engine,
    values: Vec<f32>,
    statistics: Vec<f32>,
    gradients: Vec<f32>,
    adam: Adam,
    seed: u64,
    step: u64,
}

impl Learner {
    pub(crate) fn new(network: &Sequential, seed: u64) -> Result<Self, BoxError> {
        let engine = Engine::new(network).ok_or("this network needs candle's tape")?;
        let (values, statistics) = Engine::read(network)?;
        Ok(Self {
            engine,
            gradients: vec![0.0; values.len()],
            values,
            statistics,
            adam: Adam::new(LEARNING_RATE),
            seed,
            step: 0,
        })
    }

    /// One step, on `[rows, channels, height, width]` numbers and `[rows]` labels. Returns the sum of the rows' losses.
    pub(crate) fn train(&mut self, images: &[f32], labels: &[u32]) -> Result<f64, BoxError> {
        let _span = trace_span!(target: TARGET, "train").entered();
        let totals = self.engine.gradients(
            &self.values,
            &mut self.statistics,
            Batch { images, labels },
            1.0 / labels.len() as f32,
            &Pass::training(self.seed, self.step, 0),
            &mut self.gradients,
        )?;
        self.adam.step(&mut self.values, &self.gradients, 1.0);
        self.step += 1;
        Ok(totals.loss)
    }

    /// How many of the rows the network gets right.
    pub(crate) fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<usize, BoxError> {
        let _span = trace_span!(target: TARGET, "evaluate").entered();
        let batch = Batch { images, labels };
        let totals = self
            .engine
            .evaluate(&self.values, &self.statistics, batch)?;
        Ok(totals.correct)
    }

    /// Follows from every bit of the weights: two learners that agree have seen the same batches.
    pub(crate) fn fingerprint(&self) -> u64 {
        let numbers = self.values.iter().chain(&self.statistics);
        numbers.fold(0, |hash, number| {
            Random::new([hash, u64::from(number.to_bits())]).next_u64()
        })
    }
}
