//! A barrier that can fail.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// Where the threads of a group meet. Unlike `std::sync::Barrier` it knows who is missing, gives up after a deadline,
/// and lets nobody wait for a thread that has failed.
#[derive(Debug)]
pub(super) struct Meeting {
    deadline: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How often everyone was here.
    generation: u64,
    /// What each rank came for, if it is here.
    arrived: Vec<Option<Call>>,
    /// Who failed first, and why.
    failed: Option<(usize, String)>,
}

/// What a rank calls, to notice ranks that call different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) length: usize,
}

impl Call {
    fn describe(self) -> String {
        format!("{} with {} values", self.name, self.length)
    }
}

impl Meeting {
    pub(super) fn new(world_size: usize, deadline: Duration) -> Self {
        let state = State {
            generation: 0,
            arrived: vec![None; world_size],
            failed: None,
        };
        Self {
            deadline,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Waits until every rank is here, for the same.
    pub(super) fn join(&self, rank: usize, call: Call) -> Result<()> {
        let start = Instant::now();
        let mut state = self.lock();
        state.check()?;
        state.arrived[rank] = Some(call);
        if state.arrived.iter().all(Option::is_some) {
            let mismatch = state.mismatch();
            if let Some(error) = mismatch {
                self.fail(&mut state, rank, &error.to_string());
                return Err(error);
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
            state.check()?;
            let waited = start.elapsed();
            if waited >= self.deadline {
                let absent = |rank: &usize| state.arrived[*rank].is_none();
                let error = Error::Deadline {
                    rank,
                    missing: (0..state.arrived.len()).filter(absent).collect(),
                    phase: call.name,
                    waited,
                };
                self.fail(&mut state, rank, &error.to_string());
                return Err(error);
            }
            let rest = self.deadline - waited;
            state = self
                .changed
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Nobody waits for `rank` any more. The first failure counts.
    pub(super) fn abort(&self, rank: usize, reason: &str) {
        self.fail(&mut self.lock(), rank, reason);
    }

    fn fail(&self, state: &mut State, rank: usize, reason: &str) {
        state
            .failed
            .get_or_insert_with(|| (rank, reason.to_owned()));
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<()> {
        match &self.failed {
            None => Ok(()),
            Some((rank, reason)) => Err(Error::Aborted {
                rank: *rank,
                reason: reason.clone(),
            }),
        }
    }

    /// The first rank that came for something else than rank 0.
    fn mismatch(&self) -> Option<Error> {
        let expected = self.arrived[0]?;
        let mut calls = self.arrived.iter().enumerate();
        let (rank, found) = calls.find_map(|(rank, call)| {
            call.filter(|&call| call != expected)
                .map(|call| (rank, call))
        })?;
        Some(Error::Mismatch {
            rank,
            found: found.describe(),
            expected: expected.describe(),
        })
    }
}
