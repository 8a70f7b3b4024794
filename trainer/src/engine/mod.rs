//! Networks on the CPU without candle's tape.
//!
//! An [`Engine`] runs a [`Sequential`] forward and backward with operations of our own, on buffers that it keeps: no
//! step allocates. What stands behind a convolution or a fully connected layer (the rectifier, the max-pool) is computed
//! with it. [`Trainer`](crate::Trainer) uses one by itself wherever there is one; in a training loop of your own:
//!
//! ```
//! use candle_core::Device;
//! use feedline_pipeline::dataset::Generated;
//! use feedline_pipeline::{Loader, Tail, Transform};
//! use feedline_trainer::engine::{Batch, Engine};
//! use feedline_trainer::nn::{Flatten, Linear, Pass, Sequential};
//! use feedline_trainer::optim::{Adam, Optimizer, Schedule};
//!
//! let data = Generated::open(500, 100)?;
//! let loader = |source| Loader::builder(source).batch_size(32).transform(Transform::new().scale());
//! let mut train = loader(data.train).shuffle(true).tail(Tail::Drop).build()?;
//! let mut test = loader(data.test).tail(Tail::Pad).build()?;
//!
//! let network = Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10));
//! let network = network.build(42, &Device::Cpu)?;
//! let mut engine = Engine::new(&network).expect("all layers are nn's");
//! let (mut values, mut statistics) = Engine::read(&network)?;
//! let mut gradients = vec![0.0; values.len()];
//! let (mut adam, schedule) = (Adam::new(0.002), Schedule::cosine(0.1));
//! let (epochs, mut step) = (2, 0);
//! let steps = epochs * train.plan().steps as u64;
//! for epoch in 0..epochs {
//!     for batch in train.epoch(epoch) {
//!         let batch = batch?;
//!         let rows = Batch { images: batch.pixels(), labels: batch.labels() };
//!         let mean = 1.0 / rows.labels.len() as f32;
//!         let pass = Pass::training(42, step, batch.info().first_row);
//!         engine.gradients(&values, &mut statistics, rows, mean, &pass, &mut gradients)?;
//!         adam.step(&mut values, &gradients, schedule.factor(step, steps));
//!         step += 1;
//!     }
//!     let mut correct = 0;
//!     for batch in test.epoch(epoch) {
//!         let batch = batch?;
//!         // The last batch is padded: only its first rows are samples.
//!         let samples = batch.info().samples;
//!         let pixels = samples * batch.shape().elements();
//!         let rows = Batch { images: &batch.pixels()[..pixels], labels: &batch.labels()[..samples] };
//!         correct += engine.evaluate(&values, &statistics, rows)?.correct;
//!     }
//!     println!("{correct} of 100 test pictures");
//! }
//! Engine::write(&network, &values, &statistics)?; // for `network.forward`
//! # Ok::<(), feedline_trainer::Error>(())
//! ```
//!
//! Work is spread over the threads of the rayon pool that the engine is called in. Sums are taken in an order that does
//! not depend on them, so results are the same to the bit for any number of threads.

mod batch_norm;
mod compile;
mod convolution;
mod linear;
mod residual;
mod simple;
mod stage;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::kernel::Isa;

use std::sync::Arc;

use rayon::prelude::*;

use crate::collective::Collective;
use crate::error::{Result, invalid};
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::{Picture, SLACK};
use crate::kernel::{layout, loss};
use crate::nn::{Model, Parameter, Pass, Sequential, flat};
use compile::Compiled;
use stage::{Data, Moment, Rows, Statistics};

/// A [`Sequential`] made ready to train fast on the CPU.
#[derive(Debug)]
pub struct Engine {
    isa: Isa,
    network: Compiled,
    /// What goes into each stage, and at last the logits.
    activations: Vec<Buffer>,
    /// Gradients of what came out of a stage, and of what went in.
    d_output: Buffer,
    d_input: Buffer,
    /// For what is computed over the rows of all replicas.
    collective: Option<Arc<dyn Collective>>,
    /// Of labels, in training.
    smoothing: f32,
}

/// Pictures and their labels.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[rows, channels, height, width]`, one number after the other.
    pub images: &'a [f32],
    /// `[rows]`
    pub labels: &'a [u32],
}

/// Sums over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// The cross-entropies, in nats.
    pub loss: f64,
    /// How many rows' largest logit was their label's.
    pub correct: usize,
}

impl Engine {
    /// How many numbers [`gradients_with`](Self::gradients_with) puts behind the gradients.
    pub const TOTALS: usize = 2;

