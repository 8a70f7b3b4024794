//! The endless row of batches behind the epochs: who fills which slot with what, and when.
//!
//! The stream hands each free slot to the workers with the next (epoch, step), and remembers in which lanes the
//! next batches will arrive. So batches come out in order without sorting, and when all slots are full or lent,
//! nothing more is begun.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, debug_span};

use super::lane::Lane;
use super::meter::{ConsumerClock, Meter};
use super::slots::Slots;
use super::stats::Stats;
use super::tuner::{Bounds, Limit, Setting, Tuner};
use super::tuning::Tuning;
use super::waits::Patience;
use super::workers::{Crew, Workers, Workshop};
use crate::batch::{Activity, HostBatch, Place, Recipe, Slot, SlotSize};
use crate::error::{Error, Result};
use crate::order::Order;
use crate::source::Source;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::transform::Element;

/// How much work there is at a time, and how long to wait for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) slots: Bounds,
    pub(super) workers: Bounds,
    /// Into how many parts a batch is cut.
    pub(super) parts: usize,
    pub(super) limit: Limit,
    pub(super) patience: Patience,
}

pub(super) struct Stream<T: Element> {
    workshop: Arc<Workshop<T>>,
    order: Order,
    patience: Patience,
    parts: usize,
    slots: Slots<T>,
    /// The batches that were handed to the workers, oldest first.
    pending: VecDeque<Pending>,
    /// What the next free slot will hold.
    next: Place,
    workers: Workers<T>,
    clock: ConsumerClock,
    tuning: Tuning,
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
        let workshop = Arc::new(Workshop {
            recipe,
            lanes: (0..slots.most).map(|_| Lane::new()).collect(),
            cancelled: AtomicBool::new(false),
            meter: Meter::default(),
            activities: (0..workers.most)
                .map(|_| Arc::new(Activity::default()))
                .collect(),
            crew: Crew::new(workers.most),
            report_after: settings.patience.report_after,
        });
        let queue = slots.most.saturating_mul(settings.parts);
        let patience = settings.patience.at_most;
        let tuner = Tuner::new(workers, slots, settings.parts, settings.limit);
        Ok(Self {
            workers: Workers::start(&workshop, workers.first, queue, patience)?,
            next: Place {
                epoch: 0,
                step: 0,
                order: order.epoch(0),
                fresh: true,
            },
            workshop,
            order,
            patience: settings.patience,
            parts: settings.parts,
            slots: Slots::new(size, slots),
            pending: VecDeque::with_capacity(slots.most),
            clock: ConsumerClock::default(),
            tuning: Tuning::new(tuner),
        })
    }

    /// What the loader's time went into.
    pub(super) fn stats(&self) -> Stats {
        let now = Setting {
            workers: self.workshop.crew.running(),
            slots: self.slots.count,
        };
        Stats::new(self.clock.times(), self.workshop.meter.times(), now)
    }

    /// Whoever delivers the batches says so here.
    pub(super) fn clock(&mut self) -> &mut ConsumerClock {
        &mut self.clock
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
        self.clock.request();
        self.tune();
        self.submit_free();
        if self.pending.is_empty() {
            let slot = self.wait_for_slot();
            // That was the consumer's own doing.
            self.clock.request();
            slot?;
        }
        let (epoch, step) = self.position();
        let received = debug_span!("wait", epoch, step).in_scope(|| self.receive());
        self.clock.receive();
        let (slot, result) = received?;
        let recipe = &self.workshop.recipe;
        let info = recipe.info(epoch, step);
        let batch = HostBatch::new(info, recipe.shape(), slot, self.slots.free.0.clone());
        result.map(|()| batch)
    }

    /// Has more or fewer workers, and more or fewer slots, if that is worth it.
    fn tune(&mut self) {
        let change = self.tuning.look(&self.clock, &self.workshop.meter);
        #[cfg(shuttle)]
        let change = match self.tuning.tuner.is_fixed() {
            true => change,
            false => self.tuning.tuner.change_at_random(),
        };
        let Setting { workers, slots } = self.tuning.tuner.setting();
        if let Some(why) = change {
            debug!("{why}: {workers} workers, {slots} slots");
            self.slots.add(slots);
        }
        // Also without a change: a worker may have left before it heard that it is wanted again.
        if let Err(error) = self.workers.become_many(workers) {
            debug!("{error}");
        }
    }

    /// Hands every free slot to the workers.
    fn submit_free(&mut self) {
        while let Ok(slot) = self.slots.free.1.try_recv() {
            // Not the last one: the consumer may hold all others.
            if self.slots.count > self.tuning.tuner.setting().slots && !self.pending.is_empty() {
                self.slots.remove(slot);
            } else {
                self.submit(slot);
            }
        }
    }

    /// All slots are in the consumer's hands: has one more, if there may be, or waits for one, but not for ever.
    fn wait_for_slot(&mut self) -> Result<()> {
        if self.tuning.tuner.needs_slots(self.slots.count + 1) {
            self.slots.add(self.slots.count + 1);
            self.submit_free();
            return Ok(());
        }
        let Slots { count, free, .. } = &self.slots;
        let wait = |time| free.1.recv_timeout(time).ok();
        let what = || {
            format!(
                "the consumer, for itself: it holds all {count} batches that the loader has memory for"
            )
        };
        match self.patience.wait(wait, what) {
            Some(slot) => {
                self.submit(slot);
                Ok(())
            }
            None => Err(Error::SlotsHeld {
                slots: *count,
                waited: self.patience.at_most,
            }),
        }
    }

    fn submit(&mut self, slot: Slot<T>) {
        let (epoch, step) = (self.next.epoch, self.next.step);
        let lane = slot.number;
        self.pending.push_back(Pending { epoch, step, lane });
        let place = self.next.clone();
        let parts = self.workshop.lanes[lane].begin(slot, place, self.parts);
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
            let _ = self.slots.free.0.send(slot);
        }
        self.workshop.cancelled.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Waits for the oldest batch that the workers have. Every slot that was handed to them comes back, whatever
    /// happens, unless a user's code never returns.
    fn receive(&mut self) -> Result<super::lane::Outcome<T>> {
        let (epoch, step) = self.position();
        let lane = self.pending.front().map_or(0, |pending| pending.lane);
        let Patience { at_most, .. } = self.patience;
        let wait = |time| self.workshop.lanes[lane].receive(time);
        let what = || {
            let at = self.workshop.describe_work(Some(lane));
            format!("the consumer, for the batch of step {step} in epoch {epoch}: {at}")
        };
        match self.patience.wait(wait, what) {
            Some(outcome) => {
                self.pending.pop_front();
                self.workers.be_patient(at_most);
                Ok(outcome)
            }
            None => {
                // Whoever drops the loader now has waited long enough.
                self.workers.be_patient(Duration::ZERO);
                Err(Error::Stalled {
                    epoch,
                    step,
                    waited: at_most,
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
            .field("slots", &self.slots.count)
            .field("pending", &self.pending.len())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
