//! Stages without parameters: the rectifier, the max-pool and dropout by themselves, and flattening.

use feedline_pipeline::Random;
use rayon::prelude::*;

use super::stage::{Data, Moment, Rows, Stage, chunk_rows};
use crate::error::Result;
use crate::kernel::shape::{Picture, Pool};
use crate::kernel::{activation, layout, pool};

/// max(0, x), where it can't be fused.
#[derive(Debug)]
pub(super) struct RectifierStage(pub(super) Picture);

impl Stage for RectifierStage {
    fn output(&self) -> Picture {
        self.0
    }

    fn prepare(&mut self, _: &Moment<'_>, _: &[f32], _: bool) {}

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        _: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let row = self.0.len();
        input[..moment.rows * row]
            .par_chunks_exact(row)
            .zip(output.par_chunks_exact_mut(row))
            .for_each(|(input, output)| {
                // Written so that NaN stays.
                let rectified = input.iter().map(|&x| if x < 0.0 { 0.0 } else { x });
                output.iter_mut().zip(rectified).for_each(|(y, x)| *y = x);
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        _: &mut [f32],
    ) -> Result<()> {
        if let Some(d_input) = d_input {
            let row = self.0.len();
            d_input[..moment.rows * row]
                .par_chunks_exact_mut(row)
                .zip(rows.d_output.par_chunks_exact(row))
                .zip(rows.output.par_chunks_exact(row))
                .for_each(|((d_input, d_output), output)| {
                    d_input.copy_from_slice(d_output);
                    activation::rectifier_gradient(moment.isa, output, d_input);
                });
        }
        Ok(())
    }
}

/// A max-pool, where it can't be fused.
#[derive(Debug)]
pub(super) struct PoolStage {
    pool: Pool,
    /// For each output of the batch, its place in its window.
    places: Vec<u8>,
}

impl PoolStage {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            places: Vec::new(),
        }
    }
}

impl Stage for PoolStage {
    fn output(&self) -> Picture {
        self.pool.output
    }

    fn prepare(&mut self, moment: &Moment<'_>, _: &[f32], _: bool) {
        let length = moment.rows * self.pool.output.len();
        self.places.resize(self.places.len().max(length), 0);
    }

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        _: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let (inner, own) = (self.pool.input.len(), self.pool.output.len());
        input[..moment.rows * inner]
            .par_chunks_exact(inner)
            .zip(output.par_chunks_exact_mut(own))
            .zip(self.places.par_chunks_exact_mut(own))
            .for_each(|((input, output), places)| {
                pool::forward(moment.isa, &self.pool, false, input, output, places);
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        _: &mut [f32],
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let (inner, own) = (self.pool.input.len(), self.pool.output.len());
        d_input[..moment.rows * inner]
            .par_chunks_exact_mut(inner)
            .zip(rows.d_output.par_chunks_exact(own))
            .zip(self.places.par_chunks_exact(own))
            .for_each(|((d_input, d_output), places)| {
                pool::backward(moment.isa, &self.pool, None, places, d_output, d_input);
            });
        Ok(())
    }
}

/// Dropout.
#[derive(Debug)]
pub(super) struct DropoutStage {
    rate: f32,
    shape: Picture,
    /// The layer's place in the network, which its random choices follow from.
    layer: usize,
    /// What each number of the batch was multiplied by.
    mask: Vec<f32>,
}

impl DropoutStage {
    pub(super) fn new(rate: f32, shape: Picture, layer: usize) -> Self {
        Self {
            rate,
            shape,
            layer,
            mask: Vec::new(),
        }
    }

    /// Draws what one row is multiplied by. Choices are made in candle's order of numbers, channel by channel.
    fn draw(&self, mut random: Random, mask: &mut [f32]) {
        let kept = 1.0 / (1.0 - self.rate);
        for channel in 0..self.shape.channels {
            for place in mask[channel..].iter_mut().step_by(self.shape.stride) {
                *place = if random.unit() < self.rate { 0.0 } else { kept };
            }
        }
    }
}

impl Stage for DropoutStage {
    fn output(&self) -> Picture {
        self.shape
    }

    fn prepare(&mut self, moment: &Moment<'_>, _: &[f32], _: bool) {
        let length = moment.rows * self.shape.len();
        self.mask.resize(self.mask.len().max(length), 0.0);
    }

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        _: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let row = self.shape.len();
        let (input, output) = (
            &input[..moment.rows * row],
            &mut output[..moment.rows * row],
        );
        if !moment.pass.is_training() {
            output.copy_from_slice(input);
            return Ok(());
        }
        let pass = moment.pass.in_layer(self.layer);
        let mut mask = std::mem::take(&mut self.mask);
        mask.par_chunks_exact_mut(row)
            .zip(
                input
                    .par_chunks_exact(row)
                    .zip(output.par_chunks_exact_mut(row)),
            )
            .enumerate()
            .with_min_len(8)
            .for_each(|(index, (mask, (input, output)))| {
                self.draw(Random::new(pass.key(index)), mask);
                let products = input.iter().zip(&*mask).map(|(x, factor)| x * factor);
                output.iter_mut().zip(products).for_each(|(y, x)| *y = x);
            });
        self.mask = mask;
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        _: &mut [f32],
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let row = self.shape.len();
        let d_input = &mut d_input[..moment.rows * row];
        if !moment.pass.is_training() {
            let d_output = &rows.d_output[..d_input.len()];
            d_input.copy_from_slice(d_output);
            return Ok(());
        }
        d_input
            .par_chunks_exact_mut(row)
            .zip(rows.d_output.par_chunks_exact(row))
            .zip(self.mask.par_chunks_exact(row))
            .with_min_len(8)
            .for_each(|((d_input, d_output), mask)| {
                let products = d_output.iter().zip(mask).map(|(g, factor)| g * factor);
                d_input.iter_mut().zip(products).for_each(|(d, g)| *d = g);
            });
        Ok(())
    }
}

/// From pictures to rows of features, in candle's order: channel by channel.
#[derive(Debug)]
pub(super) struct FlattenStage(pub(super) Picture);

impl Stage for FlattenStage {
    fn output(&self) -> Picture {
        Picture::new(1, 1, self.0.channels * self.0.pixels())
    }

    fn prepare(&mut self, _: &Moment<'_>, _: &[f32], _: bool) {}

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        _: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let (inner, outer) = (self.0.len(), self.output());
        let per_chunk = chunk_rows(moment.rows);
        input[..moment.rows * inner]
            .par_chunks(per_chunk * inner)
            .zip(output.par_chunks_mut(per_chunk * outer.len()))
            .for_each(|(input, output)| {
                let rows = input
                    .chunks_exact(inner)
                    .zip(output.chunks_exact_mut(outer.len()));
                for (input, output) in rows {
                    let (features, rest) = output.split_at_mut(outer.channels);
                    layout::to_channels(&self.0, input, features);
                    rest.fill(0.0);
                }
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        _: &mut [f32],
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let (inner, outer) = (self.0.len(), self.output());
        let per_chunk = chunk_rows(moment.rows);
        d_input[..moment.rows * inner]
            .par_chunks_mut(per_chunk * inner)
            .zip(rows.d_output.par_chunks(per_chunk * outer.len()))
            .for_each(|(d_input, d_output)| {
                let rows = d_input
                    .chunks_exact_mut(inner)
                    .zip(d_output.chunks_exact(outer.len()));
                for (d_input, d_output) in rows {
                    layout::to_pixels(&self.0, &d_output[..outer.channels], d_input);
                }
            });
        Ok(())
    }
}
