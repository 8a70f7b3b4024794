//! Replicas: the same code on several devices at once.

mod replica;

pub use replica::Replica;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use candle_core::Device;

use crate::collective::ThreadCollective;
use crate::error::{Error, Result, invalid};
use replica::panicked;

/// On which devices to train, one replica on each.
///
/// ```
/// use feedline_trainer::Replicas;
///
/// let replicas = Replicas::cpu(3)?;
/// let sums = replicas.run(|replica| {
///     let mut values = [replica.rank() as f32];
///     replica.collective().all_reduce_sum(&mut values)?;
///     Ok(values[0])
/// })?;
/// assert_eq!(sums, [3.0; 3]);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// A CPU replica is a thread, but not confined to one core: candle multiplies matrices on the process's one rayon
/// pool, whichever replica calls, so replicas share its threads. `RAYON_NUM_THREADS` limits them.
#[derive(Debug, Clone)]
pub struct Replicas {
    devices: Vec<Device>,
    /// Whether fewer will do.
    flexible: bool,
    deadline: Duration,
}

/// How long a replica waits for the others, unless [`Replicas::deadline`] says otherwise: 10 minutes.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// How long a failed run waits for the replicas that have not stopped yet; less if the deadline is shorter.
const GRACE: Duration = Duration::from_secs(10);

impl Replicas {
    /// All that this machine offers: one CPU replica per processor core, or as many as there is work for. Training takes
    /// fewer where a batch has fewer rows, or a set fewer samples. (This version has no GPU replicas.)
    pub fn auto() -> Self {
        Self::up_to(available_parallelism().map_or(1, usize::from))
    }

    /// This many replicas on the CPU, neither more nor fewer.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `count` is 0.
    pub fn cpu(count: usize) -> Result<Self> {
        if count == 0 {
            return Err(invalid("number of replicas", count, "at least 1"));
        }
        Ok(Self {
            flexible: false,
            ..Self::up_to(count)
        })
    }

