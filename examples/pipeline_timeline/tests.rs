//! Both pipelines must do the same work, or comparing them says nothing.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use feedline_pipeline::dataset::Generated;
use feedline_pipeline::order::Order;
use feedline_pipeline::{Source, Tail};
use feedline_trainer::run::{RecordedSpan, Recording, SpanRecorder};
use tempfile::TempDir;

use crate::experiment::{loading_bound, open, task};
use crate::pictures;
use crate::pipelines::{Compared, naive, optimised, record};

/// 40 PNG files to train on and 10 to test on.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = Generated::open(50, 20).unwrap();
    for (name, source, count) in [("train", data.train, 40), ("test", data.test, 10)] {
        let path = folder.path().join(name);
        assert!(pictures::write(&path, &*source, count, 48).unwrap() > count * 1_000);
    }
    folder
}

/// The recorder of the whole program, for one test at a time.
fn recorder() -> (SpanRecorder, MutexGuard<'static, ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    static RECORDER: OnceLock<SpanRecorder> = OnceLock::new();
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    (RECORDER.get_or_init(record).clone(), alone)
}

fn compared() -> Compared {
    let (recorder, _alone) = recorder();
    loading_bound(folder().path(), 1, &task(2, 16, 5), &recorder).unwrap()
}

#[test]
fn both_pipelines_give_the_same_batches() {
    let (_recorder, _alone) = recorder();
    let folder = folder();
    let task = task(2, 16, 5);
    for (set, shuffled) in [(0, true), (1, false)] {
        let mut sources = open(folder.path()).unwrap();
        let source = &mut sources[set];
        let transform = &task.transforms[set];
        let mut prepared = transform.prepare(source.shape(), task.seed).unwrap();
        let order = match shuffled {
            true => Order::shuffled(source.len(), task.seed),
            false => Order::sequential(source.len()),
        };
        let path = folder.path().join(format!("{set}.cache"));
        let [train, test] = open(folder.path()).unwrap();
        let own = if set == 0 { train } else { test };
        let (cached, _) = optimised::cache(own, &path).unwrap();
        let loader = optimised::loader(&task, Arc::new(cached), transform);
        let mut loader = loader.shuffle(shuffled).tail(Tail::Pad).build().unwrap();
        for epoch in [0, 1] {
            let mut seen = 0;
            for batch in loader.epoch(epoch) {
                let batch = batch.unwrap();
                let samples = batch.info().samples;
                let order = order.epoch(epoch);
                let indices: Vec<_> = (seen..seen + samples).map(|at| order.index(at)).collect();
                seen += samples;
                assert_eq!(indices, batch.indices());
                let (images, labels) = naive::load(source, &indices, epoch, &mut prepared).unwrap();
                assert_eq!(images, batch.pixels()[..images.len()]);
                assert_eq!(labels, batch.labels()[..samples]);
            }
            assert_eq!(seen, source.len());
        }
    }
}

#[test]
fn both_pipelines_train_the_same_weights() {
    let Compared { naive, optimised } = compared();
    assert_eq!(naive.done.history, optimised.done.history);
    assert_eq!(naive.fingerprint, optimised.fingerprint);
    let history = &naive.done.history;
    assert_eq!((history.losses.len(), history.correct.len()), (2, 2));
}

#[test]
fn every_sample_is_recorded_once_a_stage() {
    let Compared { naive, optimised } = compared();
    let count = |recording: &Recording, stage| {
        let spans = recording.spans.iter();
        spans.filter(|span| span.stage == stage).count()
    };
    // Two epochs of two full batches of 16 to train on, and of 10 to test on.
    let samples = 2 * (2 * 16 + 10);
    for stage in ["open", "decode", "read", "transform", "copy"] {
        assert_eq!(count(&naive.recording, stage), samples, "{stage}");
    }
    // Each is decoded once, and opened once more for the fingerprint of all. The loader may have begun with the next epoch when
    // it is stopped.
    assert_eq!(
        (
            count(&optimised.recording, "open"),
            count(&optimised.recording, "decode")
        ),
        (100, 50)
    );
    assert!(count(&optimised.recording, "transform") >= samples);
    assert_eq!(
        (
            count(&optimised.recording, "cache"),
            count(&naive.recording, "cache")
        ),
        (2, 0)
    );
    for run in [&naive, &optimised] {
        assert_eq!(
            (
                count(&run.recording, "train"),
                count(&run.recording, "evaluate")
            ),
            (4, 2)
        );
        assert!(run.total("train").unwrap() + run.waited() <= run.wall);
    }
    assert!(naive.done.stats.is_none() && optimised.done.stats.is_some());
}

#[test]
fn the_naive_pipeline_is_one_thread() {
    let naive = compared().naive;
    let spans = naive.recording.spans;
    assert!(spans.iter().all(|span| span.thread == spans[0].thread));
    // One thing after the other, but for what reading consists of.
    let whole = |span: &&RecordedSpan| !["open", "decode"].contains(&span.stage);
    let whole: Vec<_> = spans.iter().filter(whole).collect();
    assert!(whole.windows(2).all(|pair| pair[0].end <= pair[1].start));
}

#[test]
fn a_part_of_a_timeline_is_cut_to_its_length() {
    let naive = compared().naive;
    let whole = naive.timeline("all");
    let length = naive.step();
    let part = naive.part("part", length);
    let first = part.spans.iter().map(|span| span.start).min().unwrap();
    let last = part.spans.iter().map(|span| span.end).max().unwrap();
    assert!(last - first <= length && part.spans.len() < whole.spans.len());
}
