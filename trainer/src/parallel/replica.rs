//! One replica.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use candle_core::Device;
#[cfg(feature = "nccl")]
use feedline_pipeline::cuda::Gpu;

use super::devices::Seat;
use crate::collective::Collective;
#[cfg(feature = "nccl")]
use crate::collective::Communicator;
use crate::error::{Error, Result};
use crate::rendezvous::World;

/// One of several copies of the same work.
#[derive(Debug)]
pub struct Replica {
    device: Device,
    collective: Arc<dyn Collective>,
    /// The same, of a replica on a GPU.
    #[cfg(feature = "nccl")]
    communicator: Option<Arc<Communicator>>,
    surroundings: Surroundings,
}

/// Who else there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// The ranks in this process.
    pub(super) ranks: Range<usize>,
    /// How many replicas this machine has, as far as is known.
    pub(super) on_this_machine: usize,
    /// The other processes, if there are some.
    pub(super) world: Option<Arc<World>>,
}

impl Replica {
    pub(super) fn new(device: Device, collective: impl Collective + 'static) -> Self {
        Self {
            device,
            collective: Arc::new(collective),
            #[cfg(feature = "nccl")]
            communicator: None,
            surroundings: Surroundings::default(),
        }
    }

    #[cfg(feature = "nccl")]
    pub(super) fn on_gpu(device: Device, communicator: Communicator) -> Self {
        let communicator = Arc::new(communicator);
        Self {
            device,
            collective: communicator.clone(),
            communicator: Some(communicator),
            surroundings: Surroundings::default(),
        }
    }

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

    /// The GPU on which this replica computes, on the same stream as [`device`](Self::device); of a CPU replica none.
    #[cfg(feature = "nccl")]
    pub fn gpu(&self) -> Option<&Gpu> {
        self.communicator.as_deref().map(Communicator::gpu)
    }

    /// The connection to the others for values in a GPU's memory, if this replica computes on one.
    #[cfg(feature = "nccl")]
    pub fn communicator(&self) -> Option<&Arc<Communicator>> {
        self.communicator.as_ref()
    }

    /// The connection to the others.
    pub fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    /// The ranks of the replicas in this process: all of them, unless [other processes](Self::world) take part.
    pub fn local_ranks(&self) -> Range<usize> {
        self.surroundings.ranks.clone()
    }

    /// The processes that take part, if it is several.
    pub fn world(&self) -> Option<&World> {
        self.surroundings.world.as_deref()
    }

    /// How many replicas share this machine.
    pub(crate) fn on_this_machine(&self) -> usize {
        self.surroundings.on_this_machine.max(1)
    }

    /// The same connection, to keep: calls through it are calls of [`collective`](Self::collective).
    pub fn shared_collective(&self) -> Arc<dyn Collective> {
        Arc::clone(&self.collective)
    }
}

impl Seat {
    /// Calls `work` with the replica that takes this seat. If that fails or panics, the others learn of it.
    pub(super) fn run<T>(
        self,
        surroundings: Surroundings,
        work: impl Fn(&Replica) -> Result<T>,
    ) -> Result<T> {
        let rank = self.rank();
        let mut replica = caught(rank, || self.replica())?;
        replica.surroundings = surroundings;
        let result = caught(rank, || work(&replica));
        if let Err(error) = &result {
            replica.collective.abort(&error.to_string());
        }
        result
    }
}

/// What `work` returns; its panic is an error.
pub(crate) fn caught<T>(rank: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(rank, &*panic)))
}

/// The error for a panic's payload.
pub(crate) fn panicked(rank: usize, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::ReplicaPanicked {
        rank,
        message: text.unwrap_or("without a message").to_owned(),
    }
}