    /// `None` if a layer of the network is not one of [`nn`](crate::nn)'s, or has settings that only candle's tape can
    /// do (pools with windows above 16×16 pixels), or if what comes out is not one row of logits per picture.
    pub fn new(network: &Sequential) -> Option<Self> {
        let network = compile::compile(network)?;
        Some(Self {
            isa: Isa::detect(),
            activations: (0..=network.stages.len())
                .map(|_| Buffer::default())
                .collect(),
            network,
            d_output: Buffer::default(),
            d_input: Buffer::default(),
            collective: None,
            smoothing: 0.0,
        })
    }

    /// Computes with these instructions instead of the fastest that the processor has. Without them, with portable ones.
    #[must_use]
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Computes as one of several replicas, each of which has other rows of the same batch: layers that ask for it
    /// ([`BatchNorm::synchronized`](crate::nn::BatchNorm::synchronized)) see the rows of all. Every replica must then call
    /// [`gradients`](Self::gradients) for each batch.
    #[must_use]
    pub fn collective(self, collective: Arc<dyn Collective>) -> Self {
        Self {
            collective: Some(collective),
            ..self
        }
    }

    /// Smooths the labels that [`gradients`](Self::gradients) are computed for, and its loss, as
    /// [`smoothed_cross_entropy`](crate::nn::smoothed_cross_entropy) does; [`evaluate`](Self::evaluate) does not.
    #[must_use]
    pub fn label_smoothing(self, smoothing: f32) -> Self {
        Self { smoothing, ..self }
    }

    /// A network's numbers as engines take them: those that are trained, one parameter after the other, and the others,
    /// which training passes change.
    ///
    /// # Errors
    ///
    /// candle's, if a parameter can't be read.
    pub fn read(network: &Sequential) -> Result<(Vec<f32>, Vec<f32>)> {
        let (trained, others) = parts(network);
        Ok((flat::read(&trained)?, flat::read(&others)?))
    }

    /// Gives a network the numbers that it was trained to: the opposite of [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) if there are more or fewer of them; candle's, if a parameter
    /// can't be written.
    pub fn write(network: &Sequential, values: &[f32], statistics: &[f32]) -> Result<()> {
        let (trained, others) = parts(network);
        check("number of parameters", values.len(), flat::length(&trained))?;
        check(
            "number of statistics",
            statistics.len(),
            flat::length(&others),
        )?;
        flat::write(&trained, values)?;
        flat::write(&others, statistics)
    }

    /// Forward and backward: `gradients` become those of `share` times the sum of the rows' cross-entropies, in the
    /// order of `values`. `statistics` follow the batch, if the pass is a training pass.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) if a length does not fit, a label is no class, or there are no
    /// rows; the [collective](Self::collective)'s.
    pub fn gradients(
        &mut self,
        values: &[f32],
        statistics: &mut [f32],
        batch: Batch<'_>,
        share: f32,
        pass: &Pass,
        gradients: &mut [f32],
    ) -> Result<Totals> {
        check("number of gradients", gradients.len(), self.network.values)?;
        self.back_and_forth(
            values,
            statistics,
            batch,
            share,
            pass,
            gradients,
            &mut |_, _| {},
        )
    }

