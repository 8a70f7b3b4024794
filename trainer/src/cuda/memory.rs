//! Memory that is kept from step to step.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr, ValidAsZeroBits};

use super::context::Context;
use crate::error::{Error, Result, invalid};

/// Numbers on the device: as many as were ever needed at once.
#[derive(Debug)]
pub(super) struct Memory<N> {
    numbers: Option<CudaSlice<N>>,
}

impl<N> Default for Memory<N> {
    fn default() -> Self {
        Self { numbers: None }
    }
}

impl<N: DeviceRepr + ValidAsZeroBits> Memory<N> {
    /// Makes room for this many numbers; what was there may be lost.
    pub(super) fn reserve(&mut self, context: &Context, length: usize) -> Result<()> {
        if self.len() < length {
            // Given back first: there are never two.
            self.numbers = None;
            let zeros = context.gpu.stream().alloc_zeros(length);
            self.numbers = Some(zeros.map_err(Error::cuda("allocate memory"))?);
        }
        Ok(())
    }

    /// The first numbers, which [`reserve`](Self::reserve) made room for.
    pub(super) fn view(&self, length: usize) -> Result<CudaView<'_, N>> {
        let numbers = self.numbers.as_ref().filter(|own| own.len() >= length);
        let numbers = numbers.ok_or_else(|| self.short(length))?;
        Ok(numbers.slice(..length))
    }

    /// As [`view`](Self::view), to be changed.
    pub(super) fn view_mut(&mut self, length: usize) -> Result<CudaViewMut<'_, N>> {
        let short = self.short(length);
        let numbers = self.numbers.as_mut().filter(|own| own.len() >= length);
        Ok(numbers.ok_or(short)?.slice_mut(..length))
    }

    fn len(&self) -> usize {
        self.numbers.as_ref().map_or(0, CudaSlice::len)
    }

    fn short(&self, length: usize) -> Error {
        invalid(
            "length of a buffer",
            self.len(),
            format!("at least {length}"),
        )
    }
}
