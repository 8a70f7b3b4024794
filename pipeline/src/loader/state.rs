//! Where a loader stands, to go on from there later.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a loader stands: a few dozen bytes, whatever the data set.
///
/// Orders and random choices are pure functions of seed, epoch and position, so that this is all there is to save. A
/// loader that is [resumed](super::LoaderBuilder::resume) with it goes on to the bit as if it had never stopped,
/// whatever its number of workers and its prefetch depth, and as any shard of the same global batches. It can be
/// stored in any format that [serde](https://serde.rs) knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LoaderState {
    version: u32,
    pub(super) fingerprint: u64,
    pub(super) batches: String,
    pub(super) seed: u64,
    pub(super) epoch: u64,
    pub(super) step: usize,
}

/// The version of [`LoaderState`] that this version of the crate writes, and the only one that it reads.
const VERSION: u32 = 1;

impl LoaderState {
    pub(crate) fn new(
        fingerprint: u64,
        batches: String,
        seed: u64,
        (epoch, step): (u64, usize),
    ) -> Self {
        Self {
            version: VERSION,
            fingerprint,
            batches,
            seed,
            epoch,
            step,
        }
    }

    /// The epoch of the batch that comes next.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The step of the batch that comes next, within its epoch.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The [fingerprint](crate::Source::fingerprint) of the data.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// Checks that a loader of data with `fingerprint`, in these `batches`, can go on from here.
    pub(super) fn check(
        &self,
        fingerprint: u64,
        batches: &str,
        seed: Option<u64>,
        steps: usize,
    ) -> Result<()> {
        let differ = |what: &'static str, saved: String, found: String| {
            if saved == found {
                Ok(())
            } else {
                Err(Error::ForeignState { what, saved, found })
            }
        };
        let version = |number: u32| format!("version {number}");
        differ("format", version(self.version), version(VERSION))?;
        let hex = |number: u64| format!("{number:016x}");
        differ(
            "fingerprint of the data",
            hex(self.fingerprint),
            hex(fingerprint),
        )?;
        differ("order", self.batches.clone(), batches.to_owned())?;
        let seed = seed.unwrap_or(self.seed);
        differ("seed", self.seed.to_string(), seed.to_string())?;
        if self.step >= steps {
            let found = format!("{steps} steps");
            return differ("step", self.step.to_string(), found);
        }
        Ok(())
    }
}
