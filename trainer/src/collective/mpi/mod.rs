//! Replicas in several processes, over MPI.

mod buffers;
mod call;
mod engine;
mod library;
mod link;
mod member;
mod waiting;

#[cfg(test)]
mod tests;

pub use engine::Mpi;
pub use member::MpiCollective;
