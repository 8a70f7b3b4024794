//! Spans of the loader and the trainer, kept for a timeline.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::span::Id;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::{Span, Timeline};

/// Whose spans are recorded, unless there are [more](SpanRecorder::target).
const TARGETS: [&str; 2] = ["feedline_pipeline", "feedline_trainer"];

/// Of one thread and stage at most so many spans are kept; neighbours are joined beyond it.
pub(super) const MOST_SPANS: usize = 8192;

/// Threads write to different places, so that they rarely wait for each other.
const PLACES: usize = 64;

/// The threads and stages of one place; what more there are is lost, and counted.
const MOST_ROWS: usize = 16;

/// A thread is within at most so many spans at once; the inner ones of more are lost, and counted.
const MOST_OPEN: usize = 64;

/// Collects what the loader and the trainer do when, from the spans that they give to [`tracing`]: the `fill`, `wait` and
/// `deliver` of batches, the steps that `train`, `evaluate` and `save`; [with samples](Self::with_samples) the stages of
/// each sample, too. [`STAGES`](Self::STAGES) says what they are.
///
/// Its [layer](Self::layer) stands beside others: it has a filter of its own, so that it neither sees nor costs what it
/// does not record, and keeps nothing from the others. A clone records into the same place.
///
/// A span lasts from when its code is entered to when it is left, as the clock on the wall has it: what it waits for
/// counts, and so do spans within it. Memory is bounded: of each thread and stage at most 8,192 spans are kept, in 128 KiB.
/// Beyond that neighbours are joined, so that each stage still takes as long in all, and [`Recording::joined`] counts them.
/// Of more than about 200 threads at once some are left out, and [`Recording::lost`] counts their spans.
///
/// ```
/// use feedline_pipeline::Transform;
/// use feedline_pipeline::dataset::Generated;
/// use feedline_trainer::nn::{Flatten, Linear, Sequential};
/// use feedline_trainer::run::{SpanRecorder, draw_timelines};
/// use feedline_trainer::{Input, Replicas, Trainer};
/// use tracing_subscriber::prelude::*;
///
/// let recorder = SpanRecorder::new();
/// tracing_subscriber::registry().with(recorder.layer()).init();
///
/// let data = Generated::open(500, 100)?;
/// let scaled = || Transform::new().scale();
/// Trainer::new(|device| {
///     Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10)).build(1, device)
/// })
/// .replicas(Replicas::cpu(1)?)
/// .progress(false)
/// .fit(Input::new(data.train, scaled()), Some(Input::new(data.test, scaled())))?;
///
/// let recording = recorder.take();
/// let steps = recording.spans.iter().filter(|span| span.stage == "train");
/// assert_eq!(steps.count(), 15);
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let words = ["Softmax regression", "An epoch on one replica"];
/// let timeline = recording.timeline("all on the host");
/// draw_timelines(folder.join("epoch"), words, &["fill", "wait", "train", "evaluate"], &[timeline])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SpanRecorder {
    targets: Targets,
    level: LevelFilter,
    shared: Arc<Shared>,
}

/// What a [`SpanRecorder`] has recorded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recording {
    /// The spans that have ended, by when they began.
    pub spans: Vec<RecordedSpan>,
    /// How many spans were joined with their neighbours, as there were too many to keep each.
    pub joined: u64,
    /// How many spans were not kept, as there were too many threads, or spans within each other.
    pub lost: u64,
}

/// A span that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedSpan {
    /// Its name: what was done.
    pub stage: &'static str,
    /// A number for each thread, in no order; a thread that begins may get that of one that has ended.
    pub thread: u64,
    /// When it began, since the recorder was made.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
}

