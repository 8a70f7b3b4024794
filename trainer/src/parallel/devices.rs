//! What replicas compute on.

use std::fmt;
use std::time::Duration;

use candle_core::Device;
#[cfg(feature = "nccl")]
use feedline_pipeline::cuda::Gpu;

use super::Replica;
use crate::collective::{Collective, ThreadCollective};
#[cfg(feature = "nccl")]
use crate::collective::{Communicator, Ticket};
use crate::error::{Error, Result};

/// What replicas compute on, all of one kind.
#[derive(Debug, Clone)]
pub(super) enum Devices {
    /// So many parts of the CPU.
    Cpu(usize),
    /// The GPUs with the lowest numbers, by name.
    #[cfg(feature = "nccl")]
    Gpus(Vec<String>),
}

impl Devices {
    /// All GPUs that this process may use.
    #[cfg(feature = "nccl")]
    pub(super) fn gpus() -> Result<Self> {
        Ok(Self::Gpus(Gpu::names()?))
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
            Self::Gpus(names) => names.len(),
        }
    }

    /// Leaves no more than `most`.
    pub(super) fn truncate(&mut self, most: usize) {
        match self {
            Self::Cpu(count) => *count = most.min(*count),
            #[cfg(feature = "nccl")]
            Self::Gpus(names) => names.truncate(most),
        }
    }

    /// What each replica needs to begin, in the order of the ranks.
    pub(super) fn seats(&self, deadline: Duration) -> Result<Vec<Seat>> {
        match self {
            Self::Cpu(count) => {
                let group = ThreadCollective::group(*count, deadline)?;
                Ok(group.into_iter().map(Seat::Cpu).collect())
            }
            #[cfg(feature = "nccl")]
            Self::Gpus(names) => {
                let tickets = Ticket::group(names.len(), deadline)?;
                Ok(tickets.into_iter().map(Seat::Gpu).collect())
            }
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count() == 1 { "" } else { "s" };
        match self {
            Self::Cpu(count) => write!(f, "{count} CPU replica{plural}"),
            #[cfg(feature = "nccl")]
            Self::Gpus(names) => {
                let mut kinds = names.clone();
                kinds.dedup();
                let (count, kinds) = (names.len(), kinds.join(", "));
                write!(f, "{count} GPU replica{plural} ({kinds})")
            }
        }
    }
}

/// What a replica needs to begin, made for all and taken to a thread for each. One that is dropped without a replica makes
/// the others fail.
#[derive(Debug)]
pub(super) enum Seat {
    Cpu(ThreadCollective),
    #[cfg(feature = "nccl")]
    Gpu(Ticket),
}

impl Seat {
    pub(super) fn rank(&self) -> usize {
        match self {
            Self::Cpu(collective) => collective.rank(),
            #[cfg(feature = "nccl")]
            Self::Gpu(ticket) => ticket.rank(),
        }
    }

    /// The replica, which belongs to this thread.
    pub(super) fn replica(self) -> Result<Replica> {
        match self {
            Self::Cpu(collective) => Ok(Replica::new(Device::Cpu, collective)),
            #[cfg(feature = "nccl")]
            Self::Gpu(ticket) => {
                let (device, gpu) = open(ticket.rank())
                    .inspect_err(|error: &Error| ticket.abort(&error.to_string()))?;
                Ok(Replica::on_gpu(
                    device,
                    Communicator::connect(ticket, &gpu)?,
                ))
            }
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
