//! Batch normalization.

use rayon::prelude::*;

use super::stage::{Data, Moment, Places, Rows, Stage, Statistics, chunk_rows};
use crate::collective::{Collective, Phase};
use crate::error::Result;
use crate::kernel::batch_norm::{self, GradientLines};
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::Picture;
use crate::nn::BatchNorm;

/// Batch normalization; `places` are those of scale and shift.
#[derive(Debug)]
pub(super) struct BatchNormStage {
    layer: BatchNorm,
    shape: Picture,
    places: Places,
    /// Those of the running mean and variance among the statistics.
    running: Places,
    sums: ChunkedSums,
    /// How many pixels the batch has, in training: of all replicas, if they are synchronized.
    count: f64,
    /// Per channel: of this batch in training, else the running ones.
    mean: Vec<f32>,
    inverse: Vec<f32>,
    /// Per channel: what the pixels are multiplied by, and what is added.
    factor: Vec<f32>,
    offset: Vec<f32>,
    /// Per channel, on the way back.
    slope: Vec<f32>,
    zeros: Vec<f32>,
}

impl BatchNormStage {
    pub(super) fn new(layer: BatchNorm, shape: Picture, places: Places, running: Places) -> Self {
        let zeros = || vec![0.0; shape.stride];
        Self {
            layer,
            shape,
            places,
            running,
            sums: ChunkedSums::default(),
            count: 0.0,
            mean: zeros(),
            inverse: zeros(),
            factor: zeros(),
            offset: zeros(),
            slope: zeros(),
            zeros: zeros(),
        }
    }

    /// Takes mean and variance of the batch, and lets the running ones follow.
    fn measure(
        &mut self,
        moment: &Moment<'_>,
        input: &[f32],
        statistics: &mut [f32],
    ) -> Result<()> {
        let (row, stride, isa) = (self.shape.len(), self.shape.stride, moment.isa);
        let own = (moment.rows * self.shape.pixels()) as f64;
        let others = self.others(moment);
        let (means, variances) = self.running.split(statistics);

        self.sums.add_up(moment.rows, stride, |index, sums| {
            let pixels = &input[index * row..][..row];
            batch_norm::sum(isa, false, pixels, &self.zeros, sums);
        });
        let count = self.sums.add_others(others, own)?;
        self.count = count;
        for (channel, running) in means.iter_mut().enumerate() {
            let mean = self.sums.totals[channel] / count;
            self.mean[channel] = mean as f32;
            self.layer.follow_value(running, mean);
        }
        self.sums.add_up(moment.rows, stride, |index, sums| {
            let pixels = &input[index * row..][..row];
            batch_norm::sum(isa, true, pixels, &self.mean, sums);
        });
        self.sums.add_others(others, own)?;
        for (channel, running) in variances.iter_mut().enumerate() {
            let sum = self.sums.totals[channel];
            self.inverse[channel] = self.layer.inverse_deviation(sum / count);
            // The unbiased estimate, as PyTorch and TensorFlow's fused layer keep it.
            self.layer
                .follow_value(running, sum / (count.max(2.0) - 1.0));
        }
        Ok(())
    }

    /// The connection to those whose rows count as well.
    fn others<'a>(&self, moment: &Moment<'a>) -> Option<Others<'a>> {
        let collective = moment.collective?;
        let several = collective.world_size() > 1;
        (several && self.layer.is_synchronized()).then_some(Others {
            collective,
            step: moment.pass.step(),
        })
    }
}

impl Stage for BatchNormStage {
    fn output(&self) -> Picture {
        self.shape
    }

    fn first_value(&self) -> Option<usize> {
        Some(self.places.weight.start)
    }

