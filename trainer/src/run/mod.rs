//! A folder that shows what a run has done.
//!
//! ```
//! use feedline_trainer::fit::History;
//! use feedline_trainer::run::RunFolder;
//!
//! # let parent = tempfile::tempdir()?;
//! # let runs = parent.path();
//! let config = serde_json::json!({ "model": "mnist_cnn", "batch_size": 256 });
//! let mut folder = RunFolder::create(runs.join("first"), &config)?;
//! // The history of a training run; `epoch` writes each as it comes.
//! let history = History::default();
//! for record in &history.epochs {
//!     folder.epoch(record)?;
//! }
//! # #[cfg(feature = "report")]
//! folder.finish(&history, None)?;
//! # assert!(runs.join("first/config.json").exists());
//! # #[cfg(feature = "report")]
//! # assert!(runs.join("first/report.html").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | file | what it has |
//! |---|---|
//! | `config.json` | the settings that the run was created with |
//! | `metrics.jsonl` | a line of JSON for each epoch, from 1, as soon as it is over; what is not a number is `null` |
//! | `events.out.tfevents.*` | the same for TensorBoard: `tensorboard --logdir` the folder, or the one that holds many |
//! | `report.html` | all that follows on one page, which needs no other file (this and the following with the feature `report`) |
//! | `curves.svg`, `.png` | loss and accuracy over the epochs |
//! | `confusion.svg`, `.png` | what the classes were taken for |
//! | `samples.png` | pictures with what they were taken for |
//! | `filters.png` | the kernels of the first layer |
//! | `timeline.svg` | what ran when; of a trainer's run, on the replica with rank 0, when it waited for data, trained and evaluated; and what the loader's workers did, on all replicas, if a `SpanRecorder` hears of it |
//! | `evaluation.json` | the numbers in the confusion matrix |
//!
//! With the feature `report`, `draw_timelines` compares what several runs did when; it needs no folder.
//!
//! SVGs follow the page around them, light or dark. PNGs are always light, and written in DejaVu Sans, which this crate carries:
//! letters that it lacks, such as Chinese ones, are boxes there.

mod metrics;
mod tensorboard;

#[cfg(feature = "report")]
mod clock;
#[cfg(feature = "report")]
mod confusion;
#[cfg(feature = "report")]
mod curves;
#[cfg(feature = "report")]
mod drawing;
#[cfg(feature = "report")]
mod evaluation;
#[cfg(feature = "report")]
mod html;
#[cfg(feature = "report")]
mod raster;
#[cfg(feature = "report")]
mod recorder;
#[cfg(all(test, feature = "report"))]
mod recorder_tests;
#[cfg(feature = "report")]
mod report;
#[cfg(feature = "report")]
mod sheet;
#[cfg(test)]
mod tests;
#[cfg(feature = "report")]
mod timeline;

#[cfg(feature = "report")]
pub use evaluation::{Evaluation, Filters, Sample};
#[cfg(feature = "report")]
pub use recorder::{RecordedSpan, Recording, SpanRecorder};
#[cfg(feature = "report")]
pub use report::report;
#[cfg(feature = "report")]
pub use sheet::sheet;
#[cfg(feature = "report")]
pub use timeline::{Span, Timeline, draw_timelines};

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Result, file, invalid};
use crate::fit::EpochRecord;
use metrics::Row;
use tensorboard::EventFile;

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";

/// A folder that a run writes its results to, epoch by epoch. See the [module](self) for what is in it.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    events: EventFile,
    /// The last epoch that was written, from 1.
    last: u64,
    /// Set until the first epoch after the folder was reopened.
    resumed: bool,
    /// What ran when, while it is a callback of a trainer.
    #[cfg(feature = "report")]
    clock: Option<clock::Clock>,
    /// Knows it in more detail, if there is one.
    #[cfg(feature = "report")]
    recorder: Option<SpanRecorder>,
}

