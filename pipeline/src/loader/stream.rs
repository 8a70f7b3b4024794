//! The endless row of batches behind the epochs: who fills which slot with what, and when.
//!
//! Every slot has a lane of its own: a channel for one finished batch. The stream hands each free slot to the
//! workers with the next (epoch, step), and remembers in which lanes the next batches will arrive. So batches
//! come out in order without sorting, and when all slots are full or lent, nothing more is begun.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::workers::Workers;
use crate::batch::{HostBatch, Recipe, Slot, SlotSize};
use crate::error::{Error, Result};
use crate::order::{EpochOrder, Order};

/// A slot comes back from the workers with what became of it.
type Outcome = (Slot, Result<()>);

pub(super) struct Stream {
    recipe: Arc<Recipe>,
    order: Order,
    lanes: Vec<(Sender<Outcome>, Receiver<Outcome>)>,
    free: (Sender<Slot>, Receiver<Slot>),
    slot_timeout: Duration,
    /// The batches that were handed to the workers, oldest first.
    pending: VecDeque<Pending>,
    /// What the next free slot will hold.
    next: Cursor,
    /// Tells the jobs of `pending` that nobody waits for them any more.
    cancelled: Arc<AtomicBool>,
    /// Last, so that the channels still exist while the threads end.
    workers: Workers,
}

struct Pending {
    epoch: u64,
    step: usize,
    lane: usize,
}

struct Cursor {
    epoch: u64,
    step: usize,
    /// The order of `epoch`.
    order: EpochOrder,
}

impl Stream {
    pub(super) fn new(
        recipe: Recipe,
        order: Order,
        size: SlotSize,
        slots: usize,
        workers: usize,
        slot_timeout: Duration,
    ) -> Result<Self> {
        let free = bounded(slots);
        for number in 0..slots {
            // The channel has room for all of them.
            let _ = free.0.send(Slot::new(number, size));
        }
        Ok(Self {
            recipe: Arc::new(recipe),
            order,
            lanes: (0..slots).map(|_| bounded(1)).collect(),
            free,
            slot_timeout,
            pending: VecDeque::with_capacity(slots),
            next: Cursor {
                epoch: 0,
                step: 0,
                order: order.epoch(0),
            },
            cancelled: Arc::default(),
            workers: Workers::new(workers)?,
        })
    }

    /// Makes the first batch of `epoch` the next one, and has the workers start on it.
    pub(super) fn seek(&mut self, epoch: u64) {
        let ahead = self
            .pending
            .front()
            .map_or((self.next.epoch, self.next.step), |p| (p.epoch, p.step));
        if ahead != (epoch, 0) {
            self.cancel();
            self.next = Cursor {
                epoch,
                step: 0,
                order: self.order.epoch(epoch),
            };
        }
        self.submit_free();
    }

    /// The next batch in order.
    pub(super) fn next(&mut self) -> Result<HostBatch> {
        self.submit_free();
        if self.pending.is_empty() {
            self.wait_for_slot()?;
        }
        let Some(Pending { epoch, step, lane }) = self.pending.pop_front() else {
            unreachable!("a slot was just handed to the workers");
        };
        let (slot, result) = self.receive(lane);
        let batch = HostBatch::new(
            self.recipe.info(epoch, step),
            self.recipe.shape(),
            slot,
            self.free.0.clone(),
        );
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
        match self.free.1.recv_timeout(self.slot_timeout) {
            Ok(slot) => {
                self.submit(slot);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(Error::SlotsHeld {
                    slots: self.lanes.len(),
                    waited: self.slot_timeout,
                })
            }
        }
    }

    fn submit(&mut self, mut slot: Slot) {
        let (epoch, step) = (self.next.epoch, self.next.step);
        let order = self.next.order.clone();
        self.pending.push_back(Pending {
            epoch,
            step,
            lane: slot.number,
        });

        let (recipe, cancelled) = (Arc::clone(&self.recipe), Arc::clone(&self.cancelled));
        let lane = self.lanes[slot.number].0.clone();
        self.workers.spawn(move || {
            let result = recipe.fill(&mut slot, &order, (epoch, step), &cancelled);
            // The lane is empty: its slot was here. It is closed only if the loader is gone.
            let _ = lane.send((slot, result));
        });

        self.next.step += 1;
        if self.next.step == self.recipe.batches.steps() {
            let epoch = epoch.wrapping_add(1);
            self.next = Cursor {
                epoch,
                step: 0,
                order: self.order.epoch(epoch),
            };
        }
    }

    /// Takes back all slots that the workers have.
    fn cancel(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        while let Some(Pending { lane, .. }) = self.pending.pop_front() {
            let (slot, _) = self.receive(lane);
            let _ = self.free.0.send(slot);
        }
        self.cancelled.store(false, Ordering::Relaxed);
    }

    /// Waits for a slot from the workers. Every job that was submitted sends its slot, whatever happens in it.
    fn receive(&self, lane: usize) -> Outcome {
        self.lanes[lane]
            .1
            .recv()
            .expect("the stream itself holds a sender of every lane")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // What has not begun will not begin; the workers then end by themselves.
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("slots", &self.lanes.len())
            .field("pending", &self.pending.len())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