    /// As [`gradients`](Self::gradients), for replicas that sum theirs while this still runs: `sums` has
    /// [`TOTALS`](Self::TOTALS) numbers more than there are gradients, which become the loss and the number of right
    /// answers. As soon as more of `sums` is final, `ready` is called with the place from which on that is so, and with all
    /// of `sums`; the last time with 0. The last layers' gradients are final first.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
    pub fn gradients_with(
        &mut self,
        values: &[f32],
        statistics: &mut [f32],
        batch: Batch<'_>,
        share: f32,
        pass: &Pass,
        sums: &mut [f32],
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Totals> {
        let expected = self.network.values + Self::TOTALS;
        check("number of gradients and totals", sums.len(), expected)?;
        self.back_and_forth(values, statistics, batch, share, pass, sums, ready)
    }

    /// `sums` may end with the gradients, or with the totals.
    #[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
    fn back_and_forth(
        &mut self,
        values: &[f32],
        statistics: &mut [f32],
        batch: Batch<'_>,
        share: f32,
        pass: &Pass,
        sums: &mut [f32],
        ready: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Totals> {
        let statistics = match pass.is_training() {
            true => Statistics::Training(statistics),
            false => Statistics::Evaluation(statistics),
        };
        let collective = self.collective.clone();
        let moment = Moment {
            isa: self.isa,
            rows: batch.labels.len(),
            pass,
            collective: collective.as_deref(),
        };
        self.forward(values, statistics, batch, &moment, true)?;
        let totals = self.lose(batch.labels, share, self.smoothing);
        let own = [totals.loss as f32, totals.correct as f32];
        let places = sums[self.network.values..].iter_mut();
        places.zip(own).for_each(|(place, own)| *place = own);
        let stages = self.network.stages.iter_mut().enumerate().rev();
        for (index, stage) in stages {
            let gradients = &mut sums[..self.network.values];
            let rows = Rows {
                input: &self.activations[index],
                output: &self.activations[index + 1],
                d_output: &mut self.d_output,
            };
            if index == self.network.first_trained {
                stage.backward(&moment, values, rows, None, gradients)?;
                ready(0, sums);
                break;
            }
            self.d_input.reserve(self.activations[index].len());
            let d_input = Some(&mut *self.d_input);
            stage.backward(&moment, values, rows, d_input, gradients)?;
            std::mem::swap(&mut self.d_input, &mut self.d_output);
            if let Some(from) = stage.first_value() {
                ready(from, sums);
            }
        }
        Ok(totals)
    }

    /// Forward as in evaluation.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn evaluate(
        &mut self,
        values: &[f32],
        statistics: &[f32],
        batch: Batch<'_>,
    ) -> Result<Totals> {
        let statistics = Statistics::Evaluation(statistics);
        let moment = Moment {
            isa: self.isa,
            rows: batch.labels.len(),
            pass: &Pass::evaluation(),
            collective: None,
        };
        self.forward(values, statistics, batch, &moment, false)?;
        Ok(self.lose(batch.labels, 0.0, 0.0))
    }

    /// Computes all activations, and prepares the way `back` if there will be one.
    fn forward(
        &mut self,
        values: &[f32],
        mut statistics: Statistics<'_>,
        batch: Batch<'_>,
        moment: &Moment<'_>,
        back: bool,
    ) -> Result<()> {
        let logits = self.logits();
        let Compiled {
            input,
            stages,
            values: trained,
            statistics: others,
            first_trained,
        } = &mut self.network;
        let (rows, classes) = (moment.rows, logits.channels);
        let picture = input.channels * input.pixels();
        if rows == 0 {
            return Err(invalid("number of rows", rows, "at least 1"));
        }
        check("number of parameters", values.len(), *trained)?;
        check("number of statistics", statistics.len(), *others)?;
        check("numbers of the images", batch.images.len(), rows * picture)?;
        if let Some(label) = batch
            .labels
            .iter()
            .find(|&&label| label as usize >= classes)
        {
            let expected = format!("below {classes}, the number of logits");
            return Err(invalid("label", label, expected));
        }
        self.activations[0].reserve(rows * input.len() + SLACK);
        let pictures = self.activations[0].par_chunks_exact_mut(input.len());
        pictures
            .zip(batch.images.par_chunks_exact(picture))
            .with_min_len(16)
            .for_each(|(pixels, channels)| layout::to_pixels(input, channels, pixels));
        let first_trained = *first_trained;
        stages
            .par_iter_mut()
            .enumerate()
            .for_each(|(index, stage)| {
                stage.prepare(moment, values, back && index > first_trained);
            });
        for (index, stage) in stages.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(index + 1);
            let (input, output) = (&before[index], &mut after[0]);
            output.reserve(rows * stage.output().len() + SLACK);
            let data = Data {
                values,
                statistics: statistics.reborrow(),
            };
            stage.forward(moment, data, input, output)?;
        }
        Ok(())
    }

    /// The losses of the logits, and their gradients in `d_output`.
    fn lose(&mut self, labels: &[u32], share: f32, smoothing: f32) -> Totals {
        let logits = self.logits();
        let activations = &self.activations[self.network.stages.len()];
        self.d_output.reserve(activations.len());
        let mut totals = Totals::default();
        let rows = self.d_output.chunks_exact_mut(logits.stride);
        let rows = rows
            .zip(activations.chunks_exact(logits.stride))
            .zip(labels);
        for ((gradient, activations), &label) in rows {
            gradient.copy_from_slice(activations);
            let row = &mut gradient[..logits.channels];
            // Labels were looked at before anything was computed.
            let loss = loss::smoothed_cross_entropy(row, label, share, smoothing);
            let Some((loss, right)) = loss else {
                continue;
            };
            totals.loss += f64::from(loss);
            totals.correct += usize::from(right);
        }
        totals
    }

    fn logits(&self) -> Picture {
        let last = self.network.stages.last();
        last.map_or(self.network.input, |stage| stage.output())
    }
}

/// The parameters that are trained, and the others.
fn parts(network: &Sequential) -> (Vec<Parameter>, Vec<Parameter>) {
    let parameters = network.parameters().iter().cloned();
    parameters.partition(|own| own.trainable)
}

fn check(name: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(invalid(name, found, expected))
}
