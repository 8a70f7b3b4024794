//! The fully connected layer, with the rectifier behind it.

use rayon::prelude::*;

use super::stage::{Data, Moment, Places, Rows, Stage};
use crate::error::Result;
use crate::kernel::buffer::Buffer;
use crate::kernel::linear::{self, Linear};
use crate::kernel::shape::Picture;
use crate::kernel::tile::ROWS;
use crate::kernel::{BLOCK, Isa, activation, batch_norm, padded};

/// Inputs whose weights' gradients a thread computes at once.
const INPUTS: usize = 16 * ROWS;

/// A fully connected layer, and what is fused behind it.
#[derive(Debug)]
pub(super) struct LinearStage {
    /// That of this pass.
    isa: Isa,
    shape: Linear,
    rectify: bool,
    places: Places,
    /// The weights with padded outputs, if they are not by themselves.
    packed: Option<Buffer>,
    bias: Vec<f32>,
    bias_gradient: Vec<f32>,
    zeros: Vec<f32>,
}

impl LinearStage {
    pub(super) fn new(inputs: usize, outputs: usize, places: Places) -> Self {
        let shape = Linear {
            inputs,
            input_stride: padded(inputs),
            outputs,
            output_stride: padded(outputs),
        };
        let pad = !outputs.is_multiple_of(BLOCK);
        Self {
            isa: Isa::Portable,
            shape,
            rectify: false,
            places,
            packed: pad.then(|| Buffer::zeros(shape.weights())),
            bias: vec![0.0; shape.output_stride],
            bias_gradient: vec![0.0; shape.output_stride],
            zeros: vec![0.0; shape.output_stride],
        }
    }

    /// Puts a rectifier behind the layer.
    pub(super) fn rectify(&mut self) {
        self.rectify = true;
    }

    fn weights<'a>(&'a self, values: &'a [f32]) -> &'a [f32] {
        match &self.packed {
            Some(packed) => packed,
            None => &values[self.places.weight.clone()],
        }
    }
}

/// The rows that a thread multiplies at once: its share, in whole tiles, because every share reads all weights.
fn share_rows(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads())
        .next_multiple_of(ROWS)
}

impl Stage for LinearStage {
    fn output(&self) -> Picture {
        Picture::new(1, 1, self.shape.outputs)
    }

    fn first_value(&self) -> Option<usize> {
        Some(self.places.weight.start)
    }

    fn prepare(&mut self, moment: &Moment<'_>, values: &[f32], _: bool) {
        self.isa = moment.isa;
        let Linear {
            outputs,
            output_stride,
            ..
        } = self.shape;
        if let Some(packed) = &mut self.packed {
            let rows = packed.chunks_exact_mut(output_stride);
            let weights = values[self.places.weight.clone()].chunks_exact(outputs);
            for (packed, weights) in rows.zip(weights) {
                packed[..outputs].copy_from_slice(weights);
            }
        }
        self.bias[..outputs].copy_from_slice(&values[self.places.bias.clone()]);
    }

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        data: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let Linear {
            input_stride,
            output_stride,
            ..
        } = self.shape;
        let share = share_rows(moment.rows);
        let weights = self.weights(data.values);
        input[..moment.rows * input_stride]
            .par_chunks(share * input_stride)
            .zip(output[..moment.rows * output_stride].par_chunks_mut(share * output_stride))
            .for_each(|(input, output)| {
                let rows = input.len() / input_stride;
                linear::forward(
                    self.isa,
                    &self.shape,
                    rows,
                    input,
                    weights,
                    &self.bias,
                    self.rectify,
                    output,
                );
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        values: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) -> Result<()> {
        let Linear {
            input_stride,
            outputs,
            output_stride,
            ..
        } = self.shape;
        let input = &rows.input[..moment.rows * input_stride];
        let d_output = &mut rows.d_output[..moment.rows * output_stride];
        if self.rectify {
            let output = &rows.output[..moment.rows * output_stride];
            activation::rectifier_gradient(self.isa, output, d_output);
        }
        let (weight, bias) = self.places.split(gradients);
        self.bias_gradient.fill(0.0);
        batch_norm::sum(
            self.isa,
            false,
            d_output,
            &self.zeros,
            &mut self.bias_gradient,
        );
        bias.copy_from_slice(&self.bias_gradient[..outputs]);
        weight
            .par_chunks_mut(INPUTS * outputs)
            .enumerate()
            .for_each(|(index, weight)| {
                let (first, rows) = (index * INPUTS, moment.rows);
                linear::weight_gradient(
                    self.isa,
                    &self.shape,
                    rows,
                    first,
                    input,
                    d_output,
                    weight,
                );
            });
        if let Some(d_input) = d_input {
            let share = share_rows(moment.rows);
            let weights = self.weights(values);
            d_output
                .par_chunks(share * output_stride)
                .zip(d_input[..moment.rows * input_stride].par_chunks_mut(share * input_stride))
                .for_each(|(d_output, d_input)| {
                    let rows = d_output.len() / output_stride;
                    linear::data_gradient(self.isa, &self.shape, rows, weights, d_output, d_input);
                });
        }
        Ok(())
    }
}
