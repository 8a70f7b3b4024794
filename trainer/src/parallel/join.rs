//! Replicas of several processes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::devices::Devices;
use super::replica::Surroundings;
use super::{Replicas, cores};
#[cfg(feature = "mpi")]
use crate::collective::Mpi;
use crate::error::{Error, Result, invalid};
use crate::launch::Launch;
use crate::rendezvous::World;

/// Who these replicas have joined.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) world: Arc<World>,
    /// How many processes share this machine.
    processes_here: usize,
}

impl Joined {
    /// All replicas, of which this process has some on `devices`.
    pub(super) fn describe(&self, devices: &Devices, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (world, ranks) = (&self.world, self.world.ranks());
        let kind = match devices {
            #[cfg(feature = "nccl")]
            Devices::Gpus { .. } => "GPU replicas over NCCL",
            _ => "CPU replicas over MPI",
        };
        let (replicas, processes) = (world.world_size(), world.processes());
        let own = name(&ranks);
        write!(
            f,
            "{replicas} {kind} in {processes} processes, here {own}: {devices}"
        )
    }
}

/// Ranks in words.
fn name(ranks: &Range<usize>) -> String {
    match ranks.len() {
        1 => format!("rank {}", ranks.start),
        _ => format!("ranks {} to {}", ranks.start, ranks.end.saturating_sub(1)),
    }
}

impl Replicas {
    /// These replicas together with those of the other processes that a launcher started beside this one, which must
    /// call the same: torchrun, Slurm's srun or Open MPI's mpirun. Without a launcher, or if this is the only process, they
    /// stay as they are. See [`join`](Self::join).
    ///
    /// ```
    /// use feedline_trainer::Replicas;
    ///
    /// let replicas = Replicas::auto().join_launched()?;
    /// println!("training on {replicas}");
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Launch::from_environment`] and [`join`](Self::join).
    pub fn join_launched(self) -> Result<Self> {
        match Launch::from_environment()? {
            Some(launch) => self.join(&launch),
            None => Ok(self),
        }
    }

    /// These replicas together with those of other processes, which must call the same. Waits until all are there, as long
    /// as the [deadline](Self::deadline) lasts, which is then the one of all their waits.
    ///
    /// On GPUs they talk over NCCL: a process takes all GPUs that it sees, or the one with its number if there are several
    /// processes on its machine; of [`gpu_count`](Self::gpu_count) so many for each. On the CPU they talk over MPI (feature `mpi`), and each
    /// process has one replica. If one fails, is missing or falls silent, all others fail with its rank and where it was
    /// seen last. That is the end of what they do together: whatever they run afterwards fails with the same error, and the
    /// program is to be started anew.
    ///
    /// # Errors
    ///
    /// [`Error::Rendezvous`] if not all come or one is refused; [`Error::Disagreement`] if some are on GPUs and others
    /// are not; [`Error::Unavailable`] on the CPU in a build without the feature `mpi`, [`Error::Mpi`] if MPI can't start;
    /// [`Error::InvalidArgument`] if there are more processes than GPUs on this machine, or several CPU replicas were asked
    /// for in each process.
    pub fn join(mut self, launch: &Launch) -> Result<Self> {
        if launch.processes() == 1 {
            return Ok(self);
        }
        self.settle(launch)?;
        let world = World::join(launch, self.devices.count(), self.deadline)?;
        let joined = Joined {
            world: Arc::clone(&world),
            processes_here: launch.local_processes(),
        };
        self.joined = Some(joined);
        self.flexible = false;
        let kind = match self.on_gpus() {
            true => "GPUs",
            false => "the CPU",
        };
        let kind = [("device".to_owned(), kind.to_owned())].into();
        world.agree("devices", &kind)?;
        self.start_engine()
            .inspect_err(|error| self.abort(&error.to_string()))?;
        Ok(self)
    }

    /// Decides on what this process's replicas are, before others learn of them.
    fn settle(&mut self, launch: &Launch) -> Result<()> {
        #[cfg(feature = "nccl")]
        if self.on_gpus() {
            if launch.local_processes() > 1 {
                let per_process = if self.flexible {
                    1
                } else {
                    self.devices.count()
                };
                self.devices = Devices::gpus_of(launch.local_process(), per_process)?;
            }
            return Ok(());
        }
        if cfg!(not(feature = "mpi")) {
            return Err(Error::Unavailable {
                what: "training on CPUs in several processes",
                feature: "mpi",
            });
        }
        if self.flexible {
            self.devices.truncate(1);
        }
        match self.devices.count() {
            1 => Ok(()),
            count => {
                let expected = format!(
                    "1 in each of the {} processes that {} started, with as many threads as it likes",
                    launch.processes(),
                    launch.launcher()
                );
                Err(invalid("number of CPU replicas", count, expected))
            }
        }
    }

    /// Starts what carries values between processes.
    #[cfg(feature = "mpi")]
    fn start_engine(&mut self) -> Result<()> {
        if let (false, Some(joined)) = (self.on_gpus(), &self.joined) {
            let world = &joined.world;
            let roll = world.roll().same();
            let (process, processes) = (world.process(), world.processes());
            let mpi = Mpi::start(roll, process, processes, world.deadline())?;
            self.devices = Devices::Mpi(mpi);
        }
        Ok(())
    }

    #[cfg(not(feature = "mpi"))]
    fn start_engine(&mut self) -> Result<()> {
        Ok(())
    }

    /// Which ranks are here, for what this process says.
    pub(crate) fn place(&self) -> String {
        name(&self.ranks())
    }

    /// Tells the other processes, if there are some, that this one goes no further, and why: for what goes wrong between
    /// [`join`](Self::join) and [`run`](Self::run) or [`Trainer::fit`](crate::Trainer::fit), which tell by themselves.
    ///
    /// ```
    /// use feedline_trainer::Replicas;
    ///
    /// let replicas = Replicas::cpu(1)?.join_launched()?;
    /// let settings = std::fs::read_to_string("settings.toml");
    /// if let Err(error) = &settings {
    ///     replicas.abort(&format!("settings.toml can't be read: {error}"));
    /// }
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub fn abort(&self, reason: &str) {
        if let Some(joined) = &self.joined {
            let rank = joined.world.ranks().start;
            joined.world.roll().abort(rank, reason);
        }
    }

    /// The other processes, if there are some.
    pub(crate) fn world(&self) -> Option<&World> {
        self.joined.as_ref().map(|own| &*own.world)
    }

    /// How many replicas share the cores that this process may use.
    pub(super) fn on_this_machine(&self) -> usize {
        let processes = match &self.joined {
            Some(joined) if !cores::are_chosen() => joined.processes_here,
            _ => 1,
        };
        processes * self.devices.count()
    }

    pub(super) fn surroundings(&self) -> Surroundings {
        Surroundings {
            ranks: self.ranks(),
            on_this_machine: self.on_this_machine(),
            world: self.joined.as_ref().map(|own| Arc::clone(&own.world)),
        }
    }
}
