//! What a checkpoint holds besides numbers.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use feedline_pipeline::loader::LoaderState;
use serde::{Deserialize, Serialize};

use super::snapshot::Snapshot;
use super::{CheckpointFault, Settings, damaged, error, io, number};
use crate::error::Result;
use crate::fit::{History, Sums};

/// The file's name.
pub(super) const FILE: &str = "checkpoint.json";

/// The version of the format that this version of the crate writes, and the only one that it reads.
const FORMAT: u32 = 1;

/// More is no manifest: a million epochs have less.
const MOST_BYTES: u64 = 1 << 30;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Position {
    /// Steps made, over all epochs.
    pub(crate) step: u64,
    /// The epoch that comes next, or goes on.
    pub(crate) epoch: u64,
    /// What was made of it.
    pub(crate) running: Running,
    /// The epochs that are over.
    pub(crate) history: History,
}

/// What was made of an epoch that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Running {
    /// Steps of it.
    pub(crate) step: usize,
    /// Over their samples.
    pub(crate) sums: Sums,
    /// How long they took.
    pub(crate) duration: Duration,
    /// How much of it rank 0 waited for data.
    pub(crate) data_wait: Duration,
}

/// A parameter without its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParameterShape {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) trained: bool,
}

/// By which a file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fingerprint {
    pub(super) bytes: u64,
    pub(super) crc32: u32,
}

/// What `checkpoint.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    pub(super) crate_version: String,
    pub(crate) position: Position,
    /// The loss by which the best is chosen, of a checkpoint at an epoch's end: on the test set if there is one. No number
    /// where there is none.
    #[serde(with = "number")]
    pub(super) loss: f64,
    pub(crate) settings: Settings,
    pub(crate) loader: LoaderState,
    pub(super) world_size: usize,
    pub(super) parameters: Vec<ParameterShape>,
    pub(super) optimizer_steps: u64,
    pub(super) tensors: Fingerprint,
    /// Of this file with 0 in this place.
    crc32: u32,
}

impl Manifest {
    pub(super) fn new(
        (position, has_test): (&Position, bool),
        settings: &Settings,
        snapshot: &Snapshot,
        tensors: &[u8],
    ) -> Self {
        let last = position
            .history
            .epochs
            .last()
            .filter(|_| position.running.step == 0);
        let loss = last.and_then(|own| match has_test {
            true => Some(own.test?.loss),
            false => Some(own.train.loss),
        });
        Self {
            format: FORMAT,
            crate_version: env!("CARGO_PKG_VERSION").into(),
            position: position.clone(),
            loss: loss.unwrap_or(f64::NAN),
            settings: settings.clone(),
            loader: snapshot.loader.clone(),
            world_size: snapshot.world_size,
            parameters: snapshot.parameters.clone(),
            optimizer_steps: snapshot.optimizer_steps,
            tensors: Fingerprint {
                bytes: tensors.len() as u64,
                crc32: crc32fast::hash(tensors),
            },
            crc32: 0,
        }
    }

    /// The bytes of its file.
    pub(super) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut sealed = self.clone();
        sealed.crc32 = 0;
        sealed.crc32 = crc32fast::hash(&serde_json::to_vec_pretty(&sealed)?);
        serde_json::to_vec_pretty(&sealed)
    }

    /// Reads the one in the checkpoint `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let metadata = fs::symlink_metadata(folder).map_err(io(folder))?;
        if !metadata.is_dir() {
            return Err(damaged(folder, "it is no folder"));
        }
        let path = folder.join(FILE);
        let bytes = read_file(&path, |length| match length <= MOST_BYTES {
            true => Ok(()),
            false => Err(format!(
                "it has {length} bytes, expected at most {MOST_BYTES}"
            )),
        })?;
        Self::decode(&path, &bytes)
    }

    /// Of the bytes of a file at `path`.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let unreadable = |reason: serde_json::Error| damaged(path, reason);
        let Version { format } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if format != FORMAT {
            let reason = format!(
                "it is of version {format} of the format, and this build reads version {FORMAT}"
            );
            return Err(error(path, CheckpointFault::Foreign, reason));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(unreadable)?;
        // Every byte is as this writes it, the checksum's too.
        if manifest.encode().map_err(unreadable)? != bytes {
            return Err(damaged(
                path,
                "its checksum is not that of what was written",
            ));
        }
        let Position {
            step,
            epoch,
            running,
            ..
        } = manifest.position;
        let (loader_epoch, loader_step) = (manifest.loader.epoch(), manifest.loader.step());
        // A step takes one batch, or several; how many is one of the settings.
        let together = |step: usize| {
            loader_epoch == epoch && loader_step >= step && loader_step.is_multiple_of(step)
        };
        if running.step as u64 > step || running.step > 0 && !together(running.step) {
            let reason = format!(
                "step {step}, at step {} of epoch {epoch}, and the loader at step {loader_step} of epoch {loader_epoch}: that does not go together",
                running.step
            );
            return Err(damaged(path, reason));
        }
        Ok(manifest)
    }
}

/// Reads a plain file whose length `fits`, without believing in that.
pub(super) fn read_file(
    path: &Path,
    fits: impl FnOnce(u64) -> Result<(), String>,
) -> Result<Vec<u8>> {
    // Not that of what a link leads to.
    let metadata = fs::symlink_metadata(path).map_err(io(path))?;
    if !metadata.is_file() {
        return Err(damaged(path, "it is no plain file"));
    }
    fits(metadata.len()).map_err(|reason| damaged(path, reason))?;
    let mut bytes = Vec::new();
    let length = usize::try_from(metadata.len()).ok();
    if length.is_none_or(|length| bytes.try_reserve_exact(length).is_err()) {
        let reason = format!("there is no memory for its {} bytes", metadata.len());
        return Err(damaged(path, reason));
    }
    let file = File::open(path).map_err(io(path))?;
    // One more than expected, so that a file that grows is noticed.
    let mut file = file.take(metadata.len() + 1);
    file.read_to_end(&mut bytes).map_err(io(path))?;
    match bytes.len() as u64 == metadata.len() {
        true => Ok(bytes),
        false => Err(damaged(path, "it changes while it is read")),
    }
}
