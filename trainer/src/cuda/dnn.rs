//! cuDNN: its handle, its memory to compute in, and its descriptors.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::cudnn::result;
use cudarc::cudnn::result::CudnnError;
use cudarc::cudnn::sys::{
    cudnnConvolutionDescriptor_t, cudnnConvolutionMode_t, cudnnDataType_t, cudnnFilterDescriptor_t,
    cudnnHandle_t, cudnnMathType_t, cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};
use cudarc::driver::{CudaSlice, CudaStream, DevicePtrMut};

use super::Real;
use super::blas::int;
use crate::error::{Error, Result};

/// The most memory that an algorithm may take to compute in, in bytes.
pub(super) const WORKSPACE_LIMIT: usize = 256 << 20;

/// The library, on one stream.
pub(super) struct Dnn {
    handle: cudnnHandle_t,
    stream: Arc<CudaStream>,
    workspace: Mutex<Option<CudaSlice<u8>>>,
}

// SAFETY: a handle may be used by any thread, by one at a time: calls are made while the workspace is locked.
unsafe impl Send for Dnn {}
// SAFETY: as above.
unsafe impl Sync for Dnn {}

impl Dnn {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let bound = stream.context().bind_to_thread();
        bound.map_err(Error::cuda("use the device"))?;
        let handle = result::create_handle().map_err(Error::cuda("open cuDNN"))?;
        let dnn = Self {
            handle,
            stream: stream.clone(),
            workspace: Mutex::new(None),
        };
        // SAFETY: both are open; the stream lives as long as the handle.
        let set = unsafe { result::set_stream(handle, stream.cu_stream() as *mut _) };
        set.map_err(Error::cuda("set up cuDNN"))?;
        Ok(dnn)
    }

    /// Calls `with` with the handle and a pointer to this many bytes on the device, which hold anything; they grow to the
    /// most that were ever asked for. Nobody else calls the library meanwhile.
    pub(super) fn with_workspace<R>(
        &self,
        bytes: usize,
        with: impl FnOnce(cudnnHandle_t, *mut std::ffi::c_void) -> R,
    ) -> Result<R> {
        // What is in it means nothing, so a panic in between did no harm.
        let mut workspace = self
            .workspace
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if workspace.as_ref().is_none_or(|own| own.len() < bytes) {
            // Freed first, so that there are never two. What is queued on the stream is done before.
            *workspace = None;
            // SAFETY: algorithms write what they read.
            let larger = unsafe { self.stream.alloc::<u8>(bytes.max(1)) };
            *workspace = Some(larger.map_err(Error::cuda("get memory for cuDNN"))?);
        }
        Ok(match &mut *workspace {
            Some(workspace) if bytes > 0 => {
                let (pointer, _ordered) = workspace.device_ptr_mut(&self.stream);
                with(self.handle, pointer as *mut _)
            }
            _ => with(self.handle, std::ptr::null_mut()),
        })
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

impl Drop for Dnn {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody has it any more. A failure leaves nothing to be done.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

impl fmt::Debug for Dnn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dnn").finish_non_exhaustive()
    }
}

/// A descriptor's type: how to get rid of one.
pub(super) trait Descriptor: Copy {
    /// # Safety
    ///
    /// It must exist, and not be used afterwards.
    unsafe fn destroy(self) -> Result<(), CudnnError>;
}

macro_rules! descriptor {
    ($descriptor:ty, $destroy:ident) => {
        impl Descriptor for $descriptor {
            unsafe fn destroy(self) -> Result<(), CudnnError> {
                // SAFETY: the caller's promise.
                unsafe { result::$destroy(self) }
            }
        }
    };
}

descriptor!(cudnnTensorDescriptor_t, destroy_tensor_descriptor);
descriptor!(cudnnFilterDescriptor_t, destroy_filter_descriptor);
descriptor!(cudnnConvolutionDescriptor_t, destroy_convolution_descriptor);

/// A descriptor that exists for as long as this does.
#[derive(Debug)]
pub(super) struct Owned<D: Descriptor>(D);

// SAFETY: descriptors are plain memory of the host, which this owns.
unsafe impl<D: Descriptor> Send for Owned<D> {}

impl<D: Descriptor> Owned<D> {
    pub(super) fn get(&self) -> D {
        self.0
    }
}

impl<D: Descriptor> Drop for Owned<D> {
    fn drop(&mut self) {
        // SAFETY: it was made with this, which is going.
        let _ = unsafe { self.0.destroy() };
    }
}

fn refused(error: CudnnError) -> Error {
    Error::cuda("describe a convolution")(error)
}

/// Pictures, NHWC.
pub(super) fn tensor<T: Real>(
    [rows, channels, height, width]: [usize; 4],
) -> Result<Owned<cudnnTensorDescriptor_t>> {
    let sizes = [int(rows)?, int(channels)?, int(height)?, int(width)?];
    let tensor = Owned(result::create_tensor_descriptor().map_err(refused)?);
    let format = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
    // SAFETY: it was just made.
    let set = unsafe { result::set_tensor4d_descriptor(tensor.get(), format, T::TENSOR, sizes) };
    set.map_err(refused)?;
    Ok(tensor)
}

/// Filters, KRSC.
pub(super) fn filters<T: Real>(
    [outputs, inputs, kernel]: [usize; 3],
) -> Result<Owned<cudnnFilterDescriptor_t>> {
    let sizes = [int(outputs)?, int(inputs)?, int(kernel)?, int(kernel)?];
    let filters = Owned(result::create_filter_descriptor().map_err(refused)?);
    let format = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
    // SAFETY: it was just made.
    let set = unsafe { result::set_filter4d_descriptor(filters.get(), T::TENSOR, format, sizes) };
    set.map_err(refused)?;
    Ok(filters)
}

/// A convolution that adds up in `f32`, with as much padding on opposite sides.
pub(super) fn convolution(
    [vertical, horizontal]: [usize; 2],
    stride: usize,
    math: cudnnMathType_t,
) -> Result<Owned<cudnnConvolutionDescriptor_t>> {
    let (vertical, horizontal, stride) = (int(vertical)?, int(horizontal)?, int(stride)?);
    let convolution = Owned(result::create_convolution_descriptor().map_err(refused)?);
    // SAFETY: it was just made.
    let set = unsafe {
        result::set_convolution2d_descriptor(
            convolution.get(),
            vertical,
            horizontal,
            stride,
            stride,
            1,
            1,
            cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
            cudnnDataType_t::CUDNN_DATA_FLOAT,
        )
        .and_then(|()| result::set_convolution_math_type(convolution.get(), math))
    };
    set.map_err(refused)?;
    Ok(convolution)
}
