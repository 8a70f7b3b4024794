//! The roll call: where each replica is, and whether one has failed.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sighting::MOST_LINES;
use crate::error::{Error, Result};

/// What a replica is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// It makes loaders and the model.
    Start,
    /// Everybody takes over rank 0's weights.
    Weights,
    /// It waits for its loader.
    Data,
    /// It computes, forward and backward.
    Gradients,
    /// The statistics of a synchronized batch normalization are added up.
    BatchNorm,
    /// The gradients in this bucket are added up.
    Bucket(usize),
    /// The optimizer changes the weights.
    Optimizer,
    /// Everybody takes over rank 0's running statistics.
    Statistics,
    /// It goes through the test set.
    Evaluation,
    /// Something else, in the words of who calls.
    Other(&'static str),
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Weights => f.write_str("broadcast of weights"),
            Self::Data => f.write_str("wait for data"),
            Self::Gradients => f.write_str("forward and backward pass"),
            Self::BatchNorm => f.write_str("synchronized batch normalization"),
            Self::Bucket(number) => write!(f, "all-reduce of bucket {number}"),
            Self::Optimizer => f.write_str("optimizer"),
            Self::Statistics => f.write_str("broadcast of running statistics"),
            Self::Evaluation => f.write_str("evaluation"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A training step, counted over all epochs, and what a replica is at in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// From 0.
    pub step: u64,
    /// What it is at.
    pub phase: Phase,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, {}", self.step, self.phase)
    }
}

/// A replica that did not come, and where it was seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Its rank.
    pub rank: usize,
    /// `None` if nothing was ever heard of it.
    pub last: Option<Place>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.last {
            Some(place) => write!(f, "replica {} (last seen at: {place})", self.rank),
            None => write!(f, "replica {} (never seen)", self.rank),
        }
    }
}

/// A board on which replicas write where they are, and that they failed. Those in other processes are written there by a
/// [`World`](crate::rendezvous::World).
///
/// A `Roll` belongs to one connection, on which all ranks make the same calls in the same order: who has
/// entered fewer of them than another is missing there. A replica that talks over several connections at
/// once has one roll for each, made by [`beside`](Self::beside): they share the failures, and where a rank was seen last
/// is the latest of all of them.
///
/// ```
/// use feedline_trainer::collective::{Phase, Roll};
///
/// let roll = Roll::new(2);
/// roll.note(1, 7, Phase::Data);
/// assert_eq!(roll.seen(1).unwrap().to_string(), "step 7, wait for data");
/// assert!(roll.missing(0).is_empty());
///
/// roll.abort(1, "no memory");
/// assert_eq!(roll.aborted(), Some((1, "no memory".into())));
/// ```
#[derive(Debug)]
pub struct Roll {
    board: Arc<Board>,
    /// This connection's place in `calls`.
    line: usize,
}

#[derive(Debug)]
struct Board {
    entries: Mutex<Entries>,
    wakers: Mutex<Vec<Waker>>,
}

#[derive(Debug)]
pub(super) struct Entries {
    /// Where each rank is.
    pub(super) places: Vec<Option<Place>>,
    /// Of each connection, how many calls each rank has entered. Other processes may have made connections that are yet to
    /// be made here.
    pub(super) calls: Vec<Vec<u64>>,
    /// How many connections have been made here.
    lines: usize,
    /// Who has ended, without a failure.
    pub(super) gone: Vec<bool>,
    /// Who failed first, and why.
    aborted: Option<(usize, String)>,
}

impl Entries {
    /// Makes room for what is entered on connection `line`.
    pub(super) fn reach(&mut self, line: usize) {
        let world_size = self.places.len();
        while self.calls.len() <= line {
            self.calls.push(vec![0; world_size]);
        }
    }
}

/// Called when a replica has failed.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

impl Roll {
    /// The roll of `world_size` replicas.
    pub fn new(world_size: usize) -> Self {
        let entries = Entries {
            places: vec![None; world_size],
            calls: vec![vec![0; world_size]],
            lines: 1,
            gone: vec![false; world_size],
            aborted: None,
        };
        let board = Board {
            entries: Mutex::new(entries),
            wakers: Mutex::default(),
        };
        Self {
            board: Arc::new(board),
            line: 0,
        }
    }

    /// A roll of the same replicas for another connection among them. In several processes all must make theirs in the same
    /// order.
    #[must_use]
    pub fn beside(&self) -> Self {
        let mut entries = self.entries();
        let line = entries.lines;
        entries.lines += 1;
        entries.reach(line);
        Self {
            board: Arc::clone(&self.board),
            line,
        }
    }

    /// This roll once more, for the same connection.
    #[cfg(any(feature = "mpi", feature = "nccl"))]
    pub(crate) fn same(&self) -> Self {
        Self {
            board: Arc::clone(&self.board),
            line: self.line,
        }
    }

    /// The number of replicas.
    pub fn world_size(&self) -> usize {
        self.entries().places.len()
    }

