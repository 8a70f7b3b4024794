//! What replicas compute on.

use std::fmt;
#[cfg(any(feature = "mpi", feature = "nccl"))]
use std::sync::Arc;
use std::time::Duration;

use candle_core::Device;
#[cfg(feature = "nccl")]
use feedline_pipeline::cuda::Gpu;

use super::Replica;
use super::join::Joined;
use crate::collective::{Collective, ThreadCollective};
#[cfg(feature = "nccl")]
use crate::collective::{Communicator, Ticket};
#[cfg(feature = "mpi")]
use crate::collective::{Mpi, MpiCollective};
#[cfg(feature = "nccl")]
use crate::error::invalid;
use crate::error::{Error, Result};

/// What replicas compute on, all of one kind.
#[derive(Debug, Clone)]
pub(super) enum Devices {
    /// So many parts of the CPU.
    Cpu(usize),
    /// GPUs whose numbers follow each other.
    #[cfg(feature = "nccl")]
    Gpus {
        /// The number of the first one.
        first: usize,
        names: Vec<String>,
    },
    /// This process's CPU, beside others over MPI.
    #[cfg(feature = "mpi")]
    Mpi(Arc<Mpi>),
}

impl Devices {
    /// All GPUs that this process may use.
    #[cfg(feature = "nccl")]
    pub(super) fn gpus() -> Result<Self> {
        let names = Gpu::names()?;
        Ok(Self::Gpus { first: 0, names })
    }

    #[cfg(not(feature = "nccl"))]
    pub(super) fn gpus() -> Result<Self> {
        Err(Error::Unavailable {
            what: "training on GPUs",
            feature: "nccl",
        })
    }

    pub(super) fn count(&self) -> usize {
        match self {
            Self::Cpu(count) => *count,
            #[cfg(feature = "nccl")]
            Self::Gpus { names, .. } => names.len(),
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => 1,
        }
    }

    pub(super) fn are_gpus(&self) -> bool {
        match self {
            Self::Cpu(_) => false,
            #[cfg(feature = "nccl")]
            Self::Gpus { .. } => true,
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => false,
        }
    }

    /// Leaves no more than `most`.
    pub(super) fn truncate(&mut self, most: usize) {
        match self {
            Self::Cpu(count) => *count = most.min(*count),
            #[cfg(feature = "nccl")]
            Self::Gpus { names, .. } => names.truncate(most),
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => {}
        }
    }

    /// The GPUs for one of several processes on this machine, `per_process` for each: those that come after the ones of the
    /// processes before it, or all that it sees if these are so many and `CUDA_VISIBLE_DEVICES` says so.
    #[cfg(feature = "nccl")]
    pub(super) fn gpus_of(process: usize, per_process: usize) -> Result<Self> {
        let mut names = Gpu::names()?;
        let is_chosen = std::env::var_os("CUDA_VISIBLE_DEVICES").is_some();
        if is_chosen && names.len() == per_process {
            return Ok(Self::Gpus { first: 0, names });
        }
        let (first, visible) = (process * per_process, names.len());
        if first + per_process > visible {
            let found = format!("number {process}, from 0, with {per_process} GPUs for each");
            let expected = format!(
                "one with GPUs: {visible} are visible; start fewer processes, or hide GPUs from each by CUDA_VISIBLE_DEVICES"
            );
            return Err(invalid("process on this machine", found, expected));
        }
        let names = names.drain(first..).take(per_process).collect();
        Ok(Self::Gpus { first, names })
    }

    /// What each replica of this process needs to begin, in the order of the ranks.
    #[cfg_attr(not(feature = "nccl"), allow(unused_variables))]
    pub(super) fn seats(&self, deadline: Duration, joined: Option<&Joined>) -> Result<Vec<Seat>> {
        match self {
            Self::Cpu(count) => {
                let group = ThreadCollective::group(*count, deadline)?;
                Ok(group.into_iter().map(Seat::Cpu).collect())
            }
            #[cfg(feature = "nccl")]
            Self::Gpus { first, names } => {
                let tickets = match joined {
                    None => Ticket::group(names.len(), deadline)?,
                    Some(Joined { world, .. }) => {
                        let roll = world.roll().same();
                        let share = Arc::clone(world);
                        Ticket::part(world.ranks(), roll, world.deadline(), share)?
                    }
                };
                let seats = tickets.into_iter().zip(*first..);
                Ok(seats.map(|(ticket, gpu)| Seat::Gpu(ticket, gpu)).collect())
            }
            #[cfg(feature = "mpi")]
            Self::Mpi(mpi) => Ok(vec![Seat::Mpi(Box::new(mpi.collective()?))]),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count() == 1 { "" } else { "s" };
        match self {
            Self::Cpu(count) => write!(f, "{count} CPU replica{plural}"),
            #[cfg(feature = "nccl")]
            Self::Gpus { names, .. } => {
                let mut kinds = names.clone();
                kinds.dedup();
                let (count, kinds) = (names.len(), kinds.join(", "));
                write!(f, "{count} GPU replica{plural} ({kinds})")
            }
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => write!(f, "1 CPU replica"),
        }
    }
}

/// What a replica needs to begin, made for all and taken to a thread for each. One that is dropped without a replica makes
/// the others fail.
#[derive(Debug)]
pub(super) enum Seat {
    Cpu(ThreadCollective),
    #[cfg(feature = "nccl")]
    Gpu(Ticket, usize),
    #[cfg(feature = "mpi")]
    Mpi(Box<MpiCollective>),
}

impl Seat {
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Cpu(collective) => collective.rank(),
            #[cfg(feature = "nccl")]
            Self::Gpu(ticket, _) => ticket.rank(),
            #[cfg(feature = "mpi")]
            Self::Mpi(collective) => collective.rank(),
        }
    }

    /// The replica, which belongs to this thread.
    pub(super) fn replica(self) -> Result<Replica> {
        match self {
            Self::Cpu(collective) => Ok(Replica::new(Device::Cpu, collective)),
            #[cfg(feature = "nccl")]
            Self::Gpu(ticket, number) => {
                let (device, gpu) =
                    open(number).inspect_err(|error: &Error| ticket.abort(&error.to_string()))?;
                Ok(Replica::on_gpu(
                    device,
                    Communicator::connect(ticket, &gpu)?,
                ))
            }
            #[cfg(feature = "mpi")]
            Self::Mpi(collective) => Ok(Replica::new(Device::Cpu, *collective)),
        }
    }
}

/// A GPU, and the candle device that computes on the same stream.
#[cfg(feature = "nccl")]
fn open(ordinal: usize) -> Result<(Device, Gpu)> {
    // Not candle's usual device: its stream is another one in each thread.
    let device = Device::new_cuda_with_stream(ordinal)?;
    let stream = device.as_cuda_device()?.cuda_stream();
    // SAFETY: the context is new. Candle uses its memory on this stream only, and what else is made with it orders other
    // streams by events.
    let gpu = unsafe { Gpu::on(stream) }?;
    Ok((device, gpu))
}
