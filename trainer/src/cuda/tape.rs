//! Layers on candle's tape on a GPU: our operations on candle's tensors.
//!
//! candle has pictures channel by channel. What is computed number by number does not mind, and a pool takes each channel
//! for a picture.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::CudaDType;
use candle_core::{CudaDevice, CudaStorage, DType, Error, Layout, Result, bail};
use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, DeviceRepr};
use feedline_pipeline::cuda::Gpu;
use half::bf16;

use super::Real;
use super::context::Context;
use super::ops::shape::{Picture, Pool};
use super::ops::{activation, pool};
use crate::nn::geometry::Side;

/// max(0, x)
pub(crate) fn rectify(storage: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    match storage.dtype() {
        DType::F32 => rectify_as::<f32>(storage, layout),
        DType::BF16 => rectify_as::<bf16>(storage, layout),
        other => refuse(other),
    }
}

fn rectify_as<T: Real + CudaDType>(storage: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    let input = numbers::<T>(storage, layout)?;
    filled::<T>(&storage.device, input.len(), |context, output| {
        activation::forward(context, 1, None, true, &input, output)
    })
}

/// The gradient where something came out, else 0.
pub(crate) fn passed(
    output: (&CudaStorage, &Layout),
    gradient: (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    match output.0.dtype() {
        DType::F32 => passed_as::<f32>(output, gradient),
        DType::BF16 => passed_as::<bf16>(output, gradient),
        other => refuse(other),
    }
}

fn passed_as<T: Real + CudaDType>(
    (output, output_layout): (&CudaStorage, &Layout),
    (gradient, gradient_layout): (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let device = &output.device;
    let output = numbers::<T>(output, output_layout)?;
    let gradient = numbers::<T>(gradient, gradient_layout)?;
    filled::<T>(device, output.len(), |context, passed| {
        activation::backward(context, &output, &gradient, passed)
    })
}

/// The largest of each window of every channel's picture, and their places in the windows.
pub(crate) fn max_pool(
    sides: &[Side; 2],
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, CudaSlice<u16>)> {
    match storage.dtype() {
        DType::F32 => max_pool_as::<f32>(sides, storage, layout),
        DType::BF16 => max_pool_as::<bf16>(sides, storage, layout),
        other => refuse(other),
    }
}

fn max_pool_as<T: Real + CudaDType>(
    sides: &[Side; 2],
    storage: &CudaStorage,
    layout: &Layout,
) -> Result<(CudaStorage, CudaSlice<u16>)> {
    let input = numbers::<T>(storage, layout)?;
    let shape = pool_of(sides)?;
    let pictures = input.len() / shape.input.len();
    let length = pictures * shape.output.len();
    let mut places = allocate(&storage.device, length)?;
    let output = filled::<T>(&storage.device, length, |context, output| {
        let places = &mut places.as_view_mut();
        pool::forward(
            context, &shape, pictures, None, false, &input, output, places,
        )
    })?;
    Ok((output, places))
}

/// Gives each gradient to the place that its value came from.
pub(crate) fn max_pool_gradient(
    sides: &[Side; 2],
    places: &CudaSlice<u16>,
    gradient: &CudaStorage,
    layout: &Layout,
) -> Result<CudaStorage> {
    match gradient.dtype() {
        DType::F32 => max_pool_gradient_as::<f32>(sides, places, gradient, layout),
        DType::BF16 => max_pool_gradient_as::<bf16>(sides, places, gradient, layout),
        other => refuse(other),
    }
}

fn max_pool_gradient_as<T: Real + CudaDType>(
    sides: &[Side; 2],
    places: &CudaSlice<u16>,
    gradient: &CudaStorage,
    layout: &Layout,
) -> Result<CudaStorage> {
    let d_output = numbers::<T>(gradient, layout)?;
    let shape = pool_of(sides)?;
    let pictures = d_output.len() / shape.output.len();
    let length = pictures * shape.input.len();
    filled::<T>(&gradient.device, length, |context, d_input| {
        let places = &places.as_view();
        pool::backward(context, &shape, pictures, None, places, &d_output, d_input)
    })
}

/// The pool of one channel.
fn pool_of(sides: &[Side; 2]) -> Result<Pool> {
    let [height, width] = sides.map(|side| side.size);
    Pool::new(Picture::new(height, width, 1), sides).map_err(Error::wrap)
}

/// The context on the stream of a device of candle's. Making one costs little: kernels are kept, and no library is opened.
fn context_of(device: &CudaDevice) -> Result<Context> {
    // SAFETY: candle and we use memory of a device of candle's on the device's one stream only.
    let gpu = unsafe { Gpu::on(device.cuda_stream()) }.map_err(Error::wrap)?;
    Context::new(&gpu).map_err(Error::wrap)
}

/// The numbers of a contiguous tensor.
fn numbers<'a, T: CudaDType>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    let numbers = storage.as_cuda_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(numbers.slice(start..end)),
        None => bail!("feedline's layers take contiguous tensors only"),
    }
}

/// New numbers, which `fill` must write all.
fn filled<T: Real + CudaDType>(
    device: &CudaDevice,
    length: usize,
    fill: impl FnOnce(&Context, &mut CudaViewMut<'_, T>) -> crate::Result<()>,
) -> Result<CudaStorage> {
    let mut numbers = allocate(device, length)?;
    let context = context_of(device)?;
    fill(&context, &mut numbers.as_view_mut()).map_err(Error::wrap)?;
    Ok(CudaStorage::wrap_cuda_slice(numbers, device.clone()))
}

fn allocate<T: DeviceRepr>(device: &CudaDevice, length: usize) -> Result<CudaSlice<T>> {
    // SAFETY: the only types are numbers, and all of them are written before anything reads them.
    unsafe { device.alloc(length) }
}

fn refuse<T>(dtype: DType) -> Result<T> {
    bail!("feedline's layers compute with f32 or bf16 on a GPU, not {dtype:?}")
}

#[cfg(test)]
mod tests;
