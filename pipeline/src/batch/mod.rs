//! Batches in memory: slots of fixed size, how workers fill one, and how it comes back.
//!
//! All memory for batches is allocated once, as slots. A slot travels in a circle: free, being filled, waiting
//! for its turn, held by the consumer as a [`HostBatch`], free again when that is dropped.

mod activity;
mod failure;
mod foreign;
mod host_batch;
mod recipe;
mod shared_slot;
mod slot;
mod timer;

pub(crate) use activity::Activity;
pub use failure::{Failure, OnError};
pub(crate) use foreign::{fingerprint, guarded, verify};
pub use host_batch::{BatchInfo, HostBatch};
pub(crate) use recipe::{Place, Recipe, WorkerMemory};
pub(crate) use shared_slot::{Part, SharedSlot};
pub(crate) use slot::{Slot, SlotSize};
use timer::StageTimer;
pub(crate) use timer::StageTimes;
