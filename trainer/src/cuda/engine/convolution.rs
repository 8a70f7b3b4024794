//! Convolution, with the rectifier and the max-pool behind it.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};

use super::stage::{Moment, Places, Rows, Settings, Stage};
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::cuda::memory::Memory;
use crate::cuda::ops::convolution::{Convolution, Plan};
use crate::cuda::ops::shape::{Picture, Pool};
use crate::cuda::ops::{activation, border, pool};
use crate::error::Result;
use crate::nn::geometry::Side;

/// A convolution, and what is fused behind it.
#[derive(Debug)]
pub(super) struct ConvolutionStage<T> {
    /// What goes in, which may get a border.
    pictures: Picture,
    shape: Convolution,
    rectify: bool,
    pool: Option<Pool>,
    places: Places,
    /// One for each number of rows so far.
    plans: Vec<Plan<T>>,
    /// The pictures with their border, if they get one; on the way back their gradient.
    bordered: Memory<T>,
    /// What the pool takes, if there is one; on the way back its gradient.
    convolved: Memory<T>,
    /// For each pooled number of the batch, its place in its window.
    pooled_from: Memory<u16>,
    /// The filters' gradient, if it is not `f32` by itself.
    gradient: Memory<T>,
}

impl<T: Real> ConvolutionStage<T> {
    pub(super) fn new(
        pictures: Picture,
        filters: usize,
        sides: &[Side; 2],
        places: Places,
    ) -> Self {
        Self {
            pictures,
            shape: Convolution::new(pictures, filters, sides),
            rectify: false,
            pool: None,
            places,
            plans: Vec::new(),
            bordered: Memory::default(),
            convolved: Memory::default(),
            pooled_from: Memory::default(),
            gradient: Memory::default(),
        }
    }

    /// Puts a rectifier behind the convolution.
    pub(super) fn rectify(&mut self) {
        self.rectify = true;
    }

    /// Puts a max-pool at the end.
    pub(super) fn pool(&mut self, pool: Pool) {
        self.pool = Some(pool);
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pool.is_some()
    }

    fn has_border(&self) -> bool {
        self.pictures != self.shape.input
    }
}

/// The plan for this many rows, which is made if there is none.
fn plan<T: Real>(
    plans: &mut Vec<Plan<T>>,
    shape: Convolution,
    rows: usize,
    Settings { tf32, algorithms }: Settings,
) -> Result<&mut Plan<T>> {
    let fits = |own: &Plan<T>| own.is_for(rows, tf32, algorithms);
    let place = match plans.iter().position(fits) {
        Some(place) => place,
        None => {
            plans.push(Plan::new(shape, rows, tf32, algorithms)?);
            plans.len() - 1
        }
    };
    Ok(&mut plans[place])
}

impl<T: Real> Stage<T> for ConvolutionStage<T> {
    fn output(&self) -> Picture {
        self.pool.map_or(self.shape.output, |pool| pool.output)
    }

    fn first(&self) -> Option<usize> {
        Some(self.places.weight.start)
    }

    fn prepare(&mut self, context: &Context, rows: usize) -> Result<()> {
        if self.has_border() {
            let length = rows * self.shape.input.len();
            self.bordered.reserve(context, length)?;
        }
        if let Some(pool) = &self.pool {
            let length = rows * self.shape.output.len();
            self.convolved.reserve(context, length)?;
            self.pooled_from
                .reserve(context, rows * pool.output.len())?;
        }
        Ok(())
    }

    fn forward(
        &mut self,
        moment: &mut Moment<'_, T>,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let (context, rows) = (moment.context, moment.rows);
        let plan = plan(&mut self.plans, self.shape, rows, moment.settings)?;
        let filters = moment.numbers.weights.slice(self.places.weight.clone());
        let bias = moment.numbers.values.slice(self.places.bias.clone());
        let bordered;
        let input = if self.pictures == self.shape.input {
            input
        } else {
            let (shape, length) = (&self.shape.input, rows * self.shape.input.len());
            let mut to = self.bordered.view_mut(length)?;
            border::copy(context, rows, (&self.pictures, input), (shape, &mut to))?;
            bordered = self.bordered.view(length)?;
            &bordered
        };
        let Some(pool) = &self.pool else {
            plan.forward(context, input, &filters, output)?;
            let channels = self.shape.output.channels;
            return activation::forward_in_place(
                context,
                channels,
                Some(&bias),
                self.rectify,
                output,
            );
        };
        let mut convolved = self.convolved.view_mut(rows * self.shape.output.len())?;
        plan.forward(context, input, &filters, &mut convolved)?;
        pool::forward(
            context,
            pool,
            rows,
            Some(&bias),
            self.rectify,
            &convolved.as_view(),
            output,
            &mut self.pooled_from.view_mut(rows * pool.output.len())?,
        )
    }

    fn backward(
        &mut self,
        moment: &mut Moment<'_, T>,
        rows: Rows<'_, '_, T>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        gradients: &mut CudaSlice<f32>,
    ) -> Result<()> {
        let (context, count) = (moment.context, moment.rows);
        let plan = plan(&mut self.plans, self.shape, count, moment.settings)?;
        // Each number that was pooled has its gradient at one place, so the sums are those behind the pool.
        activation::bias_gradient(
            context,
            self.shape.output.channels,
            self.rectify.then_some(rows.output),
            rows.d_output,
            &mut moment.scratch,
            &mut gradients.slice_mut(self.places.bias.clone()),
        )?;
        let mut d_output = rows.d_output.as_view();
        if let Some(pool) = &self.pool {
            let length = count * self.shape.output.len();
            let places = self.pooled_from.view(count * pool.output.len())?;
            let mut to = self.convolved.view_mut(length)?;
            pool::backward(context, pool, count, None, &places, &d_output, &mut to)?;
            d_output = self.convolved.view(length)?;
        }

        let length = count * self.shape.input.len();
        let bordered;
        let input = match self.pictures == self.shape.input {
            true => rows.input,
            false => {
                bordered = self.bordered.view(length)?;
                &bordered
            }
        };
        let gradient = gradients.slice_mut(self.places.weight.clone());
        match T::view_mut(gradient) {
            Some(mut gradient) => {
                plan.filter_gradient(context, input, &d_output, &mut gradient)?;
            }
            None => {
                let length = self.shape.weights();
                self.gradient.reserve(context, length)?;
                let mut own = self.gradient.view_mut(length)?;
                plan.filter_gradient(context, input, &d_output, &mut own)?;
                let mut gradient = gradients.slice_mut(self.places.weight.clone());
                border::widen(context, &own.as_view(), &mut gradient)?;
            }
        }

        let Some(d_input) = d_input else {
            return Ok(());
        };
        let filters = moment.numbers.weights.slice(self.places.weight.clone());
        if self.pictures == self.shape.input {
            return plan.data_gradient(context, &filters, &d_output, d_input);
        }
        let mut bordered = self.bordered.view_mut(length)?;
        plan.data_gradient(context, &filters, &d_output, &mut bordered)?;
        let from = (&self.shape.input, &bordered.as_view());
        border::copy(context, count, from, (&self.pictures, d_input))
    }
}
