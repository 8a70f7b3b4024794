//! Values in the host's memory.

use super::communicator::{Communicator, Ticket};
use super::handle::Reduction;
use crate::collective::{Collective, Phase};
use crate::error::{Result, invalid};

/// Values go over the device: what the host sums up seldom and little of, so that it need not be fast.
impl Collective for Communicator {
    fn rank(&self) -> usize {
        Self::rank(self)
    }

    fn world_size(&self) -> usize {
        Self::world_size(self)
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        let staging = &self.stagings.single;
        self.stage(staging, values, "all_reduce_sum", |handle, values| {
            // SAFETY: the memory is the staging's, which nobody else uses until this is done.
            unsafe { handle.all_reduce::<f32>(values, Reduction::Sum, self.stream()) }
        })
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()> {
        let staging = &self.stagings.double;
        self.stage(staging, values, "all_reduce_sum_f64", |handle, values| {
            // SAFETY: as above.
            unsafe { handle.all_reduce::<f64>(values, Reduction::Sum, self.stream()) }
        })
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let staging = &self.stagings.single;
        self.stage(staging, values, "broadcast", |handle, values| {
            // SAFETY: as above.
            unsafe { handle.broadcast::<f32>(values, self.stream()) }
        })
    }

    fn barrier(&self) -> Result<()> {
        let staging = &self.stagings.single;
        self.stage(staging, &mut [0.0], "barrier", |handle, values| {
            // SAFETY: as above.
            unsafe { handle.all_reduce::<f32>(values, Reduction::Sum, self.stream()) }
        })
    }

    fn duplicate(&self) -> Result<Box<dyn Collective>> {
        let shared = &self.group;
        let is_first = self.rank() == shared.ranks.start;
        if is_first {
            let made = shared.another().map_err(|error| self.fail(error))?;
            *shared.duplicate() = Some(made);
        }
        self.barrier()?;
        let made = shared.duplicate().clone();
        // Only now may the first make another one, or drop this.
        self.barrier()?;
        if is_first {
            *shared.duplicate() = None;
        }
        let made = made.ok_or_else(|| invalid("duplicate", "missing", "that of the first rank"))?;
        let ticket = Ticket::new(self.rank(), &made);
        Ok(Box::new(Self::connect(ticket, self.gpu())?))
    }

    fn note(&self, step: u64, phase: Phase) {
        Self::note(self, step, phase);
    }

    fn abort(&self, reason: &str) {
        self.roll().abort(self.rank(), reason);
    }
}
