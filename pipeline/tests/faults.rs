//! Errors and panics reach the iterator, nothing hangs, nothing is lost.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{epoch_bits, pictures};
use feedline_pipeline::{Error, Loader, Result, Sample, Shape, Shard, Source, Tail, Transform};

/// Three steps of 10, and a `map` that does what `fault` says at sample 25.
fn faulty(fault: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static) -> Loader {
    let transform = Transform::new().map(move |sample| {
        if sample.index == 25 {
            fault().map_err(Into::into)
        } else {
            Ok(())
        }
    });
    Loader::builder(pictures(30))
        .batch_size(10)
        .workers(2)
        .transform(transform)
        .build()
        .unwrap()
}

#[test]
fn an_error_of_the_users_map_ends_the_epoch_at_its_batch() {
    let mut loader = faulty(|| Err("bad picture"));
    let mut epoch = loader.epoch(0);
    assert!(epoch.next().unwrap().is_ok());
    assert!(epoch.next().unwrap().is_ok());
    let error = epoch.next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "sample 25 failed in map: bad picture");
    assert!(epoch.next().is_none());
}

#[test]
fn a_panic_in_the_users_map_is_an_error_and_the_loader_lives_on() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&broken);
    let mut loader = faulty(move || {
        if switch.load(Ordering::Relaxed) {
            panic!("boom")
        } else {
            Ok(())
        }
    });
    for _ in 0..20 {
        let error = loader.epoch(0).find_map(Result::err).unwrap();
        assert!(
            matches!(&error, Error::WorkerPanic { index: 25, message } if message == "boom"),
            "{error}"
        );
    }
    broken.store(false, Ordering::Relaxed);
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 3);
}