    fn prepare(&mut self, _: &Moment<'_>, _: &[f32], _: bool) {}

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        data: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let row = self.shape.len();
        match data.statistics {
            Statistics::Training(statistics) => self.measure(moment, input, statistics)?,
            Statistics::Evaluation(statistics) => {
                self.mean[..self.shape.channels]
                    .copy_from_slice(&statistics[self.running.weight.clone()]);
                let variances = &statistics[self.running.bias.clone()];
                for (inverse, &variance) in self.inverse.iter_mut().zip(variances) {
                    *inverse = self.layer.inverse_deviation(variance.into());
                }
            }
        }
        let scale = &data.values[self.places.weight.clone()];
        let shift = &data.values[self.places.bias.clone()];
        for channel in 0..self.shape.channels {
            self.factor[channel] = scale[channel] * self.inverse[channel];
            self.offset[channel] = shift[channel];
        }
        let per_chunk = chunk_rows(moment.rows);
        input[..moment.rows * row]
            .par_chunks(per_chunk * row)
            .zip(output[..moment.rows * row].par_chunks_mut(per_chunk * row))
            .for_each(|(input, output)| {
                let lines = (&*self.mean, &*self.factor, &*self.offset);
                batch_norm::normalize(moment.isa, input, lines, output);
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) -> Result<()> {
        let (row, stride, isa) = (self.shape.len(), self.shape.stride, moment.isa);
        let (input, d_output) = (rows.input, &*rows.d_output);
        self.sums.add_up(moment.rows, 2 * stride, |index, sums| {
            let pixels = index * row..(index + 1) * row;
            let (input, d_output) = (&input[pixels.clone()], &d_output[pixels]);
            let sums = sums.split_at_mut(stride);
            batch_norm::gradient_sums(isa, input, &self.mean, d_output, sums);
        });
        let (scale, shift) = self.places.split(gradients);
        // The replicas' gradients of these two are added up later, as all others'.
        for channel in 0..self.shape.channels {
            let product = self.sums.totals[stride + channel] * f64::from(self.inverse[channel]);
            shift[channel] = self.sums.totals[channel] as f32;
            scale[channel] = product as f32;
        }
        let Some(d_input) = d_input else {
            return Ok(());
        };
        if moment.pass.is_training() {
            self.sums.add_others(self.others(moment), 0.0)?;
            for channel in 0..self.shape.channels {
                let sum = self.sums.totals[channel];
                let inverse = f64::from(self.inverse[channel]);
                let factor = f64::from(self.factor[channel]);
                let product = self.sums.totals[stride + channel] * inverse;
                // d_input = factor · (d_output − mean of d_output − normalized · mean of (normalized · d_output))
                self.slope[channel] = (-factor * inverse * product / self.count) as f32;
                self.offset[channel] = (-factor * sum / self.count) as f32;
            }
        } else {
            // Mean and variance are not the batch's.
            self.slope.fill(0.0);
            self.offset.fill(0.0);
        }
        let lines = GradientLines {
            center: &self.mean,
            factor: &self.factor,
            slope: &self.slope,
            offset: &self.offset,
        };
        let per_chunk = chunk_rows(moment.rows);
        input[..moment.rows * row]
            .par_chunks(per_chunk * row)
            .zip(d_output[..moment.rows * row].par_chunks(per_chunk * row))
            .zip(d_input[..moment.rows * row].par_chunks_mut(per_chunk * row))
            .for_each(|((input, d_output), d_input)| {
                batch_norm::gradient(isa, input, &lines, d_output, d_input);
            });
        Ok(())
    }
}

/// Replicas that have other rows of the same batch.
#[derive(Clone, Copy)]
struct Others<'a> {
    collective: &'a dyn Collective,
    step: u64,
}

/// Sums over a batch. A row's are taken in `f32`, all others in `f64`: their rounding would add up over the pixels on the
/// way back.
#[derive(Debug, Default)]
struct ChunkedSums {
    chunks: Vec<f64>,
    totals: Vec<f64>,
}

impl ChunkedSums {
    /// Lets `add` add up each row in `width` places, and adds up the rows of each chunk, then the chunks in their order.
    fn add_up(&mut self, rows: usize, width: usize, add: impl Fn(usize, &mut [f32]) + Sync) {
        let per_chunk = chunk_rows(rows);
        self.chunks.clear();
        self.chunks.resize(rows.div_ceil(per_chunk) * width, 0.0);
        let chunks = self.chunks.par_chunks_exact_mut(width).enumerate();
        chunks.for_each(|(index, totals)| {
            let first = index * per_chunk;
            with_scratch(width, |sums| {
                for row in first..rows.min(first + per_chunk) {
                    sums.fill(0.0);
                    add(row, sums);
                    let sums = totals.iter_mut().zip(&*sums);
                    sums.for_each(|(total, &sum)| *total += f64::from(sum));
                }
            });
        });
        self.totals.clear();
        self.totals.resize(width, 0.0);
        for chunk in self.chunks.chunks_exact(width) {
            let sums = self.totals.iter_mut().zip(chunk);
            sums.for_each(|(total, sum)| *total += sum);
        }
    }

    /// Adds the sums of the other replicas, if there are any, and returns the sum of all `own`.
    fn add_others(&mut self, others: Option<Others<'_>>, own: f64) -> Result<f64> {
        let Some(Others { collective, step }) = others else {
            return Ok(own);
        };
        let width = self.totals.len();
        self.totals.push(own);
        collective.note(step, Phase::BatchNorm);
        collective.all_reduce_sum_f64(&mut self.totals)?;
        collective.note(step, Phase::Gradients);
        let all = self.totals[width];
        self.totals.truncate(width);
        Ok(all)
    }
}
