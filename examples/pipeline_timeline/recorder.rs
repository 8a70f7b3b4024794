//! What happens when: marks from any thread, cheap enough for one or two per sample.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What can take time, in the order in which a sample goes through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Opening a file.
    Open,
    /// Its bytes come into memory.
    Read,
    /// A picture is unpacked and made smaller.
    Decode,
    /// Crop, flip, brightness, contrast, standardize.
    Transform,
    /// A sample goes into the batch, or into a file of decoded ones.
    Copy,
    /// The training loop has nothing to train on.
    Wait,
    Train,
    Evaluate,
}

impl Stage {
    pub(crate) const ALL: [Self; 8] = [
        Self::Open,
        Self::Read,
        Self::Decode,
        Self::Transform,
        Self::Copy,
        Self::Wait,
        Self::Train,
        Self::Evaluate,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Transform => "transform",
            Self::Copy => "copy",
            Self::Wait => "wait for data",
            Self::Train => "train",
            Self::Evaluate => "evaluate",
        }
    }
}

/// A stage from here to there, since the recorder was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) stage: Stage,
    /// Numbers threads in no order.
    pub(crate) thread: usize,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

impl Mark {
    pub(crate) fn length(&self) -> Duration {
        self.end - self.start
    }
}

/// More than there are threads, so that each usually has a place of its own and waits for nobody.
const PLACES: usize = 64;

pub(crate) struct Recorder {
    zero: Instant,
    marks: [Mutex<Vec<Mark>>; PLACES],
}

thread_local! {
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    /// When what this thread is at began.
    static BEGAN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            zero: Instant::now(),
            marks: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Does it, and notes how long that took.
    pub(crate) fn time<R>(&self, stage: Stage, work: impl FnOnce() -> R) -> R {
        let start = self.zero.elapsed();
        let result = work();
        self.note(stage, start);
        result
    }

    /// Something begins on this thread whose end another function will see.
    pub(crate) fn begin(&self) {
        BEGAN.set(self.zero.elapsed());
    }

    /// What began on this thread was that, and is over.
    pub(crate) fn end(&self, stage: Stage) {
        self.note(stage, BEGAN.get());
    }

    fn note(&self, stage: Stage, start: Duration) {
        let thread = THREAD.with(|&own| own);
        let mark = Mark {
            stage,
            thread,
            start,
            end: self.zero.elapsed(),
        };
        let marks = self.marks[thread % PLACES].lock();
        marks.unwrap_or_else(PoisonError::into_inner).push(mark);
    }

    /// All marks since the last time, by when they began.
    pub(crate) fn take(&self) -> Vec<Mark> {
        let mut all = Vec::new();
        for marks in &self.marks {
            let mut marks = marks.lock().unwrap_or_else(PoisonError::into_inner);
            all.append(&mut marks);
        }
        all.sort_by_key(|mark| mark.start);
        all
    }

    /// What one mark costs on this machine.
    pub(crate) fn cost() -> Duration {
        const MARKS: u32 = 200_000;
        let recorder = Self::new();
        for _ in 0..MARKS {
            recorder.time(Stage::Read, || std::hint::black_box(()));
        }
        recorder.zero.elapsed() / MARKS
    }
}
