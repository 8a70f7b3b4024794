//! What a run needs to go on after it was stopped, to the bit; and the weights in it.
//!
//! A checkpoint is a folder `step-0000001234` with `tensors.safetensors`, the parameters and what the optimizer keeps, and
//! `checkpoint.json`, all else. It appears under its name when all of it is on the disk, so that a process may be killed at
//! any time. Nothing in such a folder is believed: what is damaged is an error.
//!
//! ```
//! use feedline_pipeline::Transform;
//! use feedline_pipeline::dataset::Generated;
//! use feedline_trainer::checkpoint::{self, Checkpoints, Resume};
//! use feedline_trainer::nn::{Flatten, Linear, Sequential};
//! use feedline_trainer::{Input, Replicas, Trainer};
//!
//! # let temporary = tempfile::tempdir().unwrap();
//! # let folder = temporary.path().join("run");
//! let data = Generated::open(200, 100)?;
//! let model = |device: &candle_core::Device| {
//!     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
//! };
//! // The same program again goes on where it was stopped.
//! Trainer::new(model)
//!     .replicas(Replicas::cpu(1)?)
//!     .progress(false)
//!     .checkpoints(Checkpoints::in_folder(&folder).every_steps(100))
//!     .resume(Resume::Latest)
//!     .fit(Input::new(data.train, Transform::new().scale()), None)?;
//!
//! let network = model(&candle_core::Device::Cpu)?;
//! let checkpoint = checkpoint::latest(&folder)?.expect("there is one");
//! checkpoint.apply(&network)?;
//! assert_eq!(checkpoint.epoch(), 1);
//! # Ok::<(), feedline_trainer::Error>(())
//! ```

mod folder;
mod manifest;
pub(crate) mod number;
mod settings;
mod share;
mod snapshot;
mod tensors;
#[cfg(test)]
mod tests;

pub(crate) use folder::Folder;
pub(crate) use manifest::{Manifest, Position, Running};
pub(crate) use settings::Settings;
pub use settings::{Checkpoints, Resume};
pub(crate) use share::of_rank_0;
pub(crate) use snapshot::{Snapshot, of_all_ranks};

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::fit::History;
use crate::nn::{Model, Parameter, flat};
use crate::optim::OptimizerState;
use tensors::Tensors;
pub(crate) use tensors::key;

/// What sort of trouble there is with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckpointFault {
    /// The operating system refused: no permission, no space.
    Io,
    /// It is not what was written.
    Damaged,
    /// It belongs to another model, run or version.
    Foreign,
    /// Another process has the folder.
    Busy,
}

impl fmt::Display for CheckpointFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Io => "can't be read or written",
            Self::Damaged => "is damaged",
            Self::Foreign => "belongs to another run",
            Self::Busy => "is in use",
        })
    }
}

/// A checkpoint that is no good, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damaged {
    /// Its folder.
    pub path: PathBuf,
    /// What was found.
    pub reason: String,
}

/// A checkpoint, read and found to be whole.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    manifest: Manifest,
    tensors: Tensors,
}

/// Reads the checkpoint in `folder`, one named `step-…`.
///
/// # Errors
///
/// [`Error::Checkpoint`] if it can't be read, is damaged, or is of another version of the format.
pub fn load(folder: impl AsRef<Path>) -> Result<Checkpoint> {
    let path = folder.as_ref();
    let manifest = Manifest::read(path)?;
    let tensors = Tensors::read(path, &manifest)?;
    Ok(Checkpoint {
        path: path.to_owned(),
        manifest,
        tensors,
    })
}

/// Reads the latest checkpoint in `folder` that is whole; `None` if there is none at all.
///
/// # Errors
///
/// [`Error::Checkpoint`] if the folder can't be read, if all in it are damaged, or if the latest is of another version of
/// the format.
pub fn latest(folder: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    Ok(latest_whole(folder)?.0)
}

/// Reads the checkpoint in `folder` with the lowest loss, on the test set if there was one, of those at the ends of epochs that
/// were evaluated; `None` if there is none. It is always there with [`Checkpoints::keep_best`].
///
/// # Errors
///
/// [`Error::Checkpoint`] if the folder or the checkpoint can't be read.
pub fn best(folder: impl AsRef<Path>) -> Result<Option<Checkpoint>> {
    best_of(folder.as_ref(), u64::MAX)
}

