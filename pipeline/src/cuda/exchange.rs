//! Where the consumer and the thread that fills slots meet: slots go round, and one says to the other what comes next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync::{Condvar, Mutex};

/// From where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seek {
    pub(super) epoch: u64,
    pub(super) step: usize,
    /// How many samples have failed before.
    pub(super) failed: usize,
}

/// What the thread does next. A row of batches, from one seek to the next, has a number.
#[derive(Debug)]
pub(super) enum Work<S> {
    Seek(u64, Seek),
    Fill(S),
    Stop,
}

/// Why there is no batch.
#[derive(Debug)]
pub(super) enum Refusal {
    /// What the thread says.
    Failed(Error),
    /// The consumer has all slots.
    Held,
    /// Nothing has come.
    Late,
}

/// All slots but those that are being filled or lent. No call waits but [`work`](Self::work) and [`take`](Self::take).
pub(super) struct Exchange<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
    slots: usize,
}

struct State<S> {
    /// Longest free first: the device is done with it soonest.
    free: VecDeque<S>,
    /// In order; an error is the last one.
    ready: VecDeque<Result<S>>,
    lent: usize,
    /// The number of the present row of batches.
    row: u64,
    seek: Option<Seek>,
    stop: bool,
    ended: bool,
}

impl<S> Exchange<S> {
    pub(super) fn new(free: Vec<S>) -> Self {
        let slots = free.len();
        Self {
            state: Mutex::new(State {
                free: free.into(),
                ready: VecDeque::with_capacity(slots + 1),
                lent: 0,
                row: 0,
                seek: None,
                stop: false,
                ended: false,
            }),
            changed: Condvar::new(),
            slots,
        }
    }

    /// For the thread: waits for something to do. Slots are filled only while it is `running`.
    pub(super) fn work(&self, running: bool) -> Work<S> {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Work::Stop;
            }
            if let Some(seek) = state.seek.take() {
                return Work::Seek(state.row, seek);
            }
            if running && let Some(slot) = state.free.pop_front() {
                return Work::Fill(slot);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// For the thread: a slot of `row` is full.
    pub(super) fn deliver(&self, row: u64, slot: S) {
        let mut state = self.lock();
        if state.row == row {
            state.ready.push_back(Ok(slot));
        } else {
            state.free.push_back(slot);
        }
        self.changed.notify_all();
    }

    /// For the thread: `row` ends with an error, in the place of the batch for which it had a slot.
    pub(super) fn fail(&self, row: u64, slot: Option<S>, error: Error) {
        let mut state = self.lock();
        state.free.extend(slot);
        if state.row == row {
            state.ready.push_back(Err(error));
        }
        self.changed.notify_all();
    }

    /// For the thread: it is over.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Begins another row of batches. What was ready is not wanted any more.
    pub(super) fn seek(&self, seek: Seek) {
        let mut state = self.lock();
        let State { free, ready, .. } = &mut *state;
        free.extend(ready.drain(..).flatten());
        state.row += 1;
        state.seek = Some(seek);
        self.changed.notify_all();
    }

    /// Waits for the next batch, but not for ever: for `patience` if the consumer has all slots, else for twice as long, as
    /// whoever fills them reports by itself what takes longer.
    pub(super) fn take(&self, patience: Duration) -> Result<S, Refusal> {
        let start = Instant::now();
        let mut state = self.lock();
        loop {
            match state.ready.pop_front() {
                Some(Ok(slot)) => {
                    state.lent += 1;
                    return Ok(slot);
                }
                Some(Err(error)) => return Err(Refusal::Failed(error)),
                None => {}
            }
            let held = state.lent == self.slots;
            let limit = if held {
                patience
            } else {
                patience.saturating_mul(2)
            };
            let left = limit.saturating_sub(start.elapsed());
            if left.is_zero() || state.ended {
                return Err(if held { Refusal::Held } else { Refusal::Late });
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The consumer is done with a slot.
    pub(super) fn give_back(&self, slot: S) {
        let mut state = self.lock();
        state.lent -= 1;
        state.free.push_back(slot);
        self.changed.notify_all();
    }

    /// Has the thread end, and waits for it as long as `patience`; whether it has ended.
    pub(super) fn stop(&self, patience: Duration) -> bool {
        let start = Instant::now();
        let mut state = self.lock();
        state.stop = true;
        self.changed.notify_all();
        while !state.ended {
            let left = patience.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> fmt::Debug for Exchange<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(60);
    const START: Seek = Seek {
        epoch: 0,
        step: 0,
        failed: 0,
    };

    fn fill(exchange: &Exchange<u32>, row: u64) -> u32 {
        match exchange.work(true) {
            Work::Fill(slot) => {
                exchange.deliver(row, slot);
                slot
            }
            work => panic!("{work:?}"),
        }
    }

    #[test]
    fn slots_go_round_in_order() {
        let exchange = Exchange::new(vec![1, 2]);
        exchange.seek(START);
        assert!(matches!(exchange.work(false), Work::Seek(1, START)));
        let filled = [fill(&exchange, 1), fill(&exchange, 1)];
        let taken = [(); 2].map(|()| exchange.take(LONG).unwrap());
        assert_eq!(taken, filled);
        assert!(matches!(exchange.take(SHORT), Err(Refusal::Held)));
        exchange.give_back(taken[0]);
        assert!(matches!(exchange.take(SHORT), Err(Refusal::Late)));
        assert_eq!(fill(&exchange, 1), taken[0]);
        assert_eq!(exchange.take(LONG).unwrap(), taken[0]);
    }

    #[test]
    fn what_was_made_before_a_seek_is_not_delivered() {
        let exchange = Exchange::new(vec![1, 2, 3]);
        exchange.seek(START);
        assert!(matches!(exchange.work(false), Work::Seek(1, _)));
        fill(&exchange, 1);
        let Work::Fill(late) = exchange.work(true) else {
            panic!("no slot");
        };
        exchange.seek(Seek { epoch: 4, ..START });
        exchange.deliver(1, late);
        exchange.fail(1, None, Error::GpuStalled { waited: LONG });
        assert!(matches!(
            exchange.work(true),
            Work::Seek(2, Seek { epoch: 4, .. })
        ));
        // All three are free.
        let again = [(); 3].map(|()| fill(&exchange, 2));
        assert_eq!(again.map(|_| exchange.take(LONG).unwrap()), again);
    }

    #[test]
    fn an_error_comes_behind_the_batches_before_it() {
        let exchange = Exchange::new(vec![1, 2]);
        exchange.seek(START);
        assert!(matches!(exchange.work(false), Work::Seek(..)));
        let first = fill(&exchange, 1);
        let Work::Fill(slot) = exchange.work(true) else {
            panic!("no slot");
        };
        exchange.fail(1, Some(slot), Error::GpuStalled { waited: LONG });
        assert_eq!(exchange.take(LONG).unwrap(), first);
        assert!(matches!(exchange.take(LONG), Err(Refusal::Failed(_))));
        assert!(matches!(exchange.take(SHORT), Err(Refusal::Late)));
    }

    #[test]
    fn a_thread_that_waits_for_work_can_be_stopped() {
        let exchange = Exchange::new(vec![1]);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert!(matches!(exchange.work(false), Work::Stop));
                exchange.end();
            });
            assert!(exchange.stop(LONG));
        });
        assert!(matches!(exchange.take(LONG), Err(Refusal::Late)));
        assert!(!Exchange::new(vec![1]).stop(SHORT));
    }
}
