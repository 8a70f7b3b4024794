//! One training behind two input pipelines: a naive one, and Feedline's. What each took, in numbers and pictures.
//!
//! `naive` and `optimised` are the two; `learner` is the training that both feed. `compare` runs them in turn, `measured`
//! holds what a run took, and `report` prints and draws it.

mod compare;
pub(crate) mod learner;
mod measured;
pub(crate) mod naive;
pub(crate) mod optimised;
mod report;

use std::time::Duration;

use feedline_pipeline::Transform;
use feedline_pipeline::loader::Stats;
use feedline_trainer::run::SpanRecorder;
use tracing_subscriber::prelude::*;

pub(crate) use compare::{Compared, compare};
pub(crate) use report::introduce;

/// Training, to be done behind either pipeline.
pub(crate) struct Task {
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
    /// What order, augmentation and dropout follow from.
    pub(crate) seed: u64,
    /// Pictures have three colours, and are cropped to so many pixels on each side.
    pub(crate) crop: usize,
    /// What is done to samples to train on, and to those to test on.
    pub(crate) transforms: [Transform; 2],
}

/// What the epochs have shown. The same batches give the same to the bit.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// The sum of the training losses of each epoch.
    pub(crate) losses: Vec<f64>,
    /// How many test samples were right after it.
    pub(crate) correct: Vec<usize>,
}

/// What a pipeline has done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done {
    pub(crate) history: History,
    /// How long each epoch took.
    pub(crate) epochs: Vec<Duration>,
    /// How long it took to decode all samples once, if that was done.
    pub(crate) cache: Option<Duration>,
    /// What the loader has to say.
    pub(crate) stats: Option<Stats>,
}

impl Done {
    pub(crate) fn epoch(&mut self, loss: f64, correct: usize, took: Duration) {
        self.history.losses.push(loss);
        self.history.correct.push(correct);
        self.epochs.push(took);
    }
}

/// What the spans of these examples are called by, beside those of the libraries.
pub(crate) const TARGET: &str = "pipelines";

/// Listens to the spans of the libraries and of this example, for the whole program.
pub(crate) fn record() -> SpanRecorder {
    let recorder = SpanRecorder::with_samples().target(TARGET);
    tracing_subscriber::registry().with(recorder.layer()).init();
    recorder
}
