//! The fully connected layer, with the rectifier behind it.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

use super::stage::{Moment, Places, Rows, Stage};
use crate::cuda::Real;
use crate::cuda::ops::linear::Linear;
use crate::cuda::ops::shape::Picture;
use crate::cuda::ops::{activation, linear};
use crate::error::Result;

/// A fully connected layer, and what is fused behind it.
#[derive(Debug)]
pub(super) struct LinearStage {
    inputs: usize,
    outputs: usize,
    rectify: bool,
    places: Places,
}

impl LinearStage {
    pub(super) fn new(inputs: usize, outputs: usize, places: Places) -> Self {
        Self {
            inputs,
            outputs,
            rectify: false,
            places,
        }
    }

    /// Puts a rectifier behind the layer.
    pub(super) fn rectify(&mut self) {
        self.rectify = true;
    }

    pub(super) fn output(&self) -> Picture {
        Picture::new(1, 1, self.outputs)
    }

    fn shape<T>(&self, moment: &Moment<'_, T>) -> Linear {
        Linear {
            inputs: self.inputs,
            outputs: self.outputs,
            tf32: moment.settings.tf32,
        }
    }
}

impl<T: Real> Stage<T> for LinearStage {
    fn output(&self) -> Picture {
        self.output()
    }

    fn first(&self) -> Option<usize> {
        Some(self.places.weight.start)
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let shape = self.shape(moment);
        let weights = moment.numbers.weights.slice(self.places.weight.clone());
        let bias = moment.numbers.values.slice(self.places.bias.clone());
        let context = moment.context;
        linear::forward(context, &shape, moment.rows, input, &weights, output)?;
        activation::forward_in_place(context, self.outputs, Some(&bias), self.rectify, output)
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        gradients: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let (context, shape) = (moment.context, self.shape(moment));
        activation::bias_gradient(
            context,
            self.outputs,
            self.rectify.then_some(rows.output),
            rows.d_output,
            &mut moment.scratch,
            &mut gradients.slice_mut(self.places.bias.clone()),
        )?;
        let d_output = rows.d_output.as_view();
        let mut gradient = gradients.slice_mut(self.places.weight.clone());
        let count = moment.rows;
        linear::weight_gradient(context, &shape, count, rows.input, &d_output, &mut gradient)?;
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let weights = moment.numbers.weights.slice(self.places.weight.clone());
        linear::data_gradient(context, &shape, count, &weights, &d_output, d_input)
    }
}
