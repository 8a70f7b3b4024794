//! Batches on NVIDIA GPUs (feature `cuda`).
//!
//! A [`Gpu`] is a device with the stream that computes on it. [`LoaderBuilder::cuda`](crate::loader::LoaderBuilder::cuda)
//! makes a [`CudaLoader`], whose batches lie in its memory, transformed by the GPU itself.
//!
//! Building needs the CUDA toolkit; a program built so needs the driver's library to start, even on a machine without a
//! GPU.

mod batch;
mod batches;
mod builder;
mod earlier;
mod element;
mod exchange;
mod gpu;
mod loader;
mod module;
mod plan;
mod produce;
mod resident;
mod sizes;
mod slot;
mod staging;
mod streaming;
mod transform;

pub use batch::CudaBatch;
pub use batches::CudaBatches;
pub use builder::{CudaLoaderBuilder, DEFAULT_SLOTS};
/// The crate that speaks to the driver, of the version that this one is built with.
pub use cudarc;
pub use element::{CudaElement, Layout};
pub use gpu::Gpu;
pub(crate) use gpu::describe;
pub use loader::CudaLoader;
pub use module::Module;
pub use plan::CudaPlan;

use std::sync::Arc;

/// The kernels of `kernels/`, a constant for each file.
#[allow(dead_code, unreachable_pub, reason = "the build script wrote it")]
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}

/// A user's function that is told how many samples of how many are done.
#[derive(Clone)]
struct Progress(Arc<dyn Fn(usize, usize) + Send + Sync>);

impl Progress {
    fn call(&self, done: usize, all: usize) {
        (self.0)(done, all);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress(..)")
    }
}
