//! The endless row of batches behind the epochs: who fills which slot with what, and when.
//!
//! The stream hands each free slot to the workers with the next (epoch, step), and remembers in which lanes the
//! next batches will arrive. So batches come out in order without sorting, and when all slots are full or lent,
//! nothing more is begun.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lane::Lane;
use super::workers::{Workers, Workshop};
use crate::batch::{HostBatch, Place, Recipe, Slot, SlotSize};
use crate::error::{Error, Result};
use crate::order::Order;
use crate::source::Source;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::transform::Element;

/// How much work there is at a time, and how long to wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) slots: usize,
    pub(super) workers: usize,
    /// Into how many parts a batch is cut.
    pub(super) parts: usize,
    pub(super) patience: Duration,
}

pub(super) struct Stream<T: Element> {
    workshop: Arc<Workshop<T>>,
    order: Order,
    settings: Settings,
    free: (Sender<Slot<T>>, Receiver<Slot<T>>),
    /// The batches that were handed to the workers, oldest first.
    pending: VecDeque<Pending>,
    /// What the next free slot will hold.
    next: Place,
    workers: Workers,
}

struct Pending {
    epoch: u64,
    step: usize,
    lane: usize,
}

impl<T: Element> Stream<T> {
    pub(super) fn new(
        recipe: Recipe<T>,
        order: Order,
        size: SlotSize,
        settings: Settings,
    ) -> Result<Self> {
        let Settings { slots, workers, .. } = settings;
        let free = bounded(slots);
        for number in 0..slots {
            // The channel has room for all of them.
            let _ = free.0.send(Slot::new(number, size));
        }
        let workshop = Arc::new(Workshop {
            recipe,
            lanes: (0..slots).map(|_| Lane::new()).collect(),
            cancelled: AtomicBool::new(false),
        });
        let queue = slots.saturating_mul(settings.parts);
        Ok(Self {
            workers: Workers::start(&workshop, workers, queue, settings.patience)?,
            next: Place {
                epoch: 0,
                step: 0,
                order: order.epoch(0),
                fresh: true,
            },
            workshop,
            order,
            settings,
            free,
            pending: VecDeque::with_capacity(slots),
        })
    }

    pub(super) fn source(&self) -> &dyn Source {
        &*self.workshop.recipe.source
    }

    /// The epoch and step of the batch that comes next.
    pub(super) fn position(&self) -> (u64, usize) {
        self.pending
            .front()
            .map_or((self.next.epoch, self.next.step), |pending| {
                (pending.epoch, pending.step)
            })
    }

    /// Makes the batch of `step` in `epoch` the next one, and has the workers start on it.
    pub(super) fn seek(&mut self, epoch: u64, step: usize) -> Result<()> {
        // What was cancelled may be half-filled: if it could not be taken back last time, it must be now.
        let cancelled = self.workshop.cancelled.load(Ordering::Relaxed);
        if cancelled || self.position() != (epoch, step) {
            self.cancel()?;
            self.next = Place {
                epoch,
                step,
                order: self.order.epoch(epoch),
                fresh: true,
            };
        }
        self.submit_free();
        Ok(())
    }

    /// The next batch in order.
    pub(super) fn next(&mut self) -> Result<HostBatch<T>> {
        self.submit_free();
        if self.pending.is_empty() {
            self.wait_for_slot()?;
        }
        let (epoch, step) = self.position();
        let (slot, result) = self.receive()?;
        let recipe = &self.workshop.recipe;
        let info = recipe.info(epoch, step);
        let batch = HostBatch::new(info, recipe.shape(), slot, self.free.0.clone());
        result.map(|()| batch)
    }

    /// Hands every free slot to the workers.
    fn submit_free(&mut self) {
        while let Ok(slot) = self.free.1.try_recv() {
            self.submit(slot);
        }
    }

    /// All slots are in the consumer's hands: waits for one, but not for ever.
    fn wait_for_slot(&mut self) -> Result<()> {
        let patience = self.settings.patience;
        match self.free.1.recv_timeout(patience) {
            Ok(slot) => {
                self.submit(slot);
                Ok(())
            }
            Err(_) => Err(Error::SlotsHeld {
                slots: self.settings.slots,
                waited: patience,
            }),
        }
    }

    fn submit(&mut self, slot: Slot<T>) {
        let (epoch, step) = (self.next.epoch, self.next.step);
        let lane = slot.number;
        self.pending.push_back(Pending { epoch, step, lane });
        let place = self.next.clone();
        let parts = self.workshop.lanes[lane].begin(slot, place, self.settings.parts);
        for _ in 0..parts {
            self.workers.fill(lane);
        }

        self.next.step += 1;
        self.next.fresh = false;
        if self.next.step == self.workshop.recipe.batches.steps() {
            let epoch = epoch.wrapping_add(1);
            self.next = Place {
                epoch,
                step: 0,
                order: self.order.epoch(epoch),
                fresh: true,
            };
        }
    }

    /// Takes back all slots that the workers have.
    fn cancel(&mut self) -> Result<()> {
        self.workshop.cancelled.store(true, Ordering::Relaxed);
        while !self.pending.is_empty() {
            let (slot, _) = self.receive()?;
            let _ = self.free.0.send(slot);
        }
        self.workshop.cancelled.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for the oldest batch that the workers have. Every slot that was handed to them comes back, whatever
    /// happens, unless a user's code never returns.
    fn receive(&mut self) -> Result<super::lane::Outcome<T>> {
        let (epoch, step) = self.position();
        let lane = self.pending.front().map_or(0, |pending| pending.lane);
        match self.workshop.lanes[lane].receive(self.settings.patience) {
            Some(outcome) => {
                self.pending.pop_front();
                self.workers.be_patient(self.settings.patience);
                Ok(outcome)
            }
            None => {
                // Whoever drops the loader now has waited long enough.
                self.workers.be_patient(Duration::ZERO);
                Err(Error::Stalled {
                    epoch,
                    step,
                    waited: self.settings.patience,
                })
            }
        }
    }
}

impl<T: Element> Drop for Stream<T> {
    fn drop(&mut self) {
        // What has not begun will not begin; the workers then end by themselves.
        self.workshop.cancelled.store(true, Ordering::Relaxed);
    }
}

impl<T: Element> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("settings", &self.settings)
            .field("pending", &self.pending.len())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