    /// `rank` is here now. Nobody is missed for it.
    pub fn note(&self, rank: usize, step: u64, phase: Phase) {
        #[cfg(all(test, unix, feature = "mpi"))]
        super::strike::at(rank, Place { step, phase });
        if let Some(place) = self.entries().places.get_mut(rank) {
            *place = Some(Place { step, phase });
        }
    }

    /// `rank` is here now, in its next call on this connection.
    pub(crate) fn enter(&self, rank: usize, step: u64, phase: Phase) {
        let mut entries = self.entries();
        if let Some(place) = entries.places.get_mut(rank) {
            *place = Some(Place { step, phase });
            entries.calls[self.line][rank] += 1;
        }
    }

    /// Where `rank` was seen last.
    pub fn seen(&self, rank: usize) -> Option<Place> {
        self.entries().places.get(rank).copied().flatten()
    }

    /// Who has not entered the call that `rank` is in, and where they were seen last.
    pub fn missing(&self, rank: usize) -> Vec<Missing> {
        if self.line >= MOST_LINES {
            // What others call there is not told.
            return Vec::new();
        }
        let entries = self.entries();
        let calls = &entries.calls[self.line];
        let own = calls.get(rank).copied().unwrap_or(0);
        let late = calls.iter().enumerate().filter(|&(_, &calls)| calls < own);
        late.map(|(rank, _)| Missing {
            rank,
            last: entries.places[rank],
        })
        .collect()
    }

    /// Whether another rank is in a call that `rank` has not entered.
    #[cfg(feature = "mpi")]
    pub(crate) fn is_missed(&self, rank: usize) -> bool {
        let entries = self.entries();
        let mut lines = entries.calls.iter().take(MOST_LINES);
        lines.any(|calls| calls.iter().any(|&own| own > calls[rank]))
    }

    /// `rank` goes no further. The first failure counts; everybody who waits is woken.
    pub fn abort(&self, rank: usize, reason: &str) {
        let first = || (rank, reason.to_owned());
        self.entries().aborted.get_or_insert_with(first);
        let wakers = self.board.wakers.lock();
        for waker in &*wakers.unwrap_or_else(PoisonError::into_inner) {
            (waker.0)();
        }
    }

    /// Who failed first, and why.
    pub fn aborted(&self) -> Option<(usize, String)> {
        self.entries().aborted.clone()
    }

    /// Refuses if a replica has failed.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`].
    pub fn check(&self) -> Result<()> {
        match &self.entries().aborted {
            None => Ok(()),
            Some((rank, reason)) => Err(Error::Aborted {
                rank: *rank,
                reason: reason.clone(),
            }),
        }
    }

    /// Calls `wake` whenever a replica fails, on that replica's thread: for connections on which others sleep. It must
    /// neither call [`abort`](Self::abort) or this, nor wait for one who might.
    pub(crate) fn on_abort(&self, wake: impl Fn() + Send + Sync + 'static) {
        let wakers = self.board.wakers.lock();
        let mut wakers = wakers.unwrap_or_else(PoisonError::into_inner);
        wakers.push(Waker(Box::new(wake)));
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Entries> {
        let entries = self.board.entries.lock();
        entries.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    #[test]
    fn who_has_entered_fewer_calls_is_missing_on_that_connection_only() {
        let roll = Roll::new(3);
        let other = roll.beside();
        roll.enter(0, 4, Phase::Evaluation);
        other.enter(1, 5, Phase::Bucket(0));
        let first = Place {
            step: 5,
            phase: Phase::Bucket(0),
        };
        let missing = [(1, Some(first)), (2, None)].map(|(rank, last)| Missing { rank, last });
        assert_eq!(roll.missing(0), missing);
        assert!(roll.missing(1).is_empty());
        assert_eq!(other.missing(1).len(), 2);
        // Where a rank was seen last does not say that it has come.
        roll.note(1, 6, Phase::Data);
        assert_eq!(roll.missing(0).len(), 2);
        assert_eq!(roll.seen(1).unwrap().to_string(), "step 6, wait for data");
        roll.enter(1, 6, Phase::Evaluation);
        assert_eq!(roll.missing(0), missing[1..]);
    }

    #[test]
    fn the_first_failure_counts_and_everybody_is_woken() {
        let roll = Roll::new(2);
        let other = roll.beside();
        let woken = Arc::new(AtomicUsize::new(0));
        for roll in [&roll, &other] {
            let woken = Arc::clone(&woken);
            roll.on_abort(move || {
                woken.fetch_add(1, Relaxed);
            });
        }
        assert!(roll.check().is_ok() && other.aborted().is_none());
        other.abort(1, "no memory");
        roll.abort(0, "replica 1 has failed");
        assert_eq!(woken.load(Relaxed), 4);
        assert_eq!(roll.aborted(), Some((1, "no memory".into())));
        let error = other.check().unwrap_err().to_string();
        assert!(
            error.contains("replica 1") && error.ends_with("no memory"),
            "{error}"
        );
    }
}
