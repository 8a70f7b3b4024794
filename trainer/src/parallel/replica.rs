//! One replica.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Device;

use crate::collective::Collective;
use crate::error::{Error, Result};

/// One of several copies of the same work.
#[derive(Debug)]
pub struct Replica {
    device: Device,
    collective: Box<dyn Collective>,
}

impl Replica {
    pub(super) fn new(device: Device, collective: Box<dyn Collective>) -> Self {
        Self { device, collective }
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

    /// The connection to the others.
    pub fn collective(&self) -> &dyn Collective {
        &*self.collective
    }

    /// Calls `work`. If that fails or panics, the others learn of it.
    pub(super) fn run<T>(&self, work: impl Fn(&Self) -> Result<T>) -> Result<T> {
        let result = catch_unwind(AssertUnwindSafe(|| work(self)))
            .unwrap_or_else(|panic| Err(panicked(self.rank(), &*panic)));
        if let Err(error) = &result {
            self.collective.abort(&error.to_string());
        }
        result
    }
}

/// The error for a panic's payload.
pub(super) fn panicked(rank: usize, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::ReplicaPanicked {
        rank,
        message: text.unwrap_or("without a message").to_owned(),
    }
}