impl Default for SpanRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl SpanRecorder {
    /// The stages, in the order in which a sample goes through them.
    ///
    /// | stage | what | on which thread | recorded |
    /// |---|---|---|---|
    /// | `open` | a file is opened and read, within `read` | a worker of the loader | with samples |
    /// | `read` | a sample comes from its source | a worker | with samples |
    /// | `decode` | a picture is decoded and resized, within `read` | a worker | with samples |
    /// | `transform` | a sample is transformed into the batch | a worker | with samples |
    /// | `fill` | a part of a batch is filled, all of the above | a worker | always |
    /// | `wait` | the next batch is waited for | the replica's | always |
    /// | `deliver` | a batch becomes what the training loop takes | the replica's | always |
    /// | `train` | a step, from its batch to the new weights; on GPUs its queueing | the replica's | always |
    /// | `evaluate` | the test set is gone through, its waiting included | the replica's | always |
    /// | `save` | a checkpoint is made | the replica's | always |
    pub const STAGES: [&str; 10] = [
        "open",
        "read",
        "decode",
        "transform",
        "fill",
        "wait",
        "deliver",
        "train",
        "evaluate",
        "save",
    ];

    /// A recorder of what happens for each batch and step.
    pub fn new() -> Self {
        Self::of_level(LevelFilter::DEBUG)
    }

    /// A recorder of what happens for each sample, too: more spans by far, which take time themselves.
    pub fn with_samples() -> Self {
        Self::of_level(LevelFilter::TRACE)
    }

    fn of_level(level: LevelFilter) -> Self {
        Self {
            targets: Targets::new().with_targets(TARGETS.map(|target| (target, level))),
            level,
            shared: Arc::new(Shared::new()),
        }
    }

    /// Records spans with this target, such as a program's own, as well; by default a span's target is the path of the
    /// module that makes it. Their stages stand behind the others, in the order in which they first end.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.targets = self.targets.with_target(target, self.level);
        self
    }

    /// What listens, for a subscriber: `tracing_subscriber::registry().with(recorder.layer()).init()`.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let shared = Arc::clone(&self.shared);
        Listener(shared).with_filter(self.targets.clone())
    }

    /// What was recorded since the recorder was made, or since the last [`take`](Self::take).
    pub fn recording(&self) -> Recording {
        self.shared.recording(false)
    }

    /// As [`recording`](Self::recording), and begins anew; times go on from when the recorder was made.
    pub fn take(&self) -> Recording {
        self.shared.recording(true)
    }
}

impl Recording {
    /// The spans as a run with this name, stage after stage in the order of [`SpanRecorder::STAGES`].
    pub fn timeline(&self, name: impl Into<String>) -> Timeline {
        let mut stages = SpanRecorder::STAGES.to_vec();
        for span in &self.spans {
            if !stages.contains(&span.stage) {
                stages.push(span.stage);
            }
        }
        let place = |span: &&RecordedSpan| stages.iter().position(|own| *own == span.stage);
        let mut spans: Vec<_> = self.spans.iter().collect();
        spans.sort_by_key(place);
        Timeline {
            name: name.into(),
            spans: spans.into_iter().map(Span::from).collect(),
        }
    }
}

impl From<&RecordedSpan> for Span {
    fn from(span: &RecordedSpan) -> Self {
        Self {
            stage: span.stage.into(),
            start: span.start,
            end: span.end,
        }
    }
}

/// The spans of one thread and stage.
#[derive(Debug)]
pub(super) struct Row {
    thread: u64,
    stage: &'static str,
    pub(super) spans: Vec<[Duration; 2]>,
    pub(super) joined: u64,
}

impl Row {
    pub(super) fn new(thread: u64, stage: &'static str) -> Self {
        Self {
            thread,
            stage,
            spans: Vec::new(),
            joined: 0,
        }
    }

