//! A streaming input pipeline: records on disk become shuffled, augmented, batched, prefetched tensors, within
//! a stated memory budget.
//!
//! Data flows one way, and each step is a module:
//!
//! ```text
//! source ──▶ order ──▶ transform ──▶ batch ──▶ sink
//! what is    which     what it       memory    plain buffers
//! on disk    sample    becomes       of fixed  or tensors
//! (mapped)   when                    size
//! ```
//!
//! [`Loader`] ties them together and is all that most programs touch; [`dataset`] opens MNIST, Fashion-MNIST,
//! CIFAR-10 and CIFAR-100, and makes pictures for machines that have none of them.
//!
//! Two promises hold everywhere. *The same seed gives the same batches to the bit*, whatever the number of
//! workers, the prefetch depth, the epochs read before, and (taken together) the number of replicas. *Memory is
//! what the budget says*: [`Loader::plan`] shows it before anything runs.
//!
//! With the default feature `candle` a loader yields candle tensors after `LoaderBuilder::device`; without it, plain
//! buffers. The feature `download` fetches data sets, and `cuda` puts batches on NVIDIA GPUs. The default
//! feature `images` reads folders and tar files of JPEG and PNG pictures.

mod cache;
mod error;
mod random;
mod sync;

pub mod batch;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod dataset;
pub mod loader;
pub mod order;
pub mod sink;
pub mod source;
pub mod transform;

pub use batch::{BatchInfo, HostBatch, OnError};
/// The half-precision types of [`Element`], of the version of the crate `half` that this one is built with.
pub use half::{bf16, f16};

pub use error::{ArchiveEntry, BoxError, Error, Fault, Result};
pub use loader::{Loader, LoaderState};
pub use order::{Shard, Tail};
pub use random::Random;
#[cfg(feature = "candle")]
pub use sink::TensorBatch;
pub use source::{Sample, Shape, Source};
pub use transform::{Element, Transform};
