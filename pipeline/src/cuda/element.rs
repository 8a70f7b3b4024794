//! What values on a GPU are stored as.

use cudarc::driver::{DeviceRepr, ValidAsZeroBits};

use crate::bf16;
use crate::transform::Element;

/// A type that values of a batch on a GPU can have: `f32` or `bf16`.
///
/// The trait is sealed: these two are all.
pub trait CudaElement: Element + DeviceRepr + ValidAsZeroBits + Unpin {
    /// Writes `values` into `bytes`, which has room for just them, as they lie in memory.
    fn store(values: &[Self], bytes: &mut [u8]);
}

macro_rules! element {
    ($type:ty, $bytes:literal) => {
        impl CudaElement for $type {
            fn store(values: &[Self], bytes: &mut [u8]) {
                let (all, _) = bytes.as_chunks_mut::<$bytes>();
                for (bytes, value) in all.iter_mut().zip(values) {
                    *bytes = value.to_ne_bytes();
                }
            }
        }
    };
}

element!(f32, 4);
element!(bf16, 2);

/// In which order the values of a picture lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Rows, channels, height, width: plane after plane, as candle and the host's batches have it.
    #[default]
    Nchw,
    /// Rows, height, width, channels: pixel after pixel, which convolutions on tensor cores want.
    Nhwc,
}

impl Layout {
    /// As the kernels' names have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nchw => "nchw",
            Self::Nhwc => "nhwc",
        }
    }
}
