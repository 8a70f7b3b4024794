//! Waiting that ends: when it is done, when a replica has failed, or at the deadline.

use std::hint;
use std::thread;
use std::time::{Duration, Instant};

use super::link::Pending;
use crate::collective::{Place, Roll};
use crate::error::{Error, Result};

/// How long who got an error from MPI waits to hear which process is the cause.
const GRACE: Duration = Duration::from_secs(3);

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) enum For {
    /// Others, who may still compute: this thread soon leaves the processor to them.
    Others,
    /// Values on their way, which get on only while MPI is asked for them.
    Values,
}

impl For {
    /// Asks again at once for a while, then sleeps. To yield instead would cost whole time slices wherever other threads
    /// compute, whereas one that wakes up comes before them.
    fn pause(self, waited: Duration) {
        let (eager, longest) = match self {
            Self::Others => (Duration::from_micros(20), Duration::from_micros(100)),
            Self::Values => (Duration::from_micros(200), Duration::from_micros(20)),
        };
        match waited < eager {
            true => hint::spin_loop(),
            false => thread::sleep((waited / 10).min(longest)),
        }
    }
}

/// One call of a rank, which waits in it.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    pub(super) roll: &'a Roll,
    pub(super) rank: usize,
    pub(super) place: Place,
    pub(super) start: Instant,
    pub(super) deadline: Duration,
}

impl Wait<'_> {
    /// Waits for what has begun. What goes wrong fails all replicas, and what has begun is left behind.
    pub(super) fn finish<B>(&self, begun: Result<Pending<B>>, what: For) -> Result<B> {
        let mut pending = begun.map_err(|error| self.explain(error))?;
        self.poll(what, || pending.poll())
    }

    /// Asks `done` again and again, until it has something.
    pub(super) fn poll<T>(
        &self,
        what: For,
        mut done: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = done().map_err(|error| self.explain(error))? {
                return Ok(found);
            }
            self.roll.check()?;
            let waited = self.start.elapsed();
            if waited >= self.deadline {
                return Err(self.fail(Error::Deadline {
                    rank: self.rank,
                    place: self.place,
                    missing: self.roll.missing(self.rank),
                    waited,
                }));
            }
            what.pause(start.elapsed());
        }
    }

    /// MPI may notice first that a process is gone, but does not say which: the roll will know.
    fn explain(&self, error: Error) -> Error {
        let start = Instant::now();
        while self.roll.check().is_ok() && start.elapsed() < GRACE.min(self.deadline) {
            thread::sleep(Duration::from_millis(10));
        }
        self.fail(error)
    }

    /// The error that all others see, too; after another's failure that one.
    pub(super) fn fail(&self, error: Error) -> Error {
        if let Err(first) = self.roll.check() {
            return first;
        }
        self.roll.abort(self.rank, &error.to_string());
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::Phase;

    fn refused() -> Result<Option<()>> {
        Err(Error::Mpi {
            action: "gather values",
            reason: "the other end is gone".into(),
        })
    }

    fn wait(roll: &Roll, deadline: Duration) -> Wait<'_> {
        Wait {
            roll,
            rank: 0,
            place: Place {
                step: 3,
                phase: Phase::Weights,
            },
            start: Instant::now(),
            deadline,
        }
    }

    #[test]
    fn who_gets_an_error_from_mpi_waits_to_hear_who_has_failed() {
        let (roll, other) = (Roll::new(2), Roll::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                roll.abort(1, "it was killed");
            });
            let error = wait(&roll, GRACE).poll(For::Values, refused).unwrap_err();
            assert!(matches!(error, Error::Aborted { rank: 1, .. }), "{error}");
        });
        // If nobody says so, it is MPI's words that the others hear.
        let wait = wait(&other, Duration::from_millis(50));
        let error = wait.poll(For::Values, refused).unwrap_err();
        assert!(matches!(error, Error::Mpi { .. }), "{error}");
        let (rank, reason) = other.aborted().unwrap();
        assert!(rank == 0 && reason.ends_with("the other end is gone"));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let roll = Roll::new(2);
        roll.enter(0, 3, Phase::Weights);
        let wait = wait(&roll, Duration::from_millis(20));
        let error = wait.poll(For::Others, || Ok(None::<()>)).unwrap_err();
        let Error::Deadline { missing, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(missing[0].rank, 1);
        assert!(roll.check().is_err());
    }
}