/// The best whole one of a run's first `epochs`; if none is whole, what is wrong with the best.
pub(crate) fn best_of(folder: &Path, epochs: u64) -> Result<Option<Checkpoint>> {
    let checkpoints = folder::list(folder)?;
    let mut fault = None;
    for path in folder::by_loss(&checkpoints) {
        match load(path) {
            Ok(checkpoint) if checkpoint.epoch() <= epochs => return Ok(Some(checkpoint)),
            Ok(_) => {}
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    fault.map_or(Ok(None), Err)
}

/// As [`latest`], and the later ones, which are damaged.
///
/// # Errors
///
/// As [`latest`].
pub fn latest_whole(folder: impl AsRef<Path>) -> Result<(Option<Checkpoint>, Vec<Damaged>)> {
    let mut damaged = Vec::new();
    for (_, path) in folder::list(folder.as_ref())?.into_iter().rev() {
        match load(&path) {
            Ok(checkpoint) => return Ok((Some(checkpoint), damaged)),
            Err(Error::Checkpoint {
                fault: CheckpointFault::Damaged | CheckpointFault::Io,
                path: place,
                reason,
            }) => {
                let reason = format!("{}: {reason}", place.display());
                damaged.push(Damaged { path, reason });
            }
            Err(error) => return Err(error),
        }
    }
    match damaged.first() {
        None => Ok((None, damaged)),
        Some(Damaged { path, reason }) => {
            let reason = format!(
                "{reason}; it is the latest, and none before it is whole: begin anew in another folder"
            );
            Err(error(path, CheckpointFault::Damaged, reason))
        }
    }
}

impl Checkpoint {
    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many steps had been made, over all epochs.
    pub fn step(&self) -> u64 {
        self.manifest.position.step
    }

    /// How many epochs were over.
    pub fn epoch(&self) -> u64 {
        self.manifest.position.epoch
    }

    /// The epochs that were over.
    pub fn history(&self) -> &History {
        &self.manifest.position.history
    }

    /// The version of this crate that wrote it.
    pub fn crate_version(&self) -> &str {
        &self.manifest.crate_version
    }

    /// Gives the model the weights in this checkpoint, the averaged ones if they were
    /// [averaged](crate::Trainer::weight_averaging). Statistics of batch normalization are rank 0's.
    ///
    /// # Errors
    ///
    /// [`Error::Checkpoint`] if names and shapes of the model's parameters are not those in the checkpoint; the model is as
    /// it was then. candle's error if a device refuses.
    pub fn apply(&self, model: &impl Model) -> Result<()> {
        self.check(model.parameters())?;
        let trained = model.parameters().iter().filter(|own| own.trainable);
        let trained: Vec<_> = trained.cloned().collect();
        let average = self.tensors.get(&key::optimizer(key::AVERAGE));
        if average.is_some_and(|own| own.len() != flat::length(&trained)) {
            let reason = "it has another number of averaged weights than of weights";
            return Err(error(&self.path, CheckpointFault::Damaged, reason));
        }
        flat::write(model.parameters(), &self.values(model.parameters())?)?;
        average.map_or(Ok(()), |own| flat::write(&trained, own))
    }

    /// Checks that a model with these parameters is the one that was saved.
    pub(crate) fn check(&self, parameters: &[Parameter]) -> Result<()> {
        let describe = |name: &str, shape: &[usize]| format!("{name} {shape:?}");
        let saved = self.manifest.parameters.iter();
        let saved: BTreeMap<_, _> = saved.map(|own| (own.name.as_str(), &own.shape)).collect();
        let foreign = |reason| Err(error(&self.path, CheckpointFault::Foreign, reason));
        for own in parameters {
            let (name, shape) = (own.name.as_str(), own.value.dims());
            match saved.get(name) {
                Some(&found) if found == shape => {}
                Some(found) => {
                    let (found, expected) = (describe(name, found), describe(name, shape));
                    return foreign(format!("it has {found}, the model {expected}"));
                }
                None => {
                    let expected = describe(name, shape);
                    return foreign(format!("the model's {expected} is not in it"));
                }
            }
        }
        // All of the model's are in it, so that one is not the model's if it has more.
        let names: Vec<_> = parameters.iter().map(|own| own.name.as_str()).collect();
        match saved.keys().find(|name| !names.contains(name)) {
            Some(name) => foreign(format!("the model has no {name}")),
            None => Ok(()),
        }
    }

    /// The numbers of these parameters, one after the other.
    pub(crate) fn values(&self, parameters: &[Parameter]) -> Result<Vec<f32>> {
        let mut values = Vec::new();
        for own in parameters {
            values.extend_from_slice(self.tensor(&key::parameter(&own.name))?);
        }
        Ok(values)
    }

    /// What is not trained, as this rank had it; as rank 0 had it if there were other replicas.
    pub(crate) fn statistics(
        &self,
        parameters: &[Parameter],
        (rank, world_size): (usize, usize),
    ) -> Result<Vec<f32>> {
        let of_rank_0 = self.values(parameters)?;
        if rank == 0 || world_size != self.manifest.world_size || of_rank_0.is_empty() {
            return Ok(of_rank_0);
        }
        let own = self.tensor(&key::statistics(rank))?;
        if own.len() == of_rank_0.len() {
            return Ok(own.to_vec());
        }
        let reason = format!(
            "replica {rank} has {} statistics, replica 0 {}",
            own.len(),
            of_rank_0.len()
        );
        Err(error(&self.path, CheckpointFault::Damaged, reason))
    }

    /// What the optimizer kept.
    pub(crate) fn optimizer(&self) -> OptimizerState {
        let state = OptimizerState::new(self.manifest.optimizer_steps);
        self.tensors.buffers().fold(state, |state, (name, values)| {
            state.buffer(name, values.to_vec())
        })
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn tensor(&self, name: &str) -> Result<&[f32]> {
        self.tensors.get(name).ok_or_else(|| {
            let reason = format!("it has no tensor {name:?}");
            error(&self.path, CheckpointFault::Damaged, reason)
        })
    }
}

fn error(path: &Path, fault: CheckpointFault, reason: impl ToString) -> Error {
    Error::Checkpoint {
        path: path.to_owned(),
        fault,
        reason: reason.to_string(),
    }
}

/// Turns what the operating system says of `path` into an error.
fn io(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |reason| error(path, CheckpointFault::Io, reason)
}

fn damaged(path: &Path, reason: impl ToString) -> Error {
    error(path, CheckpointFault::Damaged, reason)
}
