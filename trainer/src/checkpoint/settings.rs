//! When to save, where, and what to keep.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Result, invalid};

/// Where checkpoints go, when they are made, and which are kept. One is always made when training is over.
///
/// ```
/// use feedline_trainer::checkpoint::Checkpoints;
///
/// let checkpoints = Checkpoints::in_folder("run-1").every_steps(500).keep_last(2).keep_best(true);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Checkpoints {
    folder: PathBuf,
    every: Every,
    pub(super) keep_last: usize,
    keep_best: bool,
    restore_best: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Every {
    Epochs(u64),
    Steps(u64),
}

impl Checkpoints {
    /// In this folder, which is made if it is not there and belongs to one run. By default: after every epoch, of which the
    /// last three are kept.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            every: Every::Epochs(1),
            keep_last: 3,
            keep_best: false,
            restore_best: false,
        }
    }

    /// One after every `epochs` epochs. The last call of this and [`every_steps`](Self::every_steps) counts.
    pub fn every_epochs(self, epochs: u64) -> Self {
        let every = Every::Epochs(epochs);
        Self { every, ..self }
    }

    /// One after every `steps` steps, counted over all epochs; after an epoch's last step when it has been evaluated. The
    /// last call of this and [`every_epochs`](Self::every_epochs) counts.
    pub fn every_steps(self, steps: u64) -> Self {
        let every = Every::Steps(steps);
        Self { every, ..self }
    }

    /// Keeps the latest `checkpoints`, at least 1. Earlier ones are removed when a later one is on the disk.
    pub fn keep_last(self, checkpoints: usize) -> Self {
        Self {
            keep_last: checkpoints,
            ..self
        }
    }

    /// Whether the one with the lowest loss, on the test set if there is one, is kept besides: of those at the ends of epochs
    /// that were evaluated.
    pub fn keep_best(self, best: bool) -> Self {
        Self {
            keep_best: best,
            ..self
        }
    }

    /// Whether training ends with the model of the best checkpoint instead of the last one. It is chosen by its
    /// loss and kept as [`keep_best`](Self::keep_best) does, also over a pause; so one is then made after every epoch, whatever
    /// else is asked for. Of damaged ones the next best is taken.
    ///
    /// ```
    /// use feedline_pipeline::Transform;
    /// use feedline_pipeline::dataset::Generated;
    /// use feedline_trainer::checkpoint::Checkpoints;
    /// use feedline_trainer::fit::EarlyStopping;
    /// use feedline_trainer::nn::{Flatten, Linear, Sequential};
    /// use feedline_trainer::{Input, Trainer};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// let data = Generated::open(100, 20)?;
    /// let scaled = || Transform::new().scale();
    /// let fitted = Trainer::new(|device| {
    ///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
    /// })
    /// .epochs(1000)
    /// .callback(EarlyStopping::new(2))
    /// .checkpoints(Checkpoints::in_folder(folder.path()).restore_best(true))
    /// .progress(false)
    /// .fit(Input::new(data.train, scaled()), Some(Input::new(data.test, scaled())))?;
    /// let losses = fitted.history.epochs.iter().map(|own| own.test.unwrap().loss);
    /// println!("the model has a loss of {}", losses.fold(f64::INFINITY, f64::min));
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    pub fn restore_best(self, best: bool) -> Self {
        Self {
            restore_best: best,
            ..self
        }
    }

    pub(crate) fn restores_best(&self) -> bool {
        self.restore_best
    }

    /// When they are made and what the run ends with, in words: what all processes of a run must do together.
    pub(crate) fn rhythm(&self) -> String {
        let best = match self.restore_best {
            true => ", ending with the best",
            false => "",
        };
        format!("every {:?}{best}", self.every)
    }

    /// Whether the best one is never removed.
    pub(super) fn keeps_best(&self) -> bool {
        self.keep_best || self.restore_best
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn check(&self) -> Result<()> {
        let counts = match self.every {
            Every::Epochs(epochs) => ("epochs between checkpoints", epochs),
            Every::Steps(steps) => ("steps between checkpoints", steps),
        };
        for (name, count) in [counts, ("checkpoints to keep", self.keep_last as u64)] {
            if count == 0 {
                return Err(invalid(name, 0, "at least 1"));
            }
        }
        Ok(())
    }

    /// Whether to save within an epoch, when these many steps have been made.
    pub(crate) fn due_within(&self, step: u64) -> bool {
        matches!(self.every, Every::Steps(steps) if step.is_multiple_of(steps))
    }

    /// Whether to save at an epoch's end, when these many epochs and steps have been made.
    pub(crate) fn due_after(&self, epochs: u64, step: u64) -> bool {
        // The best is one of those that are saved.
        self.restore_best
            || match self.every {
                Every::Epochs(every) => epochs.is_multiple_of(every),
                Every::Steps(every) => step.is_multiple_of(every),
            }
    }
}

/// Whether a run goes on where an earlier one was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// No: it begins at the beginning, and it is an error if there are checkpoints already.
    #[default]
    Never,
    /// From the latest checkpoint that is whole; from the beginning if there is none.
    Latest,
}

impl From<bool> for Resume {
    /// `true` is [`Latest`](Self::Latest).
    fn from(resume: bool) -> Self {
        match resume {
            true => Self::Latest,
            false => Self::Never,
        }
    }
}

/// What must be the same in both runs, by name and in words.
pub(crate) type Settings = BTreeMap<String, String>;