impl RunFolder {
    /// Makes the folder, with those above it, and writes `config` to `config.json`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the folder holds another run, or JSON can't hold the
    /// settings; [`Error::File`](crate::Error::File) if something can't be written.
    pub fn create(path: impl Into<PathBuf>, config: &impl Serialize) -> Result<Self> {
        let path = path.into();
        let config = encode(config)?;
        fs::create_dir_all(&path).map_err(file("make the folder", &path))?;
        let taken = || {
            let found = format!("{}, which holds another run", path.display());
            let expected =
                "a folder without one; RunFolder::reopen goes on with the run that is there";
            invalid("the run's folder", found, expected)
        };
        if path.join(METRICS).exists() {
            return Err(taken());
        }
        // Of two runs that are created at once, one comes too late.
        let config_path = path.join(CONFIG);
        match File::create_new(&config_path) {
            Ok(mut open) => open.write_all(config.as_bytes()),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(taken()),
            Err(error) => Err(error),
        }
        .map_err(file("write", &config_path))?;
        Self::open(path, 0, false)
    }

    /// Goes on with the run in a folder, from any epoch: what an earlier attempt wrote of that and later epochs no longer
    /// counts. A line that was cut off by a crash is removed.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) if there is no run, or its files can't be read or written.
    pub fn reopen(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let config = path.join(CONFIG);
        fs::metadata(&config).map_err(file("find a run's", &config))?;
        metrics::mend(&path.join(METRICS))?;
        let last = metrics::read(&path.join(METRICS))?
            .last()
            .map_or(0, |row| row.epoch);
        Self::open(path, last, true)
    }

    /// As [`reopen`](Self::reopen), with `config` in the place of what `config.json` has.
    ///
    /// # Errors
    ///
    /// As [`reopen`](Self::reopen), and [`Error::InvalidArgument`](crate::Error::InvalidArgument) if JSON can't hold the
    /// settings.
    pub fn reopen_with(path: impl Into<PathBuf>, config: &impl Serialize) -> Result<Self> {
        let folder = Self::reopen(path)?;
        write(&folder.path.join(CONFIG), encode(config)?.as_bytes())?;
        Ok(folder)
    }

    fn open(path: PathBuf, last: u64, resumed: bool) -> Result<Self> {
        let metrics_path = path.join(METRICS);
        let metrics = File::options()
            .append(true)
            .create(true)
            .open(&metrics_path);
        Ok(Self {
            metrics: metrics.map_err(file("open", &metrics_path))?,
            events: EventFile::create(&path)?,
            path,
            last,
            resumed,
            #[cfg(feature = "report")]
            clock: None,
            #[cfg(feature = "report")]
            recorder: None,
        })
    }

    /// Where the folder is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As [`epoch`](Self::epoch), unless an epoch as late as this one is in the folder.
    pub(crate) fn catch_up(&mut self, record: &EpochRecord) -> Result<()> {
        match record.epoch < self.last {
            true => Ok(()),
            false => self.epoch(record),
        }
    }

    /// Writes what an epoch has shown, to `metrics.jsonl` and for TensorBoard, whose steps are epochs from 1.
    ///
    /// # Errors
    ///
    /// [`Error::File`](crate::Error::File) if something can't be written.
    pub fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        let row = Row::from(record);
        let path = self.path.join(METRICS);
        let mut line = serde_json::to_vec(&row).map_err(file("write", &path))?;
        line.push(b'\n');
        // One write, so that a line is there or not.
        self.metrics
            .write_all(&line)
            .map_err(file("write", &path))?;
        if std::mem::take(&mut self.resumed) {
            self.events.start(row.epoch)?;
        }
        self.events.scalars(row.epoch, &row.scalars())?;
        self.last = row.epoch;
        Ok(())
    }
}

fn encode(config: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(config);
    let text = text.map_err(|error| invalid("the run's config", error, "what JSON can hold"))?;
    Ok(text + "\n")
}

/// Writes a file so that whoever reads it meanwhile sees the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".part");
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(file("write", path))
}
