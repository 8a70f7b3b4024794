//! Stages around which their input is led.

use rayon::prelude::*;

use super::stage::{Data, Moment, Rows, Stage};
use crate::error::Result;
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::{Picture, SLACK};

/// Stages one after the other, to whose output the input is added.
#[derive(Debug)]
pub(super) struct ResidualStage {
    shape: Picture,
    stages: Vec<Box<dyn Stage>>,
    /// The stage inside at which the network's way back ends, if it ends in here.
    end: Option<usize>,
    /// What comes out of each stage. The last one may need it on its way back, so the sum is elsewhere.
    outputs: Vec<Buffer>,
    /// Gradients of what came out of a stage, and of what went in.
    d_output: Buffer,
    d_input: Buffer,
}

impl ResidualStage {
    /// What goes in has the shape of what comes out.
    pub(super) fn new(shape: Picture, stages: Vec<Box<dyn Stage>>, end: Option<usize>) -> Self {
        Self {
            shape,
            outputs: stages.iter().map(|_| Buffer::default()).collect(),
            stages,
            end,
            d_output: Buffer::default(),
            d_input: Buffer::default(),
        }
    }
}

impl Stage for ResidualStage {
    fn output(&self) -> Picture {
        self.shape
    }

    fn prepare(&mut self, moment: &Moment<'_>, values: &[f32], back: bool) {
        let stages = self.stages.par_iter_mut().enumerate();
        stages.for_each(|(index, stage)| {
            let back = self.end.map_or(back, |end| index > end);
            stage.prepare(moment, values, back);
        });
    }

    fn first_value(&self) -> Option<usize> {
        let stages = self.stages.iter();
        stages.filter_map(|stage| stage.first_value()).min()
    }

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        mut data: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let (before, after) = self.outputs.split_at_mut(index);
            let input = before.last().map_or(input, |before| before);
            let output = &mut after[0];
            output.reserve(moment.rows * stage.output().len() + SLACK);
            let data = Data {
                values: data.values,
                statistics: data.statistics.reborrow(),
            };
            stage.forward(moment, data, input, output)?;
        }
        let changes = self.outputs.last().map_or(input, |last| last);
        let row = self.shape.len();
        output[..moment.rows * row]
            .par_chunks_exact_mut(row)
            .zip(
                input
                    .par_chunks_exact(row)
                    .zip(changes.par_chunks_exact(row)),
            )
            .for_each(|(output, (input, changes))| {
                let sums = input.iter().zip(changes).map(|(x, change)| x + change);
                output.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum);
            });
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        values: &[f32],
        rows: Rows<'_>,
        mut d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) -> Result<()> {
        let (row, numbers) = (self.shape.len(), moment.rows * self.shape.len());
        // Stages may change what they are given, and the way around needs it once more.
        self.d_output.reserve(numbers + SLACK);
        self.d_output[..numbers]
            .par_chunks_exact_mut(row)
            .zip(rows.d_output.par_chunks_exact(row))
            .for_each(|(copy, d_output)| copy.copy_from_slice(d_output));
        for (index, stage) in self.stages.iter_mut().enumerate().rev() {
            let input = match index {
                0 => rows.input,
                _ => &self.outputs[index - 1],
            };
            let own = Rows {
                input,
                output: &self.outputs[index],
                d_output: &mut self.d_output,
            };
            if d_input.is_none() && self.end == Some(index) {
                return stage.backward(moment, values, own, None, gradients);
            }
            if let (0, Some(d_input)) = (index, &mut d_input) {
                stage.backward(moment, values, own, Some(d_input), gradients)?;
                break;
            }
            self.d_input.reserve(input.len());
            stage.backward(moment, values, own, Some(&mut self.d_input), gradients)?;
            std::mem::swap(&mut self.d_input, &mut self.d_output);
        }
        if let Some(d_input) = d_input {
            d_input[..numbers]
                .par_chunks_exact_mut(row)
                .zip(rows.d_output.par_chunks_exact(row))
                .for_each(|(sums, around)| {
                    let pairs = sums.iter_mut().zip(around);
                    pairs.for_each(|(sum, x)| *sum += x);
                });
        }
        Ok(())
    }
}
