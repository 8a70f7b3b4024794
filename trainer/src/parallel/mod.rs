//! Replicas: the same code on several devices at once.

mod cores;
mod devices;
#[cfg(test)]
pub(crate) mod equivalence;
#[cfg(test)]
mod gpu_tests;
mod join;
#[cfg(all(test, unix, feature = "mpi"))]
mod processes;
mod replica;
#[cfg(test)]
mod tests;

pub use replica::Replica;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use rayon::ThreadPoolBuilder;

use crate::error::{Error, Result, invalid};
use devices::Devices;
use join::Joined;
pub(crate) use replica::{caught, panicked};

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
/// A CPU replica computes on [threads](Self::threads) of its own: all that uses rayon in it, candle's products of
/// matrices and convolutions included, stays on them. One thing is shared: candle 0.11 hands element-wise operations on
/// 65,536 numbers and more to a pool of which a process has one, and `CANDLE_NUM_THREADS` limits that.
///
/// A GPU replica computes on a stream of its own of one GPU; it has threads, too, for what the host does for it. One process
/// drives all GPUs of a machine, unless a launcher starts one for each.
///
/// Replicas of several processes train together once they have [joined](Self::join_launched).
#[derive(Debug, Clone)]
pub struct Replicas {
    devices: Devices,
    /// Whether fewer will do.
    flexible: bool,
    /// Of each replica; the cores are shared out if nothing was said.
    threads: Option<usize>,
    deadline: Duration,
    /// Why they are none, where they were looked for.
    without_gpus: Option<String>,
    /// With those of other processes.
    joined: Option<Joined>,
}

/// How long a replica waits for the others, unless [`Replicas::deadline`] says otherwise: 1 minute.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(60);

/// How long a failed run waits for the replicas that have not stopped yet; less if the deadline is shorter.
const GRACE: Duration = Duration::from_secs(10);

impl Replicas {
    /// All that this machine offers: in a build with the feature `nccl` one replica on each GPU that this process may use,
    /// if there is any; else one CPU replica per processor core. It is as many as there is work for: training takes fewer
    /// where a batch has fewer rows, or a set fewer samples.
    ///
    /// Printed, it says why there are no GPUs in a build that could use them.
    pub fn auto() -> Self {
        Self::gpus().unwrap_or_else(|error| Self {
            without_gpus: match error {
                Error::Unavailable { .. } => None,
                error => Some(error.to_string()),
            },
            ..Self::up_to(cores::own())
        })
    }

