//! Gradients on their way between GPUs, in half as many bytes.

use feedline_pipeline::cuda::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, CudaViewMut, DriverError, PushKernelArg,
};
use feedline_pipeline::cuda::{Gpu, Module};
use half::bf16;
use std::ops::Range;
use std::sync::Arc;

use super::kernels;
use crate::error::{Error, Result, invalid};

/// A buffer of `bf16` for numbers that are `f32` at both ends of the way.
#[derive(Debug)]
pub(crate) struct Wire {
    pack: CudaFunction,
    unpack: CudaFunction,
    stream: Arc<CudaStream>,
    packed: CudaSlice<bf16>,
}

impl Wire {
    /// A buffer for `length` numbers, which is used on `stream` only.
    pub(crate) fn new(gpu: &Gpu, stream: &Arc<CudaStream>, length: usize) -> Result<Self> {
        let module = Module::load(gpu, kernels::WIRE)?;
        let packed = stream.alloc_zeros(length);
        Ok(Self {
            pack: module.function("wire_pack")?,
            unpack: module.function("wire_unpack")?,
            stream: Arc::clone(stream),
            packed: packed.map_err(cuda("allocate memory"))?,
        })
    }

    /// The buffer's place for these of the numbers.
    pub(crate) fn packed(&mut self, range: Range<usize>) -> Result<CudaViewMut<'_, bf16>> {
        let length = self.packed.len();
        let view = self.packed.try_slice_mut(range.clone());
        view.ok_or_else(|| invalid("range", format!("{range:?}"), format!("within {length}")))
    }

    /// Rounds `values` into their place.
    pub(crate) fn pack(&mut self, values: &CudaView<'_, f32>, range: Range<usize>) -> Result<()> {
        check(values.len(), &range)?;
        let (stream, pack) = (Arc::clone(&self.stream), self.pack.clone());
        let (count, mut packed) = (range.len() as u64, self.packed(range)?);
        let mut launch = stream.launch_builder(&pack);
        launch.arg(&count).arg(values).arg(&mut packed);
        // SAFETY: the kernel's arguments; both places have `count` numbers.
        let launched = unsafe { launch.launch(Module::threads_for(count as usize)) };
        launched.map_err(cuda("pack gradients"))?;
        Ok(())
    }

    /// Makes `values` what is in their place.
    pub(crate) fn unpack(
        &mut self,
        values: &mut CudaViewMut<'_, f32>,
        range: Range<usize>,
    ) -> Result<()> {
        check(values.len(), &range)?;
        let (stream, unpack) = (Arc::clone(&self.stream), self.unpack.clone());
        let (count, packed) = (range.len() as u64, self.packed(range)?.into_view());
        let mut launch = stream.launch_builder(&unpack);
        launch.arg(&count).arg(&packed).arg(values);
        // SAFETY: the kernel's arguments; both places have `count` numbers.
        let launched = unsafe { launch.launch(Module::threads_for(count as usize)) };
        launched.map_err(cuda("unpack gradients"))?;
        Ok(())
    }
}

fn check(length: usize, range: &Range<usize>) -> Result<()> {
    match length == range.len() {
        true => Ok(()),
        false => Err(invalid("number of values", length, range.len())),
    }
}

fn cuda(action: &'static str) -> impl Fn(DriverError) -> Error {
    move |error| feedline_pipeline::Error::cuda(action)(error).into()
}
