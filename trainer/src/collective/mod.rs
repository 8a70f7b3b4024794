//! How replicas talk to each other.
//!
//! [`Collective`] is one replica's end of the connection. [`Buckets`] says which gradients travel together, [`Reducer`]
//! sums them while the backward pass still runs, and [`Roll`] knows who is missing where.

mod buckets;
mod fault;
mod meeting;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(feature = "nccl")]
mod nccl;
mod overlap;
mod roll;
mod sighting;
#[cfg(all(test, unix, feature = "mpi"))]
pub(crate) mod strike;
mod threads;

pub use buckets::{BucketSizes, Buckets};
pub use fault::NcclFault;
#[cfg(feature = "mpi")]
pub use mpi::{Mpi, MpiCollective};
#[cfg(feature = "nccl")]
pub(crate) use nccl::Ticket;
#[cfg(feature = "nccl")]
pub use nccl::{Communicator, DeviceReducer, Element, Reduction};
pub use overlap::Reducer;
pub use roll::{Missing, Phase, Place, Roll};
pub(crate) use sighting::Sighting;
pub use threads::ThreadCollective;

use std::fmt::Debug;

use crate::error::Result;

/// One replica's end of the connection to all others.
///
/// Every replica must call the same methods in the same order with as many values. If one fails, the others' calls
/// fail too, and say which one it was. One thread calls at a time; a second one needs a connection of its own, a
/// [`duplicate`](Self::duplicate).
pub trait Collective: Debug + Send + Sync {
    /// This replica's number, from 0.
    fn rank(&self) -> usize;

    /// How many replicas there are.
    fn world_size(&self) -> usize;

    /// Replaces `values` by their sums over all replicas, which are the same to the bit on every replica.
    ///
    /// With [`ThreadCollective`] and over MPI they are so in every run, and the same with either, as each is taken in the
    /// order of the ranks. Over NCCL the order is NCCL's choice: the bits should be the same in runs on
    /// the same machine with the same library and settings, and may differ elsewhere.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`](crate::Error::Aborted) if another replica failed, [`Error::Deadline`](crate::Error::Deadline)
    /// if one did not arrive in time, [`Error::Mismatch`](crate::Error::Mismatch) if one called something else.
    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()>;

    /// As [`all_reduce_sum`](Self::all_reduce_sum), for counts and sums that `f32` can't hold.
    ///
    /// # Errors
    ///
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()>;

    /// Replaces `values` by those of rank 0.
    ///
    /// # Errors
    ///
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn broadcast(&self, values: &mut [f32]) -> Result<()>;

    /// Waits until every replica is here.
    ///
    /// # Errors
    ///
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn barrier(&self) -> Result<()>;

    /// A second connection of the same replicas, whose calls never mix with this one's, so that another thread can use
    /// it; MPI's `MPI_Comm_dup`. All replicas must call this. A failure on one of the two is one on both.
    ///
    /// # Errors
    ///
    /// As [`all_reduce_sum`](Self::all_reduce_sum).
    fn duplicate(&self) -> Result<Box<dyn Collective>>;

    /// Says where this replica is, for others that will miss it and for its own
    /// [`Error::Deadline`](crate::Error::Deadline): what it calls from now on belongs to this. Costs next to nothing.
    fn note(&self, step: u64, phase: Phase) {
        let _ = (step, phase);
    }

    /// Says that this replica goes no further and why: what the others wait for or call later fails with it.
    fn abort(&self, reason: &str);
}