    pub(crate) fn up_to(count: usize) -> Self {
        Self {
            devices: vec![Device::Cpu; count],
            flexible: true,
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// How long a replica waits for the others before it reports who is missing. Must be longer than the longest step.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The number of replicas; of [`auto`](Self::auto), the most that there can be.
    pub fn world_size(&self) -> usize {
        self.devices.len()
    }

    /// The replicas for work of which there are only so many parts: fewer of them if that was left open.
    pub(crate) fn limited(mut self, (limit, most): (&str, usize)) -> Result<Self> {
        if self.flexible {
            self.devices.truncate(most);
        }
        if self.world_size() <= most {
            return Ok(self);
        }
        let expected = format!("at most {most}, the {limit}, so that each has a row to work on");
        Err(invalid("number of replicas", self.world_size(), expected))
    }

    /// Runs `work` once per replica, each on a thread of its own, and returns what they return in the order of the
    /// ranks.
    ///
    /// # Errors
    ///
    /// [`Error::ReplicaPanicked`], or the error of the replica that failed first by itself; if there is none,
    /// [`Error::Deadline`]. The others are stopped when they next call their collective.
    ///
    /// A replica that hangs where the others do not wait for it, or one that is alone, is waited for without end. One
    /// that the others miss makes this function fail after the deadline and a few seconds in which it may still say
    /// what is wrong. No thread can be stopped from outside, so its thread is left behind: it keeps what it holds, and
    /// ends when it next calls its collective, or with the process.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&Replica) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let group = ThreadCollective::group(self.world_size(), self.deadline)?;
        let work = Arc::new(work);
        let (sender, finished) = mpsc::channel();
        for (collective, device) in group.into_iter().zip(&self.devices) {
            let replica = Replica::new(device.clone(), Box::new(collective));
            let (work, sender) = (Arc::clone(&work), sender.clone());
            thread::Builder::new()
                .name(format!("replica-{}", replica.rank()))
                .spawn(move || {
                    let rank = replica.rank();
                    let result = replica.run(&*work);
                    // Nobody listens any more if another's failure was reported without this one's.
                    let _ = sender.send((rank, result));
                })
                // The replicas that run already stop, as this one's end of the collective is dropped.
                .map_err(|error| invalid("number of replicas", error, "as many as threads"))?;
        }
        drop(sender);
        self.collect(&finished)
    }

    /// What all replicas return, or the failure that matters most.
    fn collect<T>(&self, finished: &Receiver<(usize, Result<T>)>) -> Result<Vec<T>> {
        let mut values: Vec<Option<T>> = self.devices.iter().map(|_| None).collect();
        let mut failure: Option<(Error, Instant)> = None;
        loop {
            let next = match &failure {
                None => finished.recv().ok(),
                Some((_, since)) => {
                    let grace = self.deadline.min(GRACE).saturating_sub(since.elapsed());
                    finished.recv_timeout(grace).ok()
                }
            };
            match (next, failure.as_mut()) {
                (Some((rank, Ok(value))), _) => values[rank] = Some(value),
                (Some((_, Err(error))), None) => failure = Some((error, Instant::now())),
                (Some((_, Err(error))), Some((known, _))) if cause(&error) > cause(known) => {
                    *known = error;
                }
                (Some(_), Some(_)) => {}
                (None, _) => break,
            }
        }
        if let Some((error, _)) = failure {
            return Err(error);
        }
        let complete = |(rank, value): (usize, Option<T>)| {
            value.ok_or_else(|| panicked(rank, &"while its thread ended"))
        };
        values.into_iter().enumerate().map(complete).collect()
    }
}

/// How much an error tells about the cause: one replica's failure makes others miss it or stop.
fn cause(error: &Error) -> u8 {
    match error {
        Error::Aborted { .. } => 0,
        Error::Deadline { .. } => 1,
        _ => 2,
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.world_size();
        let most = if self.flexible { "up to " } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{most}{count} CPU replica{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    #[test]
    fn results_come_in_the_order_of_the_ranks() {
        let ranks = Replicas::cpu(4).unwrap().run(|replica| Ok(replica.rank()));
        assert_eq!(ranks.unwrap(), [0, 1, 2, 3]);
        assert!(Replicas::cpu(0).is_err());
    }

    #[test]
    fn the_error_that_stopped_the_others_is_reported() {
        let fail = |replica: &Replica| {
            if replica.rank() == 2 {
                return Err(invalid("colour", "green", "red"));
            }
            replica.collective().barrier()
        };
        let error = Replicas::cpu(4).unwrap().run(fail).unwrap_err();
        assert_eq!(error.to_string(), "colour is green, expected red");
    }

    #[test]
    fn a_panic_is_reported_and_stops_the_others() {
        let fail = |replica: &Replica| {
            assert!(replica.rank() != 1, "boom");
            replica.collective().barrier()
        };
        let error = Replicas::cpu(3).unwrap().run(fail).unwrap_err();
        let Error::ReplicaPanicked { rank: 1, message } = error else {
            panic!("{error}")
        };
        assert_eq!(message, "boom");
    }

    #[test]
    fn a_replica_that_never_returns_does_not_hide_the_error() {
        let (release, stuck) = mpsc::channel::<()>();
        let stuck = Mutex::new(stuck);
        let replicas = Replicas::cpu(3).unwrap();
        let hang = move |replica: &Replica| {
            if replica.rank() == 1 {
                let _ = stuck.lock().unwrap().recv();
            }
            replica.collective().barrier()
        };
        let error = replicas.deadline(Duration::from_millis(20)).run(hang);
        let Err(Error::Deadline { missing, .. }) = error else {
            panic!("{error:?}")
        };
        assert!(missing.contains(&1), "{missing:?}");
        drop(release);
    }

    #[test]
    fn what_made_a_replica_late_matters_more_than_that_it_was_late() {
        let given_up = AtomicBool::new(false);
        let fail_late = move |replica: &Replica| {
            if replica.rank() == 0 {
                let result = replica.collective().barrier();
                given_up.store(true, Relaxed);
                return result;
            }
            while !given_up.load(Relaxed) {
                thread::yield_now();
            }
            Err(invalid("colour", "green", "red"))
        };
        let replicas = Replicas::cpu(2).unwrap().deadline(Duration::from_secs(1));
        let error = replicas.run(fail_late).unwrap_err();
        assert_eq!(error.to_string(), "colour is green, expected red");
    }

    #[test]
    fn only_a_number_that_was_asked_for_is_too_large() {
        let limit = ("batch size", 4);
        assert_eq!(Replicas::up_to(9).limited(limit).unwrap().world_size(), 4);
        assert_eq!(Replicas::up_to(3).limited(limit).unwrap().world_size(), 3);
        assert!(Replicas::cpu(4).unwrap().limited(limit).is_ok());
        let error = Replicas::cpu(5).unwrap().limited(limit).unwrap_err();
        assert!(
            error.to_string().contains("at most 4, the batch size"),
            "{error}"
        );
    }
}
