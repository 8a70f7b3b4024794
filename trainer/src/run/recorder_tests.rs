//! What the recorder keeps, and what it leaves to others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use feedline_pipeline::Transform;
use feedline_pipeline::dataset::Generated;
use proptest::prelude::*;
use tracing::{Event, Subscriber, debug_span, info_span, subscriber, trace_span, warn};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry;

use super::recorder::MOST_SPANS;
use super::{RecordedSpan, Recording, SpanRecorder};
use crate::nn::{Flatten, Linear, Sequential};
use crate::{Input, Replicas, Trainer};

const PIPELINE: &str = "feedline_pipeline";

/// What is recorded while `work` runs on this thread.
fn recorded(recorder: &SpanRecorder, work: impl FnOnce()) -> Recording {
    let subscriber = registry().with(recorder.layer());
    subscriber::with_default(subscriber, work);
    recorder.take()
}

fn stages(recording: &Recording) -> Vec<&'static str> {
    recording.spans.iter().map(|own| own.stage).collect()
}

/// Whether of two spans of a thread one is within the other, or ends before it begins.
fn nest(spans: &[RecordedSpan]) -> bool {
    spans.iter().enumerate().all(|(place, one)| {
        spans[place + 1..].iter().all(|other| {
            one.thread != other.thread || other.start >= one.end || other.end <= one.end
        })
    })
}

#[test]
fn samples_and_what_others_do_are_recorded_on_request_only() {
    let work = || {
        let _fill = debug_span!(target: PIPELINE, "fill", step = 3).entered();
        let _read = trace_span!(target: PIPELINE, "read", sample = 5).entered();
        info_span!(target: "elsewhere", "parse").in_scope(|| ());
        debug_span!(target: "own", "copy").in_scope(|| ());
    };
    assert_eq!(stages(&recorded(&SpanRecorder::new(), work)), ["fill"]);
    let all = recorded(&SpanRecorder::with_samples().target("own"), work);
    assert_eq!(stages(&all), ["fill", "read", "copy"]);
    assert!(nest(&all.spans));
    let timeline = all.timeline("run");
    let drawn: Vec<_> = timeline.spans.iter().map(|own| &*own.stage).collect();
    assert_eq!(drawn, ["read", "fill", "copy"]);
    assert_eq!((all.joined, all.lost), (0, 0));
}

#[test]
fn threads_that_come_and_go_lose_nothing() {
    let recorder = SpanRecorder::new();
    let dispatch = tracing::Dispatch::new(registry().with(recorder.layer()));
    for _ in 0..2_000 {
        let dispatch = dispatch.clone();
        let work = move || {
            tracing::dispatcher::with_default(&dispatch, || {
                debug_span!(target: PIPELINE, "fill").in_scope(|| ());
            });
        };
        thread::spawn(work).join().unwrap();
    }
    let recording = recorder.take();
    assert_eq!((recording.spans.len(), recording.lost), (2_000, 0));
}

#[test]
fn a_span_that_is_entered_twice_is_two_and_one_that_is_still_open_none() {
    let recorder = SpanRecorder::new();
    let subscriber = registry().with(recorder.layer());
    subscriber::with_default(subscriber, || {
        let train = debug_span!(target: "feedline_trainer", "train");
        train.in_scope(|| ());
        train.in_scope(|| ());
        let open = debug_span!(target: PIPELINE, "wait").entered();
        assert_eq!(stages(&recorder.recording()), ["train", "train"]);
        assert_eq!(stages(&recorder.take()), ["train", "train"]);
        drop(open);
    });
    assert_eq!(stages(&recorder.take()), ["wait"]);
    assert_eq!(recorder.take(), Recording::default());
}

#[test]
fn spans_that_do_not_nest_last_from_their_own_beginning_to_their_own_end() {
    let recording = recorded(&SpanRecorder::new(), || {
        let first = debug_span!(target: PIPELINE, "fill").entered();
        let second = debug_span!(target: PIPELINE, "wait").entered();
        drop(first);
        drop(second);
    });
    let [fill, wait] = recording.spans[..] else {
        panic!("{recording:?}");
    };
    assert_eq!((fill.stage, wait.stage), ("fill", "wait"));
    assert!(fill.start <= wait.start && wait.start <= fill.end && fill.end <= wait.end);
}

