//! A barrier that can fail.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::roll::{Place, Roll};
use crate::error::{Error, Result};

/// Where the threads of a group meet. Unlike `std::sync::Barrier` it knows who is missing, gives up after a deadline,
/// and lets nobody wait for a thread that has failed.
#[derive(Debug)]
pub(super) struct Meeting {
    deadline: Duration,
    roll: Roll,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How often everyone was here.
    generation: u64,
    /// What each rank came for, if it is here.
    arrived: Vec<Option<Call>>,
    /// Who will never come again, and why.
    gone: Option<(usize, &'static str)>,
}

/// What a rank calls, to notice ranks that call different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: &'static str,
    /// What it brings: "values", with their type where the name does not say it.
    pub(super) values: &'static str,
    pub(super) length: usize,
}

impl Call {
    fn describe(self) -> String {
        format!("{} with {} {}", self.name, self.length, self.values)
    }

    /// The first rank that came for something else than the first that is here.
    pub(super) fn mismatch(arrived: &[Option<Self>]) -> Option<Error> {
        let here = |(rank, call): (usize, &Option<Self>)| call.map(|call| (rank, call));
        let mut calls = arrived.iter().enumerate().filter_map(here);
        let (other, expected) = calls.next()?;
        let (rank, found) = calls.find(|&(_, call)| call != expected)?;
        Some(Error::Mismatch {
            rank,
            found: found.describe(),
            other,
            expected: expected.describe(),
        })
    }
}

impl Meeting {
    /// A meeting of all who are on the roll.
    pub(super) fn new(deadline: Duration, roll: Roll) -> Arc<Self> {
        let state = State {
            generation: 0,
            arrived: vec![None; roll.world_size()],
            gone: None,
        };
        let meeting = Arc::new(Self {
            deadline,
            roll,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let sleeping = Arc::downgrade(&meeting);
        meeting.roll.on_abort(move || {
            if let Some(meeting) = sleeping.upgrade() {
                // Nobody is between looking for failures and falling asleep while this is locked.
                let _state = meeting.lock();
                meeting.changed.notify_all();
            }
        });
        meeting
    }

    /// One of the same threads, who may be at both at the same time.
    pub(super) fn another(&self) -> Arc<Self> {
        Self::new(self.deadline, self.roll.beside())
    }

    pub(super) fn roll(&self) -> &Roll {
        &self.roll
    }

    /// Waits until every rank is here, for the same.
    pub(super) fn join(&self, rank: usize, call: Call, place: Place) -> Result<()> {
        let start = Instant::now();
        let mut state = self.lock();
        self.roll.enter(rank, place.step, place.phase);
        self.check(&state)?;
        state.arrived[rank] = Some(call);
        if state.arrived.iter().all(Option::is_some) {
            if let Some(error) = Call::mismatch(&state.arrived) {
                return Err(self.fail(state, rank, error));
            }
            state.arrived.fill(None);
            state.generation += 1;
            self.changed.notify_all();
            return Ok(());
        }
        let generation = state.generation;
        loop {
            if state.generation != generation {
                return Ok(());
            }
            self.check(&state)?;
            let waited = start.elapsed();
            if waited >= self.deadline {
                let error = Error::Deadline {
                    rank,
                    place,
                    missing: self.roll.missing(rank),
                    waited,
                };
                return Err(self.fail(state, rank, error));
            }
            let rest = self.deadline - waited;
            state = self
                .changed
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// `rank` comes no more, but has not failed: an error only for those who still wait for it.
    pub(super) fn leave(&self, rank: usize, reason: &'static str) {
        self.lock().gone.get_or_insert((rank, reason));
        self.changed.notify_all();
    }

    fn fail(&self, state: MutexGuard<'_, State>, rank: usize, error: Error) -> Error {
        // Failing wakes those who sleep here, for which it must be open.
        drop(state);
        self.roll.abort(rank, &error.to_string());
        error
    }

    fn check(&self, state: &State) -> Result<()> {
        self.roll.check()?;
        match state.gone {
            None => Ok(()),
            Some((rank, reason)) => Err(Error::Aborted {
                rank,
                reason: reason.into(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
