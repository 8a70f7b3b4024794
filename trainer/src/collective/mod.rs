//! How replicas talk to each other.

mod meeting;
mod threads;

pub use threads::ThreadCollective;

use std::fmt::Debug;

use crate::error::Result;

/// One replica's end of the connection to all others.
///
/// Every replica must call the same methods in the same order with as many values. If one fails, the others' calls
/// fail too, and say which one it was.
pub trait Collective: Debug + Send + Sync {
    /// This replica's number, from 0.
    fn rank(&self) -> usize;

    /// How many replicas there are.
    fn world_size(&self) -> usize;

    /// Replaces `values` by their sums over all replicas. The sums are taken in the order of the ranks, so they are the
    /// same to the bit on every replica and in every run.
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

    /// Says that this replica goes no further and why: what the others wait for or call later fails with it.
    fn abort(&self, reason: &str);
}
