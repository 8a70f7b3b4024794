//! Stages without parameters: the rectifier and the max-pool by themselves, dropout, and flattening.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

use super::stage::{Moment, Rows, Stage};
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::cuda::memory::Memory;
use crate::cuda::ops::shape::{Picture, Pool};
use crate::cuda::ops::{activation, dropout, flatten, pool};
use crate::error::Result;

/// max(0, x), where it can't be fused.
#[derive(Debug)]
pub(super) struct RectifierStage(pub(super) Picture);

impl<T: Real> Stage<T> for RectifierStage {
    fn output(&self) -> Picture {
        self.0
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let channels = self.0.channels;
        activation::forward(moment.context, channels, None, true, input, output)
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        _: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let d_output = rows.d_output.as_view();
        activation::backward(moment.context, rows.output, &d_output, d_input)
    }
}

/// A max-pool, where it can't be fused.
#[derive(Debug)]
pub(super) struct PoolStage {
    pool: Pool,
    /// For each output of the batch, its place in its window.
    places: Memory<u16>,
}

impl PoolStage {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool,
            places: Memory::default(),
        }
    }
}

impl<T: Real> Stage<T> for PoolStage {
    fn output(&self) -> Picture {
        self.pool.output
    }

    fn prepare(&mut self, context: &Context, rows: usize) -> Result<()> {
        self.places.reserve(context, rows * self.pool.output.len())
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let (context, rows) = (moment.context, moment.rows);
        let mut places = self.places.view_mut(rows * self.pool.output.len())?;
        let pool = &self.pool;
        pool::forward(context, pool, rows, None, false, input, output, &mut places)
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        _: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let (context, count) = (moment.context, moment.rows);
        let places = self.places.view(count * self.pool.output.len())?;
        let d_output = rows.d_output.as_view();
        pool::backward(
            context, &self.pool, count, None, &places, &d_output, d_input,
        )
    }
}

/// Dropout. What is dropped is drawn again on the way back.
#[derive(Debug)]
pub(super) struct DropoutStage {
    pub(super) rate: f32,
    pub(super) shape: Picture,
    /// The layer's place in the network, which its random choices follow from.
    pub(super) layer: usize,
}

impl DropoutStage {
    fn apply<T: Real>(
        &self,
        moment: &Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let pass = moment.pass.in_layer(self.layer);
        let (context, rows) = (moment.context, moment.rows);
        dropout::apply(context, &self.shape, rows, self.rate, &pass, input, output)
    }
}

impl<T: Real> Stage<T> for DropoutStage {
    fn output(&self) -> Picture {
        self.shape
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        self.apply(moment, input, output)
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        _: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        self.apply(moment, &rows.d_output.as_view(), d_input)
    }
}

/// From pictures to rows of features, in candle's order: channel by channel.
#[derive(Debug)]
pub(super) struct FlattenStage(pub(super) Picture);

impl<T: Real> Stage<T> for FlattenStage {
    fn output(&self) -> Picture {
        Picture::new(1, 1, self.0.len())
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        flatten::to_channels(moment.context, &self.0, moment.rows, input, output)
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        _: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let Some(d_input) = d_input else {
            return Ok(());
        };
        let d_output = rows.d_output.as_view();
        flatten::to_pixels(moment.context, &self.0, moment.rows, &d_output, d_input)
    }
}
