//! How processes come to the same address.

use std::fmt::Debug;

use crate::error::{Result, invalid};
use crate::rendezvous::World;

/// How the processes of a world hand something small to each other. All must call it, once each and in the same order.
pub(crate) trait Share: Debug + Send + Sync {
    /// What the process of rank 0 passes; the others pass nothing.
    ///
    /// # Errors
    ///
    /// Those of the connection between the processes. Their wait must end when one fails.
    fn share(&self, what: &'static str, value: Option<Vec<u8>>) -> Result<Vec<u8>>;
}

impl Share for World {
    fn share(&self, what: &'static str, value: Option<Vec<u8>>) -> Result<Vec<u8>> {
        Self::share(self, what, value)
    }
}

/// A process that has all ranks.
#[derive(Debug)]
pub(super) struct Alone;

impl Share for Alone {
    fn share(&self, what: &'static str, value: Option<Vec<u8>>) -> Result<Vec<u8>> {
        value.ok_or_else(|| {
            invalid(
                what,
                "nothing",
                "that of rank 0, which is in another process",
            )
        })
    }
}
