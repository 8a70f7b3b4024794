//! Replicas: the same code on several devices at once.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, available_parallelism};
use std::time::Duration;

use candle_core::Device;

use crate::collective::{Collective, ThreadCollective};
use crate::error::{Error, Result, invalid};

/// On which devices to train, one replica on each.
///
/// ```
/// use feedline_trainer::parallel::Replicas;
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
#[derive(Debug, Clone)]
pub struct Replicas {
    devices: Vec<Device>,
    deadline: Duration,
}

/// How long a replica waits for the others, unless [`Replicas::deadline`] says otherwise: 10 minutes.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

impl Replicas {
    /// All that this machine offers: one CPU replica per processor core. (This version has no GPU replicas.)
    pub fn auto() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::on(vec![Device::Cpu; cores])
    }

    /// This many replicas on the CPU.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `count` is 0.
    pub fn cpu(count: usize) -> Result<Self> {
        if count == 0 {
            return Err(invalid("number of replicas", count, "at least 1"));
        }
        Ok(Self::on(vec![Device::Cpu; count]))
    }

    fn on(devices: Vec<Device>) -> Self {
        Self {
            devices,
            deadline: DEFAULT_DEADLINE,
        }
    }

    /// How long a replica waits for the others before it reports who is missing. Must be longer than the longest step.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The number of replicas.
    pub fn world_size(&self) -> usize {
        self.devices.len()
    }

    /// Runs `work` once per replica, each on a thread of its own, and returns what they return in the order of the
    /// ranks.
    ///
    /// # Errors
    ///
    /// The error of the replica that failed first, or [`Error::ReplicaPanicked`]. The others are stopped when they
    /// next call their collective.
    pub fn run<T: Send>(&self, work: impl Fn(&Replica) -> Result<T> + Sync) -> Result<Vec<T>> {
        let group = ThreadCollective::group(self.world_size(), self.deadline)?;
        let work = &work;
        let results: Vec<Result<T>> = thread::scope(|scope| {
            let start = |(collective, device): (ThreadCollective, &Device)| {
                let replica = Replica {
                    device: device.clone(),
                    collective: Box::new(collective),
                };
                let name = format!("replica-{}", replica.rank());
                let builder = thread::Builder::new().name(name);
                builder.spawn_scoped(scope, move || replica.run(work))
            };
            let threads: Vec<_> = group.into_iter().zip(&self.devices).map(start).collect();
            let finish =
                |(rank, thread): (usize, std::io::Result<thread::ScopedJoinHandle<'_, _>>)| {
                    match thread {
                        Ok(thread) => thread
                            .join()
                            .unwrap_or_else(|panic| Err(panicked(rank, &*panic))),
                        Err(error) => Err(invalid(
                            "number of replicas",
                            error,
                            "as many as there can be threads",
                        )),
                    }
                };
            threads.into_iter().enumerate().map(finish).collect()
        });
        // What made the others stop is what matters.
        let aborted = |result: &Result<T>| matches!(result, Err(Error::Aborted { .. }));
        let (consequences, own): (Vec<_>, Vec<_>) = results.into_iter().partition(aborted);
        own.into_iter().chain(consequences).collect()
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.world_size();
        write!(
            f,
            "{count} CPU replica{}",
            if count == 1 { "" } else { "s" }
        )
    }
}

/// One of several copies of the same work.
#[derive(Debug)]
pub struct Replica {
    device: Device,
    collective: Box<dyn Collective>,
}

impl Replica {
    /// This replica's number, from 0.
    pub fn rank(&self) -> usize {
        self.collective.rank()
    }

    /// How many replicas there are.
    pub fn world_size(&self) -> usize {
        self.collective.world_size()
    }

    /// Where this replica computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The connection to the others.
    pub fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    fn run<T>(self, work: impl Fn(&Self) -> Result<T>) -> Result<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(&self)))
            .unwrap_or_else(|panic| Err(panicked(self.rank(), &*panic)));
        if let Err(error) = &result {
            self.collective.abort(&error.to_string());
        }
        result
    }
}

fn panicked(rank: usize, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::ReplicaPanicked {
        rank,
        message: text.unwrap_or("without a message").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(error.to_string(), "replica 1 panicked: boom");
    }
}