#[test]
fn a_source_that_breaks_its_promises_is_an_error() {
    #[derive(Debug)]
    struct Liar {
        bytes: usize,
        label: u32,
    }
    impl Source for Liar {
        fn len(&self) -> usize {
            4
        }
        fn shape(&self) -> Shape {
            Shape::new(1, 2, 2)
        }
        fn classes(&self) -> usize {
            3
        }
        fn sample<'a>(&'a self, _index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
            scratch.resize(self.bytes, 0);
            Ok(Sample {
                pixels: scratch,
                label: self.label,
            })
        }
    }
    for (liar, expected) in [
        (
            Liar { bytes: 5, label: 0 },
            "it has 5 bytes, but the source's shape, 1x2x2, has 4",
        ),
        (
            Liar { bytes: 4, label: 3 },
            "its label is 3, but the source has 3 classes",
        ),
    ] {
        let mut loader = Loader::builder(liar).batch_size(2).build().unwrap();
        let error = loader.epoch(0).find_map(Result::err).unwrap().to_string();
        assert_eq!(error, format!("sample 0 failed in source: {expected}"));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_by_build() {
    let builder = || Loader::builder(pictures(30)).batch_size(10);
    let rank = |rank, world_size| Shard::new(rank, world_size).unwrap();
    for (builder, expected) in [
        (
            builder().batch_size(0),
            "batch size is 0, expected at least 1",
        ),
        (
            builder().batch_size(31),
            "batch size is 31, expected at most 30, the number of samples",
        ),
        (
            builder().batch_size(64).tail(Tail::Pad).shard(rank(0, 31)),
            "world size is 31, expected at most 30",
        ),
        (
            builder().shard(rank(3, 11)),
            "world size is 11, expected at most 10",
        ),
        (
            builder().workers(0),
            "number of workers is 0, expected at least 1",
        ),
        (
            builder().transform(Transform::new().random_crop(9, 8, 0)),
            "crop is 9x8",
        ),
        (
            builder().batch_size(usize::MAX).tail(Tail::Pad),
            "memory budget is 67108864 bytes, but",
        ),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
    assert!(Shard::new(2, 2).is_err() && Shard::new(0, 0).is_err());
    assert!(
        Loader::builder(pictures(0))
            .tail(Tail::Pad)
            .build()
            .is_err()
    );
}

#[test]
fn the_memory_budget_decides_the_slots() {
    let builder = || Loader::builder(pictures(30)).batch_size(10).workers(4);
    let plan = builder().build().unwrap().plan().clone();
    let (slot, workers) = (plan.slot_bytes, 4 * plan.worker_bytes);
    // Values, a label, and which draw of which sample it is.
    assert_eq!(slot, 10 * (192 * 4 + 4 + 16));
    // A stored sample, and 64 draws of an index and a repeat.
    assert_eq!(plan.worker_bytes, 192 + 64 * 16);
    for (budget, slots) in [
        (workers + slot, 1),
        (workers + 3 * slot - 1, 2),
        (64 << 20, 33),
    ] {
        let mut loader = builder().memory_budget(budget).build().unwrap();
        // Of as many as are of use, two for each worker are there from the beginning.
        assert_eq!(loader.plan().slots, slots);
        assert_eq!(loader.plan().initial_slots, slots.min(9));
        assert!(loader.plan().bytes() <= budget);
        assert_eq!(epoch_bits(&mut loader, 0).len(), 3);
    }
    let (budget, needed) = (workers + slot - 1, workers + slot);
    let error = builder().memory_budget(budget).build().unwrap_err();
    let expected = format!(
        "memory budget is {budget} bytes, but 1 batch slot(s) for 4 worker(s) need {needed} bytes"
    );
    assert!(error.to_string().contains(&expected), "{error}");
    // An explicit prefetch depth is not lowered silently.
    let error = builder()
        .prefetch(2)
        .memory_budget(2 * slot + workers)
        .build()
        .unwrap_err();
    assert!(
        matches!(error, Error::BudgetTooSmall { slots: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_consumer_that_keeps_every_batch_gets_an_error_instead_of_a_hang() {
    let mut loader = Loader::builder(pictures(30))
        .batch_size(5)
        .prefetch(2)
        .stall_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let kept: Vec<_> = loader.epoch(0).collect();
    assert_eq!(kept.iter().filter(|batch| batch.is_ok()).count(), 3);
    assert!(matches!(
        kept.last(),
        Some(Err(Error::SlotsHeld { slots: 3, .. }))
    ));
    drop(kept);
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 6);
}

#[test]
fn batches_may_be_dropped_on_another_thread() {
    let mut loader = Loader::builder(pictures(300))
        .batch_size(5)
        .prefetch(1)
        .build()
        .unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let consumer = std::thread::spawn(move || receiver.into_iter().count());
    loader
        .epoch(0)
        .for_each(|batch| sender.send(batch.unwrap()).unwrap());
    drop(sender);
    assert_eq!(consumer.join().unwrap(), 60);
}

#[test]
fn a_loader_can_be_dropped_at_any_moment_and_its_threads_end() {
    for taken in 0..8 {
        let alive = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&alive);
        let transform = Transform::new().map(move |_| {
            let _ = Arc::strong_count(&counter);
            std::thread::yield_now();
            Ok(())
        });
        let mut loader = Loader::builder(pictures(60))
            .batch_size(5)
            .workers(3)
            .prefetch(4)
            .transform(transform)
            .build()
            .unwrap();
        let held = loader.epoch(0).take(taken).last();
        drop(loader);
        // The map, and with it the workers' reference, is gone as soon as drop returns.
        assert_eq!(Arc::strong_count(&alive), 1, "after {taken} batches");
        // A batch outlives its loader.
        if let Some(batch) = held {
            assert_eq!(batch.unwrap().labels().len(), 5);
        }
    }
}

#[test]
fn threads_live_as_long_as_the_loader_and_begin_the_next_epoch_by_themselves() {
    let (sender, seen) = std::sync::mpsc::channel();
    let transform = Transform::new().map(move |sample| {
        let _ = sender.send((sample.epoch, std::thread::current().id()));
        Ok(())
    });
    let mut loader = Loader::builder(pictures(60))
        .batch_size(10)
        .workers(2)
        .transform(transform)
        .build()
        .unwrap();
    let mut threads = std::collections::HashSet::new();
    for epoch in 0..10 {
        assert_eq!(loader.epoch(epoch).filter(Result::is_ok).count(), 6);
        // Nobody has asked for the next one yet.
        loop {
            let (begun, thread) = seen.recv().unwrap();
            threads.insert(thread);
            if begun == epoch + 1 {
                break;
            }
        }
    }
    assert!(threads.len() <= 2, "{threads:?}");
}

#[test]
fn breaking_off_an_epoch_does_not_wait_for_all_that_was_begun() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let transform = Transform::new().map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
        Ok(())
    });
    let mut loader = Loader::builder(pictures(2000))
        .batch_size(20)
        .workers(1)
        .prefetch(100)
        .transform(transform)
        .build()
        .unwrap();
    let _ = loader.epoch(0).next();
    drop(loader);
    // A hundred batches of 20 had been handed out, two seconds of work; nearly all were never begun.
    assert!(calls.load(Ordering::Relaxed) < 1000, "{calls:?}");
}

#[test]
fn a_panic_whose_message_panics_when_it_is_dropped_is_an_error_all_the_same() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("again")
            }
        }
    }
    let mut loader = faulty(|| std::panic::panic_any(Bomb));
    for epoch in 0..5 {
        let error = loader.epoch(epoch).find_map(Result::err).unwrap();
        assert!(
            matches!(error, Error::WorkerPanic { index: 25, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_hint_that_panics_spoils_no_sample() {
    struct Hasty(feedline_pipeline::source::InMemory);
    impl Source for Hasty {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn shape(&self) -> Shape {
            self.0.shape()
        }
        fn classes(&self) -> usize {
            self.0.classes()
        }
        fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
            self.0.sample(index, scratch)
        }
        fn prefetch(&self, _index: usize) {
            panic!("no hints, please")
        }
    }
    let mut loader = Loader::builder(Hasty(pictures(30)))
        .batch_size(10)
        .build()
        .unwrap();
    assert_eq!(epoch_bits(&mut loader, 0).len(), 3);
}

#[test]
fn a_plan_can_be_had_without_a_loader() {
    let builder = Loader::builder(pictures(30)).batch_size(10).workers(3);
    let plan = builder.plan().unwrap();
    assert_eq!(builder.clone().build().unwrap().plan(), &plan);
    let weighted = builder.weighted(vec![1.0; 30]).plan().unwrap();
    assert_eq!(weighted.bytes(), plan.bytes() + weighted.order_bytes);
    assert!(weighted.order_bytes > 0);
}
