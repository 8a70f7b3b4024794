//! Networks on NVIDIA GPUs (feature `cuda`; with convolutions, feature `cudnn`).
//!
//! An [`Engine`] trains a [`Sequential`](crate::nn::Sequential) on a GPU without candle's tape: for a training loop of
//! your own.

mod algorithms;
mod blas;
mod context;
#[cfg(feature = "cudnn")]
mod dnn;
mod engine;
mod memory;
mod ops;
mod real;
pub(crate) mod tape;
#[cfg(test)]
mod tests;
#[cfg(feature = "nccl")]
pub(crate) mod wire;

pub use algorithms::Algorithms;
pub use engine::{Engine, Exchange, PendingTotals};
pub use real::Real;

/// The kernels of `kernels/`, a constant for each file.
#[allow(dead_code, unreachable_pub, reason = "the build script wrote it")]
mod kernels {
    include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
}
