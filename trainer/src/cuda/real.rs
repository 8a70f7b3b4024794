//! The types of numbers that a network can compute with.

use std::fmt::Debug;

use cudarc::cublas::sys::cudaDataType_t;
#[cfg(feature = "cudnn")]
use cudarc::cudnn::sys::cudnnDataType_t;
use cudarc::driver::{CudaView, CudaViewMut, DeviceRepr, ValidAsZeroBits};
use half::bf16;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for half::bf16 {}
}
use sealed::Sealed;

/// A type of numbers that networks compute with on a GPU: `f32` or [`bf16`].
///
/// What is added up is added up in `f32` (or `f64`) in both, and what is trained is kept in `f32`.
/// No other type can be one.
pub trait Real:
    Sealed + DeviceRepr + ValidAsZeroBits + Copy + Debug + Send + Sync + 'static
{
    /// How the names of kernels for this type end.
    #[doc(hidden)]
    const SUFFIX: &'static str;

    /// cuBLAS' name for this type.
    #[doc(hidden)]
    const MATRIX: cudaDataType_t;

    /// cuDNN's name for this type.
    #[cfg(feature = "cudnn")]
    #[doc(hidden)]
    const TENSOR: cudnnDataType_t;

    /// The same memory, if this type is `f32`.
    #[doc(hidden)]
    fn view(numbers: CudaView<'_, f32>) -> Option<CudaView<'_, Self>>;

    /// The same memory, if this type is `f32`.
    #[doc(hidden)]
    fn view_mut(numbers: CudaViewMut<'_, f32>) -> Option<CudaViewMut<'_, Self>>;

    /// The nearest number of this type.
    fn from_f32(number: f32) -> Self;

    /// The same number, or as near as `f32` can be.
    fn to_f32(self) -> f32;
}

impl Real for f32 {
    const SUFFIX: &'static str = "f32";
    const MATRIX: cudaDataType_t = cudaDataType_t::CUDA_R_32F;
    #[cfg(feature = "cudnn")]
    const TENSOR: cudnnDataType_t = cudnnDataType_t::CUDNN_DATA_FLOAT;

    fn view(numbers: CudaView<'_, f32>) -> Option<CudaView<'_, Self>> {
        Some(numbers)
    }

    fn view_mut(numbers: CudaViewMut<'_, f32>) -> Option<CudaViewMut<'_, Self>> {
        Some(numbers)
    }

    fn from_f32(number: f32) -> Self {
        number
    }

    fn to_f32(self) -> f32 {
        self
    }
}

impl Real for bf16 {
    const SUFFIX: &'static str = "bf16";
    const MATRIX: cudaDataType_t = cudaDataType_t::CUDA_R_16BF;
    #[cfg(feature = "cudnn")]
    const TENSOR: cudnnDataType_t = cudnnDataType_t::CUDNN_DATA_BFLOAT16;

    fn view(_: CudaView<'_, f32>) -> Option<CudaView<'_, Self>> {
        None
    }

    fn view_mut(_: CudaViewMut<'_, f32>) -> Option<CudaViewMut<'_, Self>> {
        None
    }

    fn from_f32(number: f32) -> Self {
        bf16::from_f32(number)
    }

    fn to_f32(self) -> f32 {
        bf16::to_f32(self)
    }
}
