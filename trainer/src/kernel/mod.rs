//! The arithmetic of training on the CPU, on plain slices.

pub(crate) mod activation;
pub(crate) mod batch;
pub(crate) mod batch_norm;
pub(crate) mod border;
pub(crate) mod buffer;
pub(crate) mod convolution;
pub(crate) mod data_gradient;
pub(crate) mod entries;
pub(crate) mod filters;
mod isa;
pub(crate) mod layout;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod pool;
pub(crate) mod reversed;
pub(crate) mod scratch;
pub(crate) mod shape;
pub(crate) mod sparse;
#[cfg(test)]
mod testing;
pub(crate) mod tile;
mod vector;
pub(crate) mod winograd;

pub use isa::Isa;
pub(crate) use isa::{Kernel, run};
pub(crate) use vector::Vector;

/// Channels and features are padded with zeros to a multiple of this, so that no kernel has a tail.
pub(crate) const BLOCK: usize = 16;

/// The next multiple of [`BLOCK`].
pub(crate) const fn padded(count: usize) -> usize {
    count.next_multiple_of(BLOCK)
}
