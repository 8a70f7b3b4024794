//! Where a slot is filled, and where it waits for its turn.

use std::sync::PoisonError;
use std::time::Duration;

use tracing::debug_span;

use crate::batch::{Failure, OnError, Place, Recipe, SharedSlot, Slot, WorkerMemory, guarded};
use crate::error::{Error, Result};
use crate::sync::atomic::AtomicBool;
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::sync::{Mutex, RwLock};
use crate::transform::Element;

/// A slot comes back from the workers with what became of it.
pub(super) type Outcome<T> = (Slot<T>, Result<()>);

/// The way of one slot through the workers. There is a lane for each slot, so that batches are taken in order
/// without sorting them.
pub(super) struct Lane<T> {
    work: RwLock<Option<Work<T>>>,
    done: (Sender<Outcome<T>>, Receiver<Outcome<T>>),
}

/// A slot that is being filled.
struct Work<T> {
    slot: SharedSlot<T>,
    place: Place,
    report: Mutex<Report>,
}

/// What went wrong so far.
#[derive(Default)]
struct Report {
    failures: Vec<Failure>,
    /// Of each part that ended early, with its first row.
    errors: Vec<(usize, Error)>,
}

impl<T: Element> Lane<T> {
    pub(super) fn new() -> Self {
        Self {
            work: RwLock::new(None),
            done: bounded(1),
        }
    }

    /// Puts a slot here to be filled with the batch at `place`, and returns how many times
    /// [`fill`](Self::fill) must be called for it.
    pub(super) fn begin(&self, slot: Slot<T>, place: Place, parts: usize) -> usize {
        let slot = SharedSlot::new(slot, parts);
        let parts = slot.parts();
        let work = Work {
            slot,
            place,
            report: Mutex::default(),
        };
        *self.work.write().unwrap_or_else(PoisonError::into_inner) = Some(work);
        parts
    }

    /// Fills one part. Who fills the last one sends the slot on.
    pub(super) fn fill(
        &self,
        recipe: &Recipe<T>,
        memory: &mut WorkerMemory,
        cancelled: &AtomicBool,
    ) {
        let last = {
            let work = self.work.read().unwrap_or_else(PoisonError::into_inner);
            work.as_ref()
                .is_some_and(|work| work.fill_part(recipe, memory, cancelled))
        };
        if !last {
            return;
        }
        let work = self
            .work
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(work) = work {
            // There is room: the slot is the only one of this lane.
            let _ = self.done.0.send(work.finish(recipe));
        }
    }

    /// Waits for the slot, or gives up after `patience`.
    pub(super) fn receive(&self, patience: Duration) -> Option<Outcome<T>> {
        // It can't be disconnected: the lane itself has a sender.
        self.done.1.recv_timeout(patience).ok()
    }
}

impl<T: Element> Work<T> {
    /// Whether this was the last part.
    fn fill_part(
        &self,
        recipe: &Recipe<T>,
        memory: &mut WorkerMemory,
        cancelled: &AtomicBool,
    ) -> bool {
        let Some(mut part) = self.slot.claim() else {
            return false;
        };
        let first_row = part.rows.start;
        let Place { epoch, step, .. } = self.place;
        let _span =
            debug_span!("fill", epoch, step, row = first_row, rows = part.rows.len()).entered();
        let mut failures = Vec::new();
        // Whatever happens, the part must be finished, or the slot would be lost and its batch never come.
        let result =
            guarded(|| recipe.fill(&mut part, &self.place, memory, cancelled, &mut failures))
                .unwrap_or_else(|message| {
                    let call = "an error that it returned";
                    Err(Error::SourcePanic { call, message })
                });
        if result.is_err() || !failures.is_empty() {
            let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
            report.failures.append(&mut failures);
            report
                .errors
                .extend(result.err().map(|error| (first_row, error)));
        }
        self.slot.finish(part)
    }

    /// The slot, whole again.
    fn finish(self, recipe: &Recipe<T>) -> Outcome<T> {
        let report = self
            .report
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut slot = self.slot.into_slot();
        slot.samples = recipe.info(self.place.epoch, self.place.step).samples;
        slot.failures = report.failures;
        slot.failures.sort_by_key(|failure| failure.row);
        if let OnError::Skip { .. } = recipe.on_error
            && !slot.failures.is_empty()
        {
            slot.close_gaps();
        }
        // That of the lowest row, whichever part was faster.
        let first = report.errors.into_iter().min_by_key(|(row, _)| *row);
        (slot, first.map_or(Ok(()), |(_, error)| Err(error)))
    }
}
