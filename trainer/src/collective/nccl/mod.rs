//! Replicas on GPUs, which talk over NCCL (feature `nccl`).

mod communicator;
mod group;
mod handle;
mod host;
mod ledger;
mod peers;
mod reducer;
mod share;
mod staging;
#[cfg(test)]
mod tests;
mod waiting;

pub use communicator::Communicator;
pub(crate) use communicator::Ticket;
pub use handle::{Element, Reduction};
pub use reducer::DeviceReducer;
