//! Waits that end: with what was waited for, with another's failure, or with the deadline.

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use feedline_pipeline::cuda::cudarc::driver::CudaEvent;

use super::communicator::Communicator;
use super::group::{GRACE, Seat, in_time};
use super::handle::{Element, Handle};
use crate::collective::meeting::Call;
use crate::collective::{NcclFault, Phase, Place};
use crate::error::{Error, Result};

/// How long a rank to which NCCL says that something is wrong waits to hear from the roll what.
const HEARSAY: Duration = Duration::from_secs(5);

impl Communicator {
    /// Waits in this thread until all that is on the computing stream is done, as long as no replica fails and the deadline
    /// is not over. Then sums may be read: if another replica fails, there is anything in their place, and this is where
    /// it shows.
    ///
    /// # Errors
    ///
    /// As [`wait`](Self::wait).
    pub fn synchronize(&self) -> Result<()> {
        let event = self.gpu().stream().record_event(None);
        let event = event.map_err(Error::cuda("record an event"))?;
        let Place { step, phase } = self.place("synchronize");
        self.wait(&event, step, phase)
    }

    /// Waits in this thread until a device is past `event`, as long as no replica fails and the deadline is not over.
    /// `step` and `phase` say in the error where that was.
    ///
    /// Only then may a thread call what waits for the device without end, such as a copy to the host: what waits in the
    /// driver notices neither failures nor the deadline.
    ///
    /// # Errors
    ///
    /// As [`all_reduce`](Self::all_reduce), and [`Error::Cuda`] if something on the device has failed.
    pub fn wait(&self, event: &CudaEvent, step: u64, phase: Phase) -> Result<()> {
        self.bind()?;
        self.poll(Place { step, phase }, || {
            let complete = event.try_is_complete();
            complete.map_err(Error::cuda("finish what is on a stream"))
        })
    }

    /// Waits in this thread until all that was begun is done.
    pub(super) fn wait_for_all(&self, place: Place) -> Result<()> {
        let event = self.stream.record_event(None);
        let event = event.map_err(Error::cuda("record an event"))?;
        self.wait(&event, place.step, place.phase)
    }

    /// Begins a call that all ranks make.
    pub(super) fn launch<T: Element>(
        &self,
        name: &'static str,
        length: usize,
        call: impl FnOnce(&Handle) -> Result<()>,
    ) -> Result<()> {
        let place = self.enter(name, T::VALUES, length)?;
        if length == 0 {
            return Ok(());
        }
        let begun = match &*self.group.seat(self.rank) {
            Seat::Taken(handle) => call(handle),
            _ => Err(self.closed()),
        };
        // NCCL refuses, too, if another rank has ended.
        begun.map_err(|error| self.fail(self.ended().unwrap_or(error)))?;
        // Until NCCL is settled, the stream may not know of the call, and events are recorded too early.
        self.poll(place, || Ok(true))
    }

    /// Says that this rank now makes its next call.
    pub(super) fn enter(
        &self,
        name: &'static str,
        values: &'static str,
        length: usize,
    ) -> Result<Place> {
        let place = self.place(name);
        self.group.roll.enter(self.rank, place.step, place.phase);
        self.group.roll.check()?;
        let call = Call {
            name,
            values,
            length,
        };
        let noted = self.group.ledger().note(self.rank, call);
        noted.map_err(|error| self.fail(error))?;
        Ok(place)
    }

    /// What a call belongs to, which may have a name only.
    pub(super) fn place(&self, name: &'static str) -> Place {
        let place = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.unwrap_or(Place {
            step: 0,
            phase: Phase::Other(name),
        })
    }

    /// Polls until NCCL is settled and `done` is true.
    pub(super) fn poll(&self, place: Place, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        loop {
            let state = self.is_settled().and_then(|settled| Ok(settled && done()?));
            // A kernel that was aborted is done, too.
            self.group.roll.check()?;
            if matches!(state, Ok(true)) {
                return Ok(());
            }
            if let Some(error) = self.ended() {
                return Err(self.fail(error));
            }
            state.map_err(|error| self.fail(error))?;
            let waited = start.elapsed();
            if waited >= self.group.deadline {
                return Err(self.fail(Error::Deadline {
                    rank: self.rank,
                    place,
                    missing: self.group.roll.missing(self.rank),
                    waited,
                }));
            }
            pause(waited);
        }
    }

    fn is_settled(&self) -> Result<bool> {
        match &*self.group.seat(self.rank) {
            Seat::Taken(handle) => handle.is_settled(),
            _ => Err(self.closed()),
        }
    }

    /// Whether a rank that this one waits for has ended.
    fn ended(&self) -> Option<Error> {
        let rank = self.group.gone(self.rank)?;
        let reason = "it has ended while others still wait for it".into();
        Some(Error::Aborted { rank, reason })
    }

    /// The error that all others see, too; after another's failure that one, which has closed this rank's connection.
    pub(super) fn fail(&self, error: Error) -> Error {
        if self.group.is_part() && may_be_remote(&error) {
            self.wait_for_news();
        }
        if let Err(first) = self.group.roll.check() {
            return first;
        }
        match &error {
            Error::Aborted { rank, reason } => self.group.roll.abort(*rank, reason),
            error => self.group.roll.abort(self.rank, &error.to_string()),
        }
        error
    }

    /// Waits until the roll has a failure, but not long. NCCL may notice that a process is gone before word of it comes.
    fn wait_for_news(&self) {
        let start = Instant::now();
        let patience = HEARSAY.min(self.group.deadline);
        while self.group.roll.check().is_ok() && start.elapsed() < patience {
            pause(start.elapsed());
        }
    }

    pub(super) fn closed(&self) -> Error {
        Error::Aborted {
            rank: self.rank,
            reason: "its connection has ended".into(),
        }
    }
}

impl Drop for Communicator {
    /// Ends the connection when all that was begun is done, or aborts it. Takes no longer than the deadline and a grace.
    fn drop(&mut self) {
        let end = Place {
            step: self.place("end").step,
            phase: Phase::Other("end"),
        };
        let is_done = self.wait_for_all(end).is_ok();
        if !is_done {
            // The device may still have to do with it, and its destructors wait for the device.
            std::mem::take(&mut self.stagings).leak();
        }
        let seat = std::mem::replace(&mut *self.group.seat(self.rank), Seat::Left);
        if let Seat::Taken(handle) = seat {
            // NCCL needs the device's context, which lives as long as a stream.
            let stream = Arc::clone(&self.stream);
            in_time(move || {
                match is_done {
                    // Nothing is lost if that fails: dropping the handle aborts it.
                    true => drop(end_connection(handle)),
                    false => drop(handle),
                }
                drop(stream);
            });
        }
    }
}

/// Whether this may be how the end of another process looks here.
fn may_be_remote(error: &Error) -> bool {
    use NcclFault::{Internal, Remote, System};
    matches!(error, Error::Nccl { fault, .. } if matches!(fault, Remote | System | Internal))
}

fn end_connection(handle: Handle) -> Result<()> {
    handle.finalize()?;
    let start = Instant::now();
    while !handle.is_settled()? {
        if start.elapsed() >= GRACE {
            return Ok(());
        }
        pause(start.elapsed());
    }
    handle.destroy()
}

/// Gives way to other threads; for a wait that gets long, more of it.
fn pause(waited: Duration) {
    match waited < Duration::from_millis(1) {
        true => thread::yield_now(),
        false => thread::sleep(Duration::from_micros(100)),
    }
}
