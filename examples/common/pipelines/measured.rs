//! What a run took: totals of its stages, and its timeline.

use std::time::{Duration, Instant};

use feedline_pipeline::BoxError;
use feedline_trainer::run::{RecordedSpan, Recording, Span, SpanRecorder, Timeline};

use super::Done;
use super::learner::Learner;

/// One training behind one pipeline.
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    pub(crate) done: Done,
    pub(crate) recording: Recording,
    /// Of the weights.
    pub(crate) fingerprint: u64,
}

impl Measured {
    /// Runs it. All that is recorded meanwhile belongs to it.
    pub(crate) fn of(
        recorder: &SpanRecorder,
        learner: &mut Learner,
        run: &mut dyn FnMut(&mut Learner) -> Result<Done, BoxError>,
    ) -> Result<Self, BoxError> {
        // What was recorded before is not of this run.
        recorder.take();
        let start = Instant::now();
        let done = run(learner)?;
        let wall = start.elapsed();
        Ok(Self {
            wall,
            done,
            recording: recorder.take(),
            fingerprint: learner.fingerprint(),
        })
    }

    fn spans(&self, stage: &str) -> impl Iterator<Item = &RecordedSpan> {
        let spans = self.recording.spans.iter();
        spans.filter(move |span| span.stage == stage)
    }

    /// How long a stage took in all, on all threads together.
    pub(crate) fn total(&self, stage: &str) -> Option<Duration> {
        let lengths: Vec<_> = self
            .spans(stage)
            .map(|span| span.end - span.start)
            .collect();
        (!lengths.is_empty()).then(|| lengths.iter().sum())
    }

    /// How long the training loop had nothing to train on: all that a loop that does everything in turn spends on it.
    pub(crate) fn waited(&self) -> Duration {
        self.total("wait").unwrap_or_else(|| {
            let loading = ["read", "transform", "copy"].into_iter();
            loading.filter_map(|stage| self.total(stage)).sum()
        })
    }

    /// The median of the times that epochs took.
    pub(crate) fn epoch(&self) -> Option<Duration> {
        let mut epochs = self.done.epochs.clone();
        epochs.sort_unstable();
        epochs.get(epochs.len() / 2).copied()
    }

    /// From start to end.
    pub(crate) fn timeline(&self, name: &str) -> Timeline {
        self.recording.timeline(name)
    }

    /// A part of the run, behind a third of its steps.
    pub(crate) fn part(&self, name: &str, length: Duration) -> Timeline {
        let steps = self.spans("train").count();
        let from = self.spans("train").nth(steps / 3);
        let from = from.map_or(Duration::ZERO, |step| step.end);
        let to = from + length;
        let within = |span: &Span| span.end > from && span.start < to;
        let mut timeline = self.timeline(name);
        timeline.spans.retain(within);
        for span in &mut timeline.spans {
            span.start = span.start.max(from);
            span.end = span.end.min(to);
        }
        timeline
    }

    /// The mean time from one step to the next.
    pub(crate) fn step(&self) -> Duration {
        let (first, last) = (self.spans("train").next(), self.spans("train").last());
        let steps = self.spans("train").count().saturating_sub(1).max(1) as u32;
        match (first, last) {
            (Some(first), Some(last)) => (last.end - first.end) / steps,
            _ => Duration::ZERO,
        }
    }
}

/// Of several runs, the one that took neither the longest nor the shortest.
pub(crate) fn median(mut runs: Vec<Measured>) -> Option<Measured> {
    runs.sort_by_key(|run| run.wall);
    let middle = runs.len().saturating_sub(1) / 2;
    (middle < runs.len()).then(|| runs.swap_remove(middle))
}
