//! Batch normalization, with the rectifier behind it.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

use super::stage::{Moment, Places, Rows, Stage};
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::cuda::ops::batch_norm::{Line, State};
use crate::cuda::ops::shape::Picture;
use crate::error::Result;
use crate::nn::BatchNorm;

/// Batch normalization, and what is fused behind it.
#[derive(Debug)]
pub(super) struct BatchNormStage {
    state: State,
    shape: Picture,
    /// Whether statistics are those of all ranks' rows.
    synchronized: bool,
    rectify: bool,
    /// Those of scale and shift.
    places: Places,
    /// Those of the running mean and variance among the statistics.
    running: Places,
}

impl BatchNormStage {
    pub(super) fn new(
        context: &Context,
        layer: BatchNorm,
        shape: Picture,
        places: Places,
        running: Places,
    ) -> Result<Self> {
        Ok(Self {
            state: State::new(context, layer, shape.channels)?,
            shape,
            synchronized: layer.is_synchronized(),
            rectify: false,
            places,
            running,
        })
    }

    /// Puts a rectifier behind the layer.
    pub(super) fn rectify(&mut self) {
        self.rectify = true;
    }

    pub(super) fn output(&self) -> Picture {
        self.shape
    }
}

impl<T: Real> Stage<T> for BatchNormStage {
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
        let context = moment.context;
        let line = Line {
            scale: moment.numbers.values.slice(self.places.weight.clone()),
            shift: moment.numbers.values.slice(self.places.bias.clone()),
        };
        let running = &self.running;
        if !moment.pass.is_training() {
            let means = moment.numbers.statistics.slice(running.weight.clone());
            let variances = moment.numbers.statistics.slice(running.bias.clone());
            return self.state.evaluate(
                context,
                &line,
                &means,
                &variances,
                self.rectify,
                input,
                output,
            );
        }
        let mut sum = |numbers: &mut CudaSlice<f32>| moment.exchange.sum(numbers);
        let (mut means, mut variances) = moment.numbers.statistics.split_at_mut(running.bias.start);
        self.state.train(
            context,
            &line,
            &mut means.slice_mut(running.weight.clone()),
            &mut variances.slice_mut(..running.bias.len()),
            self.rectify,
            input,
            output,
            &mut moment.scratch,
            self.synchronized.then_some(&mut sum),
        )
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        gradients: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let scale = moment.numbers.values.slice(self.places.weight.clone());
        let mut sum = |numbers: &mut CudaSlice<f32>| moment.exchange.sum(numbers);
        let (mut scales, mut shifts) = gradients.split_at_mut(self.places.bias.start);
        let mut d_line = Line {
            scale: scales.slice_mut(self.places.weight.clone()),
            shift: shifts.slice_mut(..self.places.bias.len()),
        };
        self.state.backward(
            moment.context,
            &scale,
            rows.input,
            self.rectify.then_some(rows.output),
            &rows.d_output.as_view(),
            &mut d_line,
            d_input,
            &mut moment.scratch,
            self.synchronized.then_some(&mut sum),
        )
    }
}
