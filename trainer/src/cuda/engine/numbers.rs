//! A network's numbers on the device.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DriverError};

use super::compile::Compiled;
use super::flat::Flat;
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::cuda::ops::{check, convert};
use crate::error::{Error, Result, invalid};

/// What is trained, and what is not.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    pub(super) values: CudaSlice<f32>,
    /// The values as they are multiplied, unless they are of that type.
    pub(super) copies: Option<CudaSlice<T>>,
    pub(super) statistics: CudaSlice<f32>,
}

/// All of a network's numbers.
pub(super) struct Views<'a, T> {
    /// Those that gradients change.
    pub(super) values: CudaView<'a, f32>,
    /// The same as they are multiplied.
    pub(super) weights: CudaView<'a, T>,
    /// The others, which follow the batch.
    pub(super) statistics: CudaViewMut<'a, f32>,
}

impl<T: Real> Numbers<T> {
    pub(super) fn new(context: &Context, network: &Compiled<T>) -> Result<Self> {
        let stream = context.gpu.stream();
        let new = || -> Result<Self, DriverError> {
            // There is no memory without a number.
            let values = stream.alloc_zeros(network.values.len().max(1))?;
            let copies = match T::view(values.as_view()) {
                Some(_) => None,
                None => Some(stream.alloc_zeros(values.len())?),
            };
            Ok(Self {
                values,
                copies,
                statistics: stream.alloc_zeros(network.statistics.len().max(1))?,
            })
        };
        new().map_err(Error::cuda("allocate memory for parameters"))
    }

    /// The values, the same as they are multiplied, and the statistics.
    pub(super) fn views(&mut self) -> Result<Views<'_, T>> {
        let weights = match &self.copies {
            Some(copies) => Some(copies.as_view()),
            None => T::view(self.values.as_view()),
        };
        // One of the two is there.
        let weights =
            weights.ok_or_else(|| invalid("copies of the parameters", "none", "one of each"))?;
        Ok(Views {
            values: self.values.as_view(),
            weights,
            statistics: self.statistics.as_view_mut(),
        })
    }

    /// Takes over numbers in the host's order.
    pub(super) fn upload(
        &mut self,
        context: &Context,
        (flat, values): (&Flat, &[f32]),
        (others, statistics): (&Flat, &[f32]),
    ) -> Result<()> {
        check("number of parameters", values.len(), flat.host_len())?;
        check("number of statistics", statistics.len(), others.host_len())?;
        let stream = context.gpu.stream();
        let (values, statistics) = (flat.to_device(values), others.to_device(statistics));
        let copied = stream.memcpy_htod(&values, &mut self.values);
        let copied = copied.and_then(|()| stream.memcpy_htod(&statistics, &mut self.statistics));
        // Whether a copy of pageable memory is waited for is the driver's affair, and this memory goes now.
        let copied = copied.and_then(|()| stream.synchronize());
        copied.map_err(Error::cuda("copy parameters to the device"))?;
        match &mut self.copies {
            Some(copies) => {
                let copies = &mut copies.as_view_mut();
                convert::from_f32(context, &self.values.as_view(), copies)
            }
            None => Ok(()),
        }
    }

    /// Waits for what is queued: values and statistics in the host's order.
    pub(super) fn download(
        &self,
        context: &Context,
        flat: &Flat,
        others: &Flat,
    ) -> Result<(Vec<f32>, Vec<f32>)> {
        let stream = context.gpu.stream();
        let copy = || -> Result<_, DriverError> {
            let values = stream.clone_dtoh(&self.values)?;
            let statistics = stream.clone_dtoh(&self.statistics)?;
            // Whether a copy to pageable memory is waited for is the driver's affair.
            stream.synchronize()?;
            Ok((values, statistics))
        };
        let copied = copy().map_err(Error::cuda("copy parameters from the device"));
        let (values, statistics) = copied?;
        Ok((flat.to_host(&values), others.to_host(&statistics)))
    }
}
