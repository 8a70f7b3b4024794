//! The ways forward and back.

use cudarc::driver::{CudaView, DeviceSlice};

use super::stage::{Moment, Rows};
use super::{Engine, Exchange};
use crate::cuda::Real;
use crate::cuda::ops::loss;
use crate::error::{Error, Result, invalid};
use crate::nn::Pass;

impl<T: Real> Engine<T> {
    /// The pictures and labels of this many rows, if all is as it must be.
    pub(super) fn batch<'a>(
        &self,
        images: &CudaView<'a, T>,
        labels: &CudaView<'a, u32>,
        rows: usize,
    ) -> Result<(CudaView<'a, T>, CudaView<'a, u32>)> {
        if rows == 0 {
            return Err(invalid("number of rows", rows, "at least 1"));
        }
        let own = self.context.gpu.stream().context();
        for (name, context) in [
            ("images", images.stream().context()),
            ("labels", labels.stream().context()),
        ] {
            if context != own {
                let found = format!("memory of GPU {}", context.ordinal());
                let expected = format!("memory of the engine's, {}", own.ordinal());
                return Err(invalid(name, found, expected));
            }
        }
        let numbers = rows.saturating_mul(self.network.input.len());
        let images = images.try_slice(..numbers).ok_or_else(|| {
            let expected = format!("at least {numbers}, for {rows} rows");
            invalid("numbers of the images", images.len(), expected)
        })?;
        let labels = labels.try_slice(..rows).ok_or_else(|| {
            let expected = format!("at least {rows}, the number of rows");
            invalid("number of labels", labels.len(), expected)
        })?;
        Ok((images, labels))
    }

    /// Computes all activations.
    pub(super) fn forward(
        &mut self,
        images: &CudaView<'_, T>,
        rows: usize,
        pass: &Pass,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        let context = &*self.context;
        let bound = context.gpu.stream().context().bind_to_thread();
        bound.map_err(Error::cuda("use the device"))?;
        let stages = &mut self.network.stages;
        for (stage, output) in stages.iter_mut().zip(&mut self.activations) {
            stage.prepare(context, rows)?;
            output.reserve(context, rows * stage.output().len())?;
        }
        let mut moment = Moment {
            context,
            settings: self.settings,
            rows,
            pass,
            numbers: self.numbers.views()?,
            scratch: self.scratch.as_view_mut(),
            exchange,
        };
        let mut length = images.len();
        for (index, stage) in stages.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(index);
            let input = match before.last() {
                Some(before) => &before.view(length)?,
                None => images,
            };
            length = rows * stage.output().len();
            stage.forward(&mut moment, input, &mut after[0].view_mut(length)?)?;
        }
        Ok(())
    }

    /// The loss and the right answer of each row; for the way back that begins with the gradients of `share` times the
    /// losses.
    pub(super) fn lose(&mut self, labels: &CudaView<'_, u32>, share: Option<f32>) -> Result<()> {
        let (context, rows) = (&*self.context, labels.len());
        let classes = self.network.logits;
        let logits = match self.activations.last() {
            Some(logits) => logits.view(rows * classes)?,
            None => return Ok(()),
        };
        self.losses.reserve(context, Self::TOTALS * rows)?;
        let mut losses = self.losses.view_mut(Self::TOTALS * rows)?;
        let Some(share) = share else {
            loss::cross_entropy(context, classes, 0.0, &logits, labels, &mut losses, None)?;
            let totals = &mut self.evaluation.as_view_mut();
            return loss::add_totals(context, &losses.as_view(), totals);
        };
        // They are swapped, so both need room for the longest.
        self.d_output.reserve(context, rows * self.network.widest)?;
        self.d_input.reserve(context, rows * self.network.widest)?;
        let mut gradient = self.d_output.view_mut(logits.len())?;
        let gradient = Some(&mut gradient);
        loss::cross_entropy(
            context,
            classes,
            share,
            &logits,
            labels,
            &mut losses,
            gradient,
        )?;
        let totals = &mut self.sums.slice_mut(self.network.values.len()..);
        loss::totals(context, &losses.as_view(), totals)
    }

    /// Computes all gradients, from those of the logits.
    pub(super) fn backward(
        &mut self,
        images: &CudaView<'_, T>,
        rows: usize,
        pass: &Pass,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        let context = &*self.context;
        let mut moment = Moment {
            context,
            settings: self.settings,
            rows,
            pass,
            numbers: self.numbers.views()?,
            scratch: self.scratch.as_view_mut(),
            exchange,
        };
        let sums = &mut self.sums;
        for (index, stage) in self.network.stages.iter_mut().enumerate().rev() {
            let (before, after) = self.activations.split_at(index);
            let length = rows * stage.output().len();
            let output = &after[0].view(length)?;
            let mut d_output = self.d_output.view_mut(length)?;
            let d_output = &mut d_output;
            let input = match before.last() {
                Some(before) => &before.view(rows * self.network.inputs[index])?,
                None => images,
            };
            let rows = Rows {
                input,
                output,
                d_output,
            };
            if index == self.network.first_trained {
                stage.backward(&mut moment, rows, None, sums)?;
                return moment.exchange.ready(sums, 0);
            }
            let mut d_input = self.d_input.view_mut(input.len())?;
            stage.backward(&mut moment, rows, Some(&mut d_input), sums)?;
            if let Some(first) = stage.first() {
                moment.exchange.ready(sums, first)?;
            }
            std::mem::swap(&mut self.d_input, &mut self.d_output);
        }
        Ok(())
    }
}
