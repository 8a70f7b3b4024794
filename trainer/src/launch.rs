//! What a launcher says about a process that it started.
//!
//! torchrun, Slurm's `srun`, Open MPI's `mpirun` and Kubernetes' PyTorchJob start the same program many times and tell each
//! process in environment variables which one it is and where process 0 is found. [`Launch::from_environment`] reads them
//! all:
//!
//! | launcher | known by | this process | address and port of process 0 |
//! |---|---|---|---|
//! | torchrun | `TORCHELASTIC_RUN_ID` | `RANK` of `WORLD_SIZE`, `LOCAL_RANK` of `LOCAL_WORLD_SIZE` | `MASTER_ADDR`, `MASTER_PORT`, or the next port where torchrun itself uses that one |
//! | Open MPI | `OMPI_COMM_WORLD_RANK` | `OMPI_COMM_WORLD_RANK` of `_SIZE`, `_LOCAL_RANK` of `_LOCAL_SIZE` | on one machine: loopback, and a port made from `PMIX_NAMESPACE` |
//! | Slurm | `SLURM_PROCID` in a step of `srun` | `SLURM_PROCID` of `SLURM_STEP_NUM_TASKS`, `SLURM_LOCALID` of `SLURM_STEP_TASKS_PER_NODE` | the first of `SLURM_STEP_NODELIST`, and a port made from the job and the step |
//! | PyTorchJob, or your own | `RANK` | as torchrun; without `LOCAL_…` alone on its machine | `MASTER_ADDR`, and `MASTER_PORT` or 29500 |
//!
//! The first row that fits counts, as that is the launcher that started this process: in a job of Slurm `mpirun` and
//! torchrun see Slurm's variables too, which then describe something around it. `MASTER_ADDR` and `MASTER_PORT` count
//! under every launcher, and `FEEDLINE_PORT` before every other port.

mod open_mpi;
mod slurm;
#[cfg(test)]
mod tests;
mod torchrun;
mod variables;

use std::ffi::OsString;
use std::fmt;

use crate::error::{Result, invalid};
use variables::Variables;

/// More processes than this are taken for a mistake.
const MOST_PROCESSES: usize = 65_536;

/// The port where process 0 listens if nothing says another.
const PORT: u16 = 29_500;

/// Who started this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// torchrun, of PyTorch.
    Torchrun,
    /// `srun`, of Slurm.
    Slurm,
    /// `mpirun` or `mpiexec`, of Open MPI.
    OpenMpi,
    /// Something else that says it in `RANK` and `WORLD_SIZE`, such as Kubernetes' PyTorchJob, or the program itself.
    Own,
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Torchrun => "torchrun",
            Self::Slurm => "Slurm",
            Self::OpenMpi => "Open MPI",
            Self::Own => "a launcher",
        })
    }
}

/// What a launcher says about this process: its number among those of the run, and where process 0 is found.
///
/// ```
/// use feedline_trainer::launch::Launch;
///
/// // The second of three processes, the last two of which are on one machine.
/// let launch = Launch::new(1, 3, "node-0", 29_500)?.with_local(0, 2)?;
/// assert_eq!((launch.process(), launch.processes()), (1, 3));
/// assert!(!launch.is_one_machine());
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    launcher: Launcher,
    process: usize,
    processes: usize,
    local_process: usize,
    local_processes: usize,
    address: String,
    port: u16,
    run: String,
}

impl Launch {
    /// What this process's environment says; `None` if no launcher has started it.
    ///
    /// ```
    /// use feedline_trainer::launch::Launch;
    ///
    /// match Launch::from_environment()? {
    ///     Some(launch) => println!("{launch}"),
    ///     None => println!("the only process"),
    /// }
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Environment`](crate::Error::Environment) if variables contradict each other, lack another or can't be read.
    pub fn from_environment() -> Result<Option<Self>> {
        Self::from_lookup(&|name| std::env::var_os(name))
    }

    /// What the variables that `lookup` knows say.
    fn from_lookup(lookup: &dyn Fn(&str) -> Option<OsString>) -> Result<Option<Self>> {
        let variables = Variables(lookup);
        if variables.has(torchrun::RUN_ID) {
            return torchrun::read(&variables).map(Some);
        }
        if variables.has(open_mpi::RANK) || variables.has(open_mpi::SIZE) {
            return open_mpi::read(&variables).map(Some);
        }
        if let Some(launch) = slurm::read(&variables)? {
            return Ok(Some(launch));
        }
        if variables.has(torchrun::RANK) || variables.has(torchrun::WORLD_SIZE) {
            return torchrun::read(&variables).map(Some);
        }
        Ok(None)
    }

    /// Process `process` of `processes` that meet at `address`, where process 0 runs, and `port`: for a launcher of one's
    /// own. It is taken to be alone on its machine, unless [`with_local`](Self::with_local) says otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no such process, or if no process could
    /// listen there.
    pub fn new(
        process: usize,
        processes: usize,
        address: impl Into<String>,
        port: u16,
    ) -> Result<Self> {
        let address = address.into();
        if processes == 0 || processes > MOST_PROCESSES {
            let expected = format!("1 to {MOST_PROCESSES}");
            return Err(invalid("number of processes", processes, expected));
        }
        if process >= processes {
            return Err(invalid(
                "process",
                process,
                format!("less than {processes}"),
            ));
        }
        if address.is_empty() {
            return Err(invalid("address", "empty", "the host of process 0"));
        }
        if port == 0 {
            return Err(invalid("port", 0, "1 to 65535"));
        }
        Ok(Self {
            launcher: Launcher::Own,
            process,
            processes,
            local_process: 0,
            local_processes: 1,
            run: format!("port {port}"),
            address,
            port,
        })
    }

    /// The same, as process `process` of the `processes` on this machine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no such process.
    pub fn with_local(mut self, process: usize, processes: usize) -> Result<Self> {
        if processes == 0 || processes > self.processes {
            let expected = format!("1 to {}", self.processes);
            return Err(invalid(
                "number of processes on this machine",
                processes,
                expected,
            ));
        }
        if process >= processes {
            let expected = format!("less than {processes}");
            return Err(invalid("process on this machine", process, expected));
        }
        self.local_process = process;
        self.local_processes = processes;
        Ok(self)
    }

    /// The same, of a run with this identity, which must be the same in all its processes.
    #[must_use]
    pub fn with_run(mut self, run: impl Into<String>) -> Self {
        self.run = run.into();
        self
    }

    /// Who started this process.
    pub fn launcher(&self) -> Launcher {
        self.launcher
    }

    /// This process's number, from 0.
    pub fn process(&self) -> usize {
        self.process
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.processes
    }

    /// This process's number among those on its machine, from 0.
    pub fn local_process(&self) -> usize {
        self.local_process
    }

    /// How many of the processes are on this machine.
    pub fn local_processes(&self) -> usize {
        self.local_processes
    }

    /// The host on which process 0 runs, by name or number.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The port on which process 0 listens for the others.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What keeps this run apart from others that use the same port: the launcher's name for it, with the number of
    /// times that it was started again.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Whether all processes are on this machine.
    pub fn is_one_machine(&self) -> bool {
        self.local_processes == self.processes
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            launcher,
            process,
            processes,
            address,
            port,
            ..
        } = self;
        write!(
            f,
            "process {process} of {processes} that meet at {address}:{port}, started by {launcher}"
        )
    }
}
