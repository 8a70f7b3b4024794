//! What a run took: totals of its stages, and its timeline.

use std::time::{Duration, Instant};

use feedline_pipeline::BoxError;
use feedline_trainer::run::{Span, Timeline};

use crate::learner::Learner;
use crate::recorder::{Mark, Recorder, Stage};
use crate::task::History;

/// One training behind one pipeline.
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    /// What was done once, before the first epoch.
    pub(crate) cache: Option<Duration>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) history: History,
    /// Of the weights.
    pub(crate) fingerprint: u64,
}

/// What a run returns besides its marks.
pub(crate) struct Done {
    pub(crate) history: History,
    pub(crate) fingerprint: u64,
    pub(crate) cache: Option<Duration>,
}

impl Done {
    pub(crate) fn new(history: History, learner: &Learner) -> Self {
        Self {
            history,
            fingerprint: learner.fingerprint(),
            cache: None,
        }
    }
}

impl Measured {
    /// Runs it. All that the recorder notes meanwhile belongs to it.
    pub(crate) fn of(
        recorder: &Recorder,
        run: impl FnOnce() -> Result<Done, BoxError>,
    ) -> Result<Self, BoxError> {
        // What was noted before is not of this run.
        recorder.take();
        let start = Instant::now();
        let done = run()?;
        let wall = start.elapsed();
        Ok(Self {
            wall,
            cache: done.cache,
            marks: recorder.take(),
            history: done.history,
            fingerprint: done.fingerprint,
        })
    }

    /// How long a stage took in all, on all threads together.
    pub(crate) fn total(&self, stage: Stage) -> Option<Duration> {
        let marks = self.marks.iter().filter(|mark| mark.stage == stage);
        let lengths: Vec<_> = marks.map(Mark::length).collect();
        (!lengths.is_empty()).then(|| lengths.iter().sum())
    }

    /// How long the training loop had nothing to train on: all that a loop that does everything in turn spends on it.
    pub(crate) fn waited(&self) -> Duration {
        let loading = [
            Stage::Open,
            Stage::Read,
            Stage::Decode,
            Stage::Transform,
            Stage::Copy,
        ];
        self.total(Stage::Wait).unwrap_or_else(|| {
            let totals = loading.iter().filter_map(|&stage| self.total(stage));
            totals.sum()
        })
    }

    /// From start to end.
    pub(crate) fn timeline(&self, name: &str) -> Timeline {
        self.between(name, Duration::ZERO, Duration::MAX)
    }

    /// A part of the run, behind a third of its steps.
    pub(crate) fn part(&self, name: &str, length: Duration) -> Timeline {
        let steps: Vec<_> = self.steps().collect();
        let from = steps
            .get(steps.len() / 3)
            .map_or(Duration::ZERO, |step| step.end);
        self.between(name, from, from + length)
    }

    /// The mean time from one step to the next.
    pub(crate) fn step(&self) -> Duration {
        let (first, last) = (self.steps().next(), self.steps().last());
        let steps = self.steps().count().saturating_sub(1).max(1) as u32;
        match (first, last) {
            (Some(first), Some(last)) => (last.end - first.end) / steps,
            _ => Duration::ZERO,
        }
    }

    fn steps(&self) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(|mark| mark.stage == Stage::Train)
    }

    fn between(&self, name: &str, from: Duration, to: Duration) -> Timeline {
        let marks = self.marks.iter();
        let within = marks.filter(|mark| mark.end > from && mark.start < to);
        let spans = within.map(|mark| Span {
            stage: mark.stage.name().into(),
            start: mark.start.max(from),
            end: mark.end.min(to),
        });
        Timeline {
            name: name.into(),
            spans: spans.collect(),
        }
    }
}

/// Of several runs, the one that took neither the longest nor the shortest.
pub(crate) fn median(mut runs: Vec<Measured>) -> Option<Measured> {
    runs.sort_by_key(|run| run.wall);
    let middle = runs.len().saturating_sub(1) / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}
