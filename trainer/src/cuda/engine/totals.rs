//! Totals on their way from the device to the host.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaEvent, CudaView, PinnedHostSlice};

use crate::cuda::context::Context;
use crate::engine::Totals;
use crate::error::{Error, Result};

/// Two numbers in memory of the host that the device can write.
#[derive(Debug)]
struct Slot {
    numbers: PinnedHostSlice<f32>,
    /// Behind the copy.
    copied: CudaEvent,
}

impl Slot {
    fn new(context: &Context) -> Result<Self> {
        let device = context.gpu.stream().context();
        let new = || {
            // SAFETY: the numbers are read after they were written only.
            let numbers = unsafe { device.alloc_pinned_with_flags(2, 0)? };
            let copied = device.new_event(None)?;
            Ok(Self { numbers, copied })
        };
        new().map_err(Error::cuda::<cudarc::driver::DriverError>(
            "make memory for totals",
        ))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The device may not have written yet. If it can't any more there is nothing to wait for.
        let _ = self.copied.synchronize();
    }
}

/// The slots that nobody waits for.
type Free = Arc<Mutex<Vec<Slot>>>;

/// Copies totals to the host.
#[derive(Debug, Default)]
pub(super) struct Copies {
    free: Free,
}

impl Copies {
    /// Queues a copy of the two numbers.
    pub(super) fn queue(
        &self,
        context: &Context,
        totals: &CudaView<'_, f32>,
    ) -> Result<PendingTotals> {
        let free = self
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut slot = match free {
            Some(slot) => slot,
            None => Slot::new(context)?,
        };
        let stream = context.gpu.stream();
        let copied = stream.memcpy_dtoh(totals, &mut slot.numbers);
        let copied = copied.and_then(|()| slot.copied.record(stream));
        copied.map_err(Error::cuda("copy totals to the host"))?;
        Ok(PendingTotals {
            slot: Some(slot),
            free: self.free.clone(),
        })
    }
}

/// Totals that the device may still be computing: those of the work that was queued before they were asked for.
///
/// So a loop can queue further steps before it looks at this one's loss, and the device is never out of work.
#[derive(Debug)]
#[must_use = "these are the totals"]
pub struct PendingTotals {
    slot: Option<Slot>,
    free: Free,
}

impl PendingTotals {
    /// Whether [`wait`](Self::wait) would return at once.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if something on the device failed.
    pub fn is_ready(&self) -> Result<bool> {
        let ready = self
            .slot
            .as_ref()
            .map_or(Ok(true), |slot| slot.copied.try_is_complete());
        ready.map_err(Error::cuda("compute"))
    }

    /// Waits for the totals. A loss that is not a number means that training has diverged, or that a label was no class.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if something on the device failed.
    pub fn wait(mut self) -> Result<Totals> {
        let Some(slot) = &self.slot else {
            return Ok(Totals::default());
        };
        let read = || {
            slot.copied.synchronize()?;
            // Its own event is not recorded while events are not tracked, which is why there is another.
            let numbers = slot.numbers.as_slice()?;
            Ok(Totals {
                loss: numbers[0].into(),
                correct: numbers[1] as usize,
            })
        };
        let totals = read().map_err(Error::cuda::<cudarc::driver::DriverError>("compute"))?;
        let slot = self.slot.take();
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(slot);
        Ok(totals)
    }
}

impl Drop for PendingTotals {
    fn drop(&mut self) {
        // The next copy into it is queued behind this one.
        let slot = self.slot.take();
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(slot);
    }
}
