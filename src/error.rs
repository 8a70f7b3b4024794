//! The one error type of this package.

use std::path::{Path, PathBuf};

/// What this package's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a command line and a report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Data that can't be read or fetched, a loader that can't work.
    #[error(transparent)]
    Pipeline(#[from] feedline_pipeline::Error),

    /// Some of the pictures that were named.
    #[error("{count} of {of} pictures can't be predicted:\n{reasons}")]
    Pictures {
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
        /// What is wrong with each, a line for each.
        reasons: String,
    },

    /// Training, a checkpoint, a picture or a report that failed.
    #[error(transparent)]
    Trainer(#[from] feedline_trainer::Error),

    /// Options that do not go together, or with what they are used on.
    #[error("{0}")]
    Usage(String),

    /// A run whose settings are missing, damaged, or others than expected.
    #[error("the run {}: {reason}", run.display())]
    Run {
        /// The run's folder.
        run: PathBuf,
        /// What was found and, where there is something to do, what.
        reason: String,
    },

    /// A file that can't be read or written, or a folder that can't be made.
    #[error("can't {action} {}: {source}", path.display())]
    File {
        /// Where it is.
        path: PathBuf,
        /// What was tried, as in "can't *write*".
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },

    /// Standard output can't be written, for another reason than that nobody reads it any more.
    #[error("can't write to standard output: {0}")]
    Output(std::io::Error),
}

impl Error {
    /// The name of a data set that is not where it was looked for, as in "CIFAR-10", and that folder.
    pub fn missing_data(&self) -> Option<(&'static str, &Path)> {
        use feedline_pipeline::Error::DatasetNotFound;
        let (Self::Pipeline(error) | Self::Trainer(feedline_trainer::Error::Pipeline(error))) =
            self
        else {
            return None;
        };
        match error {
            DatasetNotFound {
                dataset, directory, ..
            } => Some((dataset, directory)),
            _ => None,
        }
    }
}

/// For `map_err`: what the system says about `path`.
pub(crate) fn file(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::File {
        path,
        action,
        source,
    }
}
