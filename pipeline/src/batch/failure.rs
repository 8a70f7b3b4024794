//! What becomes of samples that cannot be read.

use crate::error::Error;

/// What a loader does when a source or a user's `map` fails or panics on a sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnError {
    /// The epoch ends with the error.
    #[default]
    Stop,
    /// The sample is left out: its batch has a row of padding more and a sample less, on its replica alone, so that all
    /// replicas keep their number of steps. `global_samples` still counts it.
    Skip {
        /// How many samples may fail before that is an [`Error::TooManyFailures`], over the loader's whole life.
        at_most: usize,
    },
    /// Another sample of the epoch takes its place: a random one that follows from the seed, the epoch and the one that
    /// failed. If that fails, too, others are tried, but not for ever: where nothing can be read, the epoch ends with the
    /// error.
    Replace {
        /// As with [`Skip`](Self::Skip).
        at_most: usize,
    },
}

impl OnError {
    /// How many failures are let pass.
    pub(crate) fn at_most(self) -> usize {
        match self {
            Self::Stop => 0,
            Self::Skip { at_most } | Self::Replace { at_most } => at_most,
        }
    }
}

/// A sample that failed and was skipped or replaced.
#[derive(Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The epoch.
    pub epoch: u64,
    /// The step within the epoch.
    pub step: usize,
    /// The row within this replica's batch.
    pub row: usize,
    /// The sample's index in its source.
    pub index: usize,
    /// What happened.
    pub error: Error,
}
