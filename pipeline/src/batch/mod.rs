//! Batches in memory: slots of fixed size, how a worker fills one, and how it comes back.
//!
//! All memory for batches is allocated once, as slots. A slot travels in a circle: free, being filled, waiting
//! for its turn, held by the consumer as a [`HostBatch`], free again when that is dropped.

mod host_batch;
mod recipe;
mod slot;

pub use host_batch::{BatchInfo, HostBatch};
pub(crate) use recipe::Recipe;
pub(crate) use slot::{Slot, SlotSize};