    /// One replica on each GPU that this process may use (the environment variable `CUDA_VISIBLE_DEVICES` can name
    /// some), or as many as there is work for.
    ///
    /// ```
    /// use feedline_trainer::Replicas;
    ///
    /// match Replicas::gpus() {
    ///     Ok(replicas) => println!("training on {replicas}"),
    ///     Err(error) => println!("{error}"),
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] in a build without the feature `nccl`; [`NoGpu`](feedline_pipeline::Error::NoGpu) of the
    /// pipeline, in [`Error::Pipeline`], if there is none.
    pub fn gpus() -> Result<Self> {
        Ok(Self::flexible(Devices::gpus()?))
    }

    /// Replicas on this many GPUs, neither more nor fewer: those with the lowest numbers of all that this process may use.
    ///
    /// # Errors
    ///
    /// As [`gpus`](Self::gpus); [`Error::InvalidArgument`] if `count` is 0, or there are not so many.
    pub fn gpu_count(count: usize) -> Result<Self> {
        let mut devices = Devices::gpus()?;
        let visible = devices.count();
        if !(1..=visible).contains(&count) {
            let expected = format!("from 1 to {visible}, which this process may use");
            return Err(invalid("number of GPUs", count, expected));
        }
        devices.truncate(count);
        Ok(Self {
            flexible: false,
            ..Self::flexible(devices)
        })
    }

    /// Whether these are on GPUs.
    ///
    /// ```
    /// use feedline_trainer::Replicas;
    ///
    /// assert!(!Replicas::cpu(2)?.on_gpus());
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub fn on_gpus(&self) -> bool {
        self.devices.are_gpus()
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
        Self::flexible(Devices::Cpu(count))
    }

    /// These, or fewer.
    fn flexible(devices: Devices) -> Self {
        Self {
            devices,
            flexible: true,
            threads: None,
            deadline: DEFAULT_DEADLINE,
            without_gpus: None,
            joined: None,
        }
    }

    /// How many threads each replica computes on. By default the machine's cores are shared out among the replicas, and
    /// each has at least one. More threads change the speed and no result; the way back through a network uses up to eight,
    /// and more replicas use more.
    ///
    /// ```
    /// use feedline_trainer::Replicas;
    ///
    /// let replicas = Replicas::cpu(2)?.threads(3)?;
    /// let threads = replicas.run(|_| Ok(rayon::current_num_threads()))?;
    /// assert_eq!(threads, [3, 3]);
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `per_replica` is 0, or so many for this machine that they would do nothing but wait
    /// for each other: more than 16, and more than four for each core.
    pub fn threads(self, per_replica: usize) -> Result<Self> {
        let most = (4 * cores::own()).max(16);
        if !(1..=most).contains(&per_replica) {
            let expected = format!(
                "from 1 to {most}, as this machine has {} cores",
                cores::own()
            );
            return Err(invalid("threads per replica", per_replica, expected));
        }
        Ok(Self {
            threads: Some(per_replica),
            ..self
        })
    }

    /// How many threads each replica has, now that their number is settled.
    fn threads_per_replica(&self) -> usize {
        let shared_out = (cores::own() / self.on_this_machine()).max(1);
        self.threads.unwrap_or(shared_out)
    }

    /// How long a replica waits for the others before it reports who is missing. Must be longer than the longest step.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The number of replicas, those of other processes included; of [`auto`](Self::auto), the most that there can be.
    pub fn world_size(&self) -> usize {
        match &self.joined {
            Some(joined) => joined.world.world_size(),
            None => self.devices.count(),
        }
    }

    /// The ranks of the replicas in this process: all of them, unless they have [joined](Self::join) others.
    pub fn ranks(&self) -> Range<usize> {
        match &self.joined {
            Some(joined) => joined.world.ranks(),
            None => 0..self.devices.count(),
        }
    }

    /// Whether this process has the replica with rank 0, which alone writes files and shows progress.
    pub fn has_rank_0(&self) -> bool {
        self.ranks().start == 0
    }

    /// The replicas for work of which there are only so many parts: fewer of them if that was left open.
    pub(crate) fn limited(mut self, (limit, most): (&str, usize)) -> Result<Self> {
        if self.flexible && self.joined.is_none() {
            self.devices.truncate(most);
        }
        if self.world_size() <= most {
            return Ok(self);
        }
        let expected = format!("at most {most}, the {limit}, so that each has a row to work on");
        Err(invalid("number of replicas", self.world_size(), expected))
    }

    /// Runs `work` once per replica, each on threads of its own, and returns what they return in the order of the ranks: of
    /// those in this process. `work` is called on one of the replica's threads; the others help where it uses rayon.
    ///
    /// # Errors
    ///
    /// [`Error::ReplicaPanicked`], or the error of the replica that failed first by itself; if there is none,
    /// [`Error::Deadline`]. The others are stopped when they next call their collective, or wait in it: on GPUs also where a
    /// device waits for another's.
    ///
    /// A replica that hangs where the others do not wait for it, or one that is alone, is waited for without end. One
    /// that the others miss makes this function fail after the deadline and a few seconds in which it may still say
    /// what is wrong. No thread can be stopped from outside, so its threads are left behind: they keep what they hold, and
    /// end when it next calls its collective, or with the process.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&Replica) -> Result<T> + Send + Sync + 'static,
    ) -> Result<Vec<T>> {
        let seats = self.devices.seats(self.deadline, self.joined.as_ref());
        let seats = seats.inspect_err(|error| self.abort(&error.to_string()))?;
        let surroundings = self.surroundings();
        let work = Arc::new(work);
        let (sender, finished) = mpsc::channel();
        for seat in seats {
            let (work, sender) = (Arc::clone(&work), sender.clone());
            let (rank, surroundings) = (seat.rank(), surroundings.clone());
            let pool = ThreadPoolBuilder::new()
                .num_threads(self.threads_per_replica())
                .thread_name(move |thread| format!("replica-{rank}-{thread}"))
                // A replica's panics are caught; one beyond that leaves its result out.
                .panic_handler(|_| {})
                .build()
                // The replicas that run already stop, as this one's seat is dropped.
                .map_err(|error| {
                    invalid(
                        "threads per replica",
                        error,
                        "as many as the system can start",
                    )
                })?;
            // The pool's threads end when this is done.
            pool.spawn(move || {
                let result = seat.run(surroundings, &*work);
                // Nobody listens any more if another's failure was reported without this one's.
                let _ = sender.send((rank, result));
            });
        }
        drop(sender);
        self.collect(&finished)
    }

    /// What all replicas return, or the failure that matters most.
    fn collect<T>(&self, finished: &Receiver<(usize, Result<T>)>) -> Result<Vec<T>> {
        let ranks = self.ranks();
        let mut values: Vec<Option<T>> = ranks.clone().map(|_| None).collect();
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
                (Some((rank, Ok(value))), _) => values[rank - ranks.start] = Some(value),
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
        ranks.zip(values).map(complete).collect()
    }
}

/// How much an error tells about the cause: one replica's failure makes others miss it or stop.
fn cause(error: &Error) -> u8 {
    match error {
        Error::Aborted { .. } => 0,
        // Its GPU may have waited for another's.
        Error::Pipeline(feedline_pipeline::Error::GpuStalled { .. }) => 1,
        Error::Deadline { .. } => 2,
        _ => 3,
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = if self.flexible { "up to " } else { "" };
        match &self.joined {
            Some(joined) => joined.describe(&self.devices, f)?,
            None => write!(f, "{most}{}", self.devices)?,
        }
        match self.threads {
            None => {}
            Some(1) => f.write_str(" of 1 thread")?,
            Some(threads) => write!(f, " of {threads} threads")?,
        }
        match &self.without_gpus {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}