    pub(super) fn push(&mut self, span: [Duration; 2]) {
        self.spans.push(span);
        if self.spans.len() >= MOST_SPANS {
            // Both from where the first began: they are too short for the difference to be seen.
            let pairs = self.spans.chunks(2).map(|pair| {
                let length: Duration = pair.iter().map(|[start, end]| *end - *start).sum();
                [pair[0][0], pair[0][0] + length]
            });
            let pairs: Vec<_> = pairs.collect();
            self.joined += (self.spans.len() - pairs.len()) as u64;
            self.spans = pairs;
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// Tells recorders apart.
    number: u64,
    zero: Instant,
    places: [Mutex<Vec<Row>>; PLACES],
    lost: AtomicU64,
}

/// A span that a thread is in.
struct Open {
    recorder: u64,
    id: Id,
    stage: &'static str,
    start: Duration,
}

/// The number of a thread: the lowest that no other has, so that threads that come and go share rows.
struct Number(u64);

/// Of threads that have ended, and the first that no thread has had.
static NUMBERS: Mutex<(BTreeSet<u64>, u64)> = Mutex::new((BTreeSet::new(), 0));

impl Number {
    fn take() -> Self {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        let (free, next) = &mut *numbers;
        Self(free.pop_first().unwrap_or_else(|| {
            *next += 1;
            *next - 1
        }))
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut numbers = NUMBERS.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.0.insert(self.0);
    }
}

thread_local! {
    static THREAD: Number = Number::take();
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

impl Shared {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            zero: Instant::now(),
            places: std::array::from_fn(|_| Mutex::default()),
            lost: AtomicU64::new(0),
        }
    }

    fn enter(&self, id: &Id, stage: &'static str) {
        // A thread that ends has no such list any more.
        let _ = OPEN.try_with(|open| {
            let mut open = open.borrow_mut();
            if open.len() < MOST_OPEN {
                open.push(Open {
                    recorder: self.number,
                    id: id.clone(),
                    stage,
                    start: self.zero.elapsed(),
                });
            }
        });
    }

    fn exit(&self, id: &Id) {
        let end = self.zero.elapsed();
        let own = OPEN.try_with(|open| {
            let mut open = open.borrow_mut();
            let is_own = |own: &Open| own.recorder == self.number && own.id == *id;
            open.iter().rposition(is_own).map(|own| open.remove(own))
        });
        let kept = own.ok().flatten().is_some_and(|Open { stage, start, .. }| {
            let thread = THREAD.try_with(|own| own.0);
            thread.is_ok_and(|thread| self.note(thread, stage, [start, end]))
        });
        if !kept {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether there was room for it.
    fn note(&self, thread: u64, stage: &'static str, span: [Duration; 2]) -> bool {
        let place = &self.places[thread as usize % PLACES];
        let mut rows = place.lock().unwrap_or_else(PoisonError::into_inner);
        let own = |row: &&mut Row| row.thread == thread && row.stage == stage;
        if let Some(row) = rows.iter_mut().find(own) {
            row.push(span);
            return true;
        }
        let has_room = rows.len() < MOST_ROWS;
        if has_room {
            let mut row = Row::new(thread, stage);
            row.push(span);
            rows.push(row);
        }
        has_room
    }

    fn recording(&self, take: bool) -> Recording {
        let mut recording = Recording::default();
        for place in &self.places {
            let mut rows = place.lock().unwrap_or_else(PoisonError::into_inner);
            for row in rows.iter() {
                recording.joined += row.joined;
                let spans = row.spans.iter().map(|&[start, end]| RecordedSpan {
                    stage: row.stage,
                    thread: row.thread,
                    start,
                    end,
                });
                recording.spans.extend(spans);
            }
            if take {
                rows.clear();
            }
        }
        recording.lost = match take {
            true => self.lost.swap(0, Ordering::Relaxed),
            false => self.lost.load(Ordering::Relaxed),
        };
        recording.spans.sort_by_key(|span| span.start);
        recording
    }
}

/// Hears of the spans that the filter before it lets through.
struct Listener(Arc<Shared>);

impl<S> Layer<S> for Listener
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        if let Some(metadata) = context.metadata(id) {
            self.0.enter(id, metadata.name());
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        self.0.exit(id);
    }
}