/// Counts what it is told.
#[derive(Default, Clone)]
struct Counter {
    spans: Arc<AtomicU64>,
    events: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Counter {
    fn on_enter(&self, _: &tracing::span::Id, _: Context<'_, S>) {
        self.spans.fetch_add(1, Ordering::Relaxed);
    }

    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        self.events.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn other_layers_see_what_the_recorder_does_not() {
    let (one, other) = (SpanRecorder::new(), SpanRecorder::with_samples());
    let counter = Counter::default();
    let subscriber = registry()
        .with(one.layer())
        .with(counter.clone())
        .with(other.layer());
    subscriber::with_default(subscriber, || {
        let _own = info_span!(target: "elsewhere", "parse").entered();
        debug_span!(target: PIPELINE, "fill").in_scope(|| ());
        trace_span!(target: PIPELINE, "read").in_scope(|| ());
        warn!(target: "elsewhere", "late");
    });
    assert_eq!(counter.spans.load(Ordering::Relaxed), 3);
    assert_eq!(counter.events.load(Ordering::Relaxed), 1);
    assert_eq!(stages(&one.take()), ["fill"]);
    assert_eq!(stages(&other.take()), ["fill", "read"]);
}

#[test]
fn spans_of_several_threads_at_once_are_told_apart() {
    let recorder = SpanRecorder::new();
    let dispatch = tracing::Dispatch::new(registry().with(recorder.layer()));
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                tracing::dispatcher::with_default(&dispatch, || {
                    for step in 0..100 {
                        let _fill = debug_span!(target: PIPELINE, "fill", step).entered();
                        together.wait();
                    }
                });
            });
        }
    });
    let recording = recorder.take();
    assert_eq!(recording.spans.len(), 400);
    assert!(nest(&recording.spans));
    assert!(recording.spans.is_sorted_by_key(|own| own.start));
    let mut threads: Vec<_> = recording.spans.iter().map(|own| own.thread).collect();
    threads.sort_unstable();
    threads.dedup();
    assert_eq!(threads.len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_long_run_takes_no_more_memory_and_none_of_its_time_is_lost(
        lengths in prop::collection::vec(1_u64..1000, 1..5 * MOST_SPANS),
    ) {
        let mut row = super::recorder::Row::new(0, "fill");
        let mut now = Duration::ZERO;
        let mut total = Duration::ZERO;
        for &length in &lengths {
            let length = Duration::from_micros(length);
            row.push([now, now + length]);
            now += 2 * length;
            total += length;
            prop_assert!(row.spans.len() < MOST_SPANS);
        }
        let kept = &row.spans;
        prop_assert_eq!(kept.len() as u64 + row.joined, lengths.len() as u64);
        prop_assert_eq!(kept.iter().map(|[start, end]| *end - *start).sum::<Duration>(), total);
        prop_assert!(kept.windows(2).all(|pair| pair[0][1] <= pair[1][0]));
    }
}

#[test]
fn spans_beyond_the_bounds_are_counted() {
    let deep = recorded(&SpanRecorder::new(), || {
        let mut open = Vec::new();
        for _ in 0..100 {
            open.push(debug_span!(target: PIPELINE, "fill").entered());
        }
        while open.pop().is_some() {}
    });
    assert_eq!((deep.spans.len(), deep.lost), (64, 36));

    // So many threads at once that not all stages of all have a row.
    const THREADS: usize = 300;
    let recorder = SpanRecorder::new();
    let dispatch = tracing::Dispatch::new(registry().with(recorder.layer()));
    let barrier = Barrier::new(THREADS);
    let work = || {
        debug_span!(target: PIPELINE, "fill").in_scope(|| ());
        debug_span!(target: PIPELINE, "wait").in_scope(|| ());
        debug_span!(target: PIPELINE, "deliver").in_scope(|| ());
        debug_span!(target: PIPELINE, "save").in_scope(|| ());
        barrier.wait();
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| tracing::dispatcher::with_default(&dispatch, work));
        }
    });
    let recording = recorder.take();
    let all = 4 * THREADS as u64;
    assert_eq!(recording.spans.len() as u64 + recording.lost, all);
    assert!(recording.lost > 0);
}

#[test]
fn a_step_and_an_evaluation_are_a_span_each_and_waiting_is_no_part_of_a_step() {
    let recorder = SpanRecorder::new();
    let dispatch = tracing::Dispatch::new(registry().with(recorder.layer()));
    let data = Generated::open(100, 20).unwrap();
    let input = |source| Input::new(source, Transform::new().scale());
    let (train, test) = (input(data.train), input(data.test));
    // What a replica does, it does on this thread: others do not have its subscriber.
    let build = move |device: &candle_core::Device| {
        std::mem::forget(tracing::dispatcher::set_default(&dispatch));
        Sequential::builder([3, 32, 32])
            .add(Flatten)
            .add(Linear::new(10))
            .build(1, device)
    };
    Trainer::new(build)
        .batch_size(10)
        .accumulate(2)
        .epochs(2)
        .replicas(Replicas::cpu(1).unwrap())
        .progress(false)
        .fit(train, Some(test))
        .unwrap();
    let recording = recorder.take();
    let count = |stage| {
        stages(&recording)
            .iter()
            .filter(|own| **own == stage)
            .count()
    };
    // Five steps of two batches.
    assert_eq!((count("train"), count("evaluate")), (20, 2));
    assert!(nest(&recording.spans));
    let of = |stage: &'static str| recording.spans.iter().filter(move |own| own.stage == stage);
    for wait in of("wait") {
        assert!(of("train").all(|own| own.end <= wait.start || own.start >= wait.end));
    }
}
