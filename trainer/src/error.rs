//! The one error type of this crate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checkpoint::CheckpointFault;
use crate::collective::{Missing, NcclFault, Place};
use crate::rendezvous::RendezvousFault;

/// What this crate's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong between a batch and a trained model.
///
/// Messages of our own say what was found, what was expected, and where there is something to do, what. candle's are
/// passed on in its words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The pipeline's: data that cannot be read, settings that cannot work.
    #[error(transparent)]
    Pipeline(#[from] feedline_pipeline::Error),

    /// candle refused an operation.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),

    /// A value that was passed in cannot work.
    #[error("{name} is {found}, expected {expected}")]
    InvalidArgument {
        /// The argument's name.
        name: &'static str,
        /// What was passed.
        found: String,
        /// What would do.
        expected: String,
    },

    /// A file that cannot be read or written.
    #[error("can't {action} {}: {source}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What was tried, as in "can't *write*".
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },

    /// Something that this build lacks.
    #[error("{what} needs a build with the feature `{feature}`: cargo … --features {feature}")]
    Unavailable {
        /// What was asked for.
        what: &'static str,
        /// The feature of this crate that has it.
        feature: &'static str,
    },

    /// A GPU, or one of its libraries, refused.
    #[error("the GPU can't {action}: {reason}")]
    Cuda {
        /// What was tried, as in "can't *multiply matrices*".
        action: &'static str,
        /// The library's answer.
        reason: String,
    },

    /// NCCL, which carries values between GPUs, refused or gave up.
    #[error("NCCL can't {action}: {fault} ({detail})")]
    Nccl {
        /// What was tried, as in "can't *connect the GPUs*".
        action: &'static str,
        /// Why, and what to do.
        fault: NcclFault,
        /// NCCL's own words.
        detail: String,
    },

    /// What a launcher says in the environment about this process can't be.
    #[error("{variables}: {reason}")]
    Environment {
        /// The variables, with what they are set to.
        variables: String,
        /// What can't be about them, and what to do.
        reason: String,
    },

    /// The processes of a run did not come together, or lost each other.
    #[error("the processes {fault} at {address}: {reason}")]
    Rendezvous {
        /// Where they meet: host and port of process 0.
        address: String,
        /// What sort of trouble it is.
        fault: RendezvousFault,
        /// What was found and what to do.
        reason: String,
    },

    /// Processes that were started with different settings, data or models.
    #[error(
        "{name} is {found} for replica {rank}, {expected} for replica 0: all processes must be started with the same settings, data and program"
    )]
    Disagreement {
        /// The rank of the first replica that differs.
        rank: usize,
        /// What they disagree about.
        name: String,
        /// What it is there.
        found: String,
        /// What it is for rank 0.
        expected: String,
    },

    /// MPI, which carries values between processes, refused or gave up.
    #[error("MPI can't {action}: {reason}")]
    Mpi {
        /// What was tried, as in "can't *sum up over the processes*".
        action: &'static str,
        /// The library's answer, and what to do.
        reason: String,
    },

    /// A network whose layers do not fit each other, or do not fit the data.
    #[error("{layer}: {reason}")]
    InvalidModel {
        /// The layer's name, as the summary has it.
        layer: String,
        /// What does not fit.
        reason: String,
    },

    /// A picture that can't be read.
    #[error("can't read the picture {}: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A [`Callback`](crate::fit::Callback) could not do its work, for a reason of its own.
    #[error("a callback of the training failed: {0}")]
    Callback(Box<dyn std::error::Error + Send + Sync>),

    /// The loss is not a number any more.
    #[error(
        "the loss is {loss} in step {} of epoch {}: training has diverged; lower the learning rate, or look for values in the data that are not finite",
        step + 1,
        epoch + 1
    )]
    Diverged {
        /// The epoch, from 0.
        epoch: u64,
        /// The step in the epoch, from 0.
        step: usize,
        /// The loss.
        loss: f64,
    },

    /// A checkpoint that can't be written, read or gone on from. What else is in the folder is as it was.
    #[error("checkpoint {} {fault}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint's folder, or the file in it.
        path: PathBuf,
        /// What sort of trouble it is.
        fault: CheckpointFault,
        /// What was found and, where there is something to do, what.
        reason: String,
    },

    /// Another replica failed, so this one had to stop.
    #[error("replica {rank} stopped, and the others with it: {reason}")]
    Aborted {
        /// The rank of the replica that failed.
        rank: usize,
        /// Why, in its words.
        reason: String,
    },

    /// A replica's code panicked.
    #[error(
        "replica {rank} panicked: {message}; RUST_BACKTRACE=1 shows where, it is most likely in the model's code"
    )]
    ReplicaPanicked {
        /// Its rank.
        rank: usize,
        /// The panic's message.
        message: String,
    },

    /// Some replicas did not arrive where all must meet.
    #[error(
        "replica {rank} waited {waited:.1?} in {place} for {}; is it stuck, or is the deadline too short for a step?",
        list(missing)
    )]
    Deadline {
        /// The rank that gave up waiting.
        rank: usize,
        /// Where it waited.
        place: Place,
        /// Who did not come, and where they were seen last.
        missing: Vec<Missing>,
        /// How long it waited.
        waited: Duration,
    },

    /// Replicas met for different things: their code does not do the same on each.
    #[error(
        "replica {rank} called {found}, replica {other} {expected}: every replica must call the same with as many values"
    )]
    Mismatch {
        /// The rank that differs.
        rank: usize,
        /// What it called.
        found: String,
        /// The rank that it differs from.
        other: usize,
        /// What that called.
        expected: String,
    },
}

#[cfg(feature = "cuda")]
impl Error {
    /// Turns a library's answer to `action` into an error.
    pub(crate) fn cuda<E: std::fmt::Display>(action: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Cuda {
            action,
            reason: error.to_string(),
        }
    }
}

/// Turns what a system or a format says about the file at `path` into an error.
pub(crate) fn file<E: Into<std::io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl Fn(E) -> Error {
    move |source| Error::File {
        path: path.to_owned(),
        action,
        source: source.into(),
    }
}

/// An argument that cannot work.
pub(crate) fn invalid(name: &'static str, found: impl ToString, expected: impl ToString) -> Error {
    Error::InvalidArgument {
        name,
        found: found.to_string(),
        expected: expected.to_string(),
    }
}

fn list(missing: &[Missing]) -> String {
    if missing.is_empty() {
        return "its device, though all replicas are here".into();
    }
    let missing: Vec<_> = missing.iter().map(Missing::to_string).collect();
    missing.join(" and ")
}
