//! What the libraries say while they work, and traces of when they do what.
//!
//! A program flattens [`Watching`] into its arguments, as [`Training`](crate::Training) does, and keeps what
//! [`begin`](Watching::begin) returns until its work is done.

mod log;
mod trace;

pub use log::LogLevel;

use std::path::PathBuf;
use std::sync::OnceLock;

use clap::Args;
use feedline_trainer::run::SpanRecorder;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;

use crate::{Error, Result};

/// Whose words and spans are of interest.
const TARGETS: [&str; 3] = ["feedline", "feedline_pipeline", "feedline_trainer"];

/// How to watch a program at work.
#[derive(Args, Debug, Clone, Default)]
pub struct Watching {
    /// Write into this file what runs when on each thread: the loader fills batches, training waits for them and makes steps.
    /// The page ui.perfetto.dev shows it, as does chrome://tracing. Of several processes each writes a file, all but the first
    /// with its number in the name
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Trace each sample, too: some hundred bytes for every stage that it goes through, and some time
    #[arg(long, requires = "trace")]
    pub trace_samples: bool,
    /// What of the loader's and the trainer's messages goes to standard error, up to which level: warnings are long waits,
    /// with who waits for what; `debug` says how the loader tunes itself
    #[arg(
        long,
        value_name = "LEVEL",
        value_enum,
        default_value_t,
        env = "FEEDLINE_LOG"
    )]
    pub log: LogLevel,
}

/// A program is watched until this is dropped. Then the trace is complete.
#[derive(Debug)]
#[must_use = "the trace ends when this is dropped"]
pub struct Watch {
    _trace: Option<trace::Trace>,
}

/// Set once spans are recorded.
static RECORDER: OnceLock<SpanRecorder> = OnceLock::new();

/// What records the spans of this process, for the timeline of a run, if something does.
pub(crate) fn recorder() -> Option<&'static SpanRecorder> {
    RECORDER.get()
}

impl Watching {
    /// Begins to listen, to the spans of a `recorded` run, too. Once for a process: what was begun first goes on.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if the trace can't be written, [`Error::Usage`] if it is asked for and something else listens already.
    pub fn begin(&self, recorded: bool) -> Result<Watch> {
        let path = self.trace.as_deref();
        let opened = path.map(|path| trace::begin(path, self.trace_samples));
        let (layer, trace) = opened.transpose()?.unzip();
        let recorder = recorded.then(|| RECORDER.get_or_init(SpanRecorder::new).layer());
        let subscriber = tracing_subscriber::registry()
            .with(layer)
            .with(recorder)
            .with(log::layer(self.log));
        let taken = tracing::subscriber::set_global_default(subscriber);
        if let (Err(error), Some(_)) = (taken, path) {
            return Err(Error::Usage(format!("--trace can't begin: {error}")));
        }
        Ok(Watch { _trace: trace })
    }
}

/// Lets through what is of interest, up to `level`.
fn targets(level: tracing::level_filters::LevelFilter) -> Targets {
    Targets::new().with_targets(TARGETS.map(|target| (target, level)))
}
