//! The loader's real code, run by a model checker that chooses which thread goes on at every lock, channel and atomic.
//! A deadlock, a lost slot or a panic in any of the thousands of interleavings fails the test and prints the schedule.
//!
//!     RUSTFLAGS="--cfg shuttle" cargo test -p feedline-pipeline --no-default-features --lib --test interleavings
#![cfg(shuttle)]

use std::panic::resume_unwind;
use std::time::Duration;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::order::Order;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::transform::MapSample;
use feedline_pipeline::{
    BoxError, Error, HostBatch, Loader, OnError, Result, Sample, Shape, Source, Transform,
};
use shuttle::rand::{Rng, thread_rng};

/// Runs `model` in this many random interleavings, and in as many of those in which some thread is far behind.
const ITERATIONS: usize = 5000;

/// An epoch has three steps of three rows.
const ROWS: usize = 3;
const SAMPLES: usize = 9;
const SEED: u64 = 7;

fn check(model: fn()) {
    shuttle::check_random(model, ITERATIONS);
    shuttle::check_pct(model, ITERATIONS, 3);
}

fn pictures() -> InMemory {
    let pixels = (0..SAMPLES as u8).collect();
    InMemory::new(
        Shape::new(1, 1, 1),
        3,
        pixels,
        (0..SAMPLES as u32).map(|i| i % 3).collect(),
    )
    .unwrap()
}

/// A loader with 1 to 3 workers, which cut a batch into as many parts, and 1 to 3 slots: another one in each iteration.
fn any_loader(source: impl Source + 'static) -> LoaderBuilder {
    let mut random = thread_rng();
    Loader::builder(source)
        .batch_size(ROWS)
        .shuffle(true)
        .seed(SEED)
        .workers(random.gen_range(1..=3))
        .prefetch(random.gen_range(0..=2))
}

/// A transform whose pixels show the epoch, and which ends as `fault` says.
fn mapped(fault: fn(&MapSample<'_>) -> Result<(), BoxError>) -> Transform {
    Transform::new().map(move |sample| {
        sample.pixels[0] += 100.0 * sample.epoch as f32;
        fault(&sample)
    })
}

fn sound() -> Transform {
    mapped(|_| Ok(()))
}

/// The batch holds what belongs to its place, which is `step` of `epoch`.
fn assert_content(batch: &HostBatch, epoch: u64, step: usize) {
    assert_eq!((batch.info().epoch, batch.info().step), (epoch, step));
    let order = Order::shuffled(SAMPLES, SEED).epoch(epoch);
    let expected: Vec<usize> = (ROWS * step..ROWS * (step + 1))
        .map(|position| order.index(position))
        .collect();
    assert_eq!(batch.indices(), expected);
    for (row, &index) in expected.iter().enumerate() {
        assert_eq!(batch.pixels()[row], index as f32 + 100.0 * epoch as f32);
        assert_eq!(batch.labels()[row], index as u32 % 3);
    }
}

/// Reads the first `steps` batches of `epoch`, which are sound.
fn read(loader: &mut Loader, epoch: u64, steps: usize) {
    let mut batches = loader.epoch(epoch);
    for step in 0..steps {
        assert_content(&batches.next().unwrap().unwrap(), epoch, step);
    }
}

#[test]
fn batches_come_in_order_with_what_belongs_to_them() {
    check(|| {
        let mut loader = any_loader(pictures()).transform(sound()).build().unwrap();
        read(&mut loader, 0, 3);
        read(&mut loader, 1, 3);
    });
}

#[test]
fn workers_and_slots_can_come_and_go_between_any_batches() {
    check(|| {
        // A model changes both at random before every batch.
        let builder = Loader::builder(pictures()).batch_size(ROWS).shuffle(true);
        let builder = builder.seed(SEED).cpu_share(1e-9).transform(sound());
        let mut loader = builder.build().unwrap();
        read(&mut loader, 0, 3);
        let held = loader.epoch(1).next().unwrap().unwrap();
        let (epoch, steps) = (thread_rng().gen_range(0..3), thread_rng().gen_range(0..=3));
        read(&mut loader, epoch, steps);
        drop(loader);
        assert_content(&held, 1, 0);
    });
}

#[test]
fn an_epoch_can_be_left_at_any_batch_for_any_other() {
    check(|| {
        let mut loader = any_loader(pictures()).transform(sound()).build().unwrap();
        for _ in 0..2 {
            let (epoch, steps) = (thread_rng().gen_range(0..3), thread_rng().gen_range(0..=3));
            read(&mut loader, epoch, steps);
        }
    });
}

#[test]
fn a_loader_can_be_dropped_while_batches_are_pending_and_one_is_held() {
    check(|| {
        let mut loader = any_loader(pictures()).transform(sound()).build().unwrap();
        let held = loader.epoch(0).next().unwrap().unwrap();
        drop(loader);
        assert_content(&held, 0, 0);
    });
}

#[test]
fn a_loader_that_was_never_read_can_be_dropped() {
    check(|| drop(any_loader(pictures()).build().unwrap()));
}

#[test]
fn batches_may_be_dropped_on_another_thread() {
    check(|| {
        let mut loader = any_loader(pictures()).transform(sound()).build().unwrap();
        let mut threads = Vec::new();
        for (step, batch) in loader.epoch(0).enumerate() {
            let batch = batch.unwrap();
            threads.push(shuttle::thread::spawn(move || {
                assert_content(&batch, 0, step);
            }));
        }
        // In some iterations the loader goes first.
        if thread_rng().gen_bool(0.5) {
            drop(loader);
        }
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

/// Reads epoch 0, whose samples 4 and 5 fail, up to its error, and then epoch 1, whose samples do not.
fn read_past_an_error(transform: Transform) -> Error {
    let mut loader = any_loader(pictures()).transform(transform).build().unwrap();
    let order = Order::shuffled(SAMPLES, SEED).epoch(0);
    let failing = (0..SAMPLES)
        .find(|&position| [4, 5].contains(&order.index(position)))
        .unwrap();
    let mut batches = loader.epoch(0);
    for step in 0..failing / ROWS {
        assert_content(&batches.next().unwrap().unwrap(), 0, step);
    }
    let error = batches.next().unwrap().unwrap_err();
    assert!(batches.next().is_none());
    read(&mut loader, 1, 3);
    error
}

#[test]
fn a_failing_map_ends_the_epoch_and_not_the_loader() {
    check(|| {
        let error = read_past_an_error(mapped(|sample| match (sample.epoch, sample.index) {
            (0, 4 | 5) => Err("bad picture".into()),
            _ => Ok(()),
        }));
        assert!(
            matches!(error, Error::Sample { index: 4 | 5, .. }),
            "{error}"
        );
    });
}

#[test]
fn a_panicking_map_ends_the_epoch_and_not_the_loader() {
    check(|| {
        let error = read_past_an_error(mapped(|sample| match (sample.epoch, sample.index) {
            // Not `panic!`, which has the checker print the schedule, as it can't know that this panic is caught.
            (0, 4 | 5) => resume_unwind(Box::new("boom")),
            _ => Ok(()),
        }));
        assert!(
            matches!(error, Error::WorkerPanic { index: 4 | 5, .. }),
            "{error}"
        );
    });
}

#[test]
fn of_several_errors_the_one_of_the_first_row_is_reported() {
    check(|| {
        let mut loader = any_loader(pictures())
            .transform(mapped(|_| Err("bad picture".into())))
            .build()
            .unwrap();
        let error = loader.epoch(0).next().unwrap().unwrap_err();
        let first = Order::shuffled(SAMPLES, SEED).epoch(0).index(0);
        assert!(
            matches!(error, Error::Sample { index, .. } if index == first),
            "{error}"
        );
    });
}

#[test]
fn samples_that_are_skipped_leave_the_same_batch_whoever_is_first() {
    check(|| {
        let transform = mapped(|sample| {
            if sample.index % 2 == 1 {
                Err("odd".into())
            } else {
                Ok(())
            }
        });
        let builder = any_loader(pictures())
            .transform(transform)
            .on_error(OnError::Skip { at_most: 100 });
        let mut loader = builder.build().unwrap();
        let order = Order::shuffled(SAMPLES, SEED).epoch(0);
        for (step, batch) in loader.epoch(0).enumerate() {
            let batch = batch.unwrap();
            let all = (ROWS * step..ROWS * (step + 1)).map(|position| order.index(position));
            let (odd, even): (Vec<usize>, Vec<usize>) = all.partition(|index| index % 2 == 1);
            assert_eq!(batch.indices(), even);
            assert!(
                even.iter()
                    .zip(batch.pixels())
                    .all(|(&index, &pixel)| index as f32 == pixel)
            );
            assert!(batch.failures().iter().map(|failure| failure.index).eq(odd));
        }
    });
}

/// A source that panics when it is asked whether it is still what it was.
#[derive(Debug)]
struct Unverifiable(InMemory, std::sync::atomic::AtomicUsize);

impl Source for Unverifiable {
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
    fn verify(&self) -> Result<()> {
        // Not for `build`, nor for the consumer, but for the worker that comes third.
        match self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 | 1 => Ok(()),
            _ => resume_unwind(Box::new("boom")),
        }
    }
}

#[test]
fn a_panic_of_the_source_between_samples_is_an_error() {
    check(|| {
        let mut loader = any_loader(Unverifiable(pictures(), 0.into()))
            .build()
            .unwrap();
        for epoch in 0..2 {
            let error = loader.epoch(epoch).next().unwrap().unwrap_err();
            assert!(matches!(error, Error::SourcePanic { .. }), "{error}");
        }
    });
}

#[test]
fn a_consumer_that_runs_out_of_patience_never_gets_half_a_batch() {
    check(|| {
        let builder = any_loader(pictures())
            .transform(sound())
            .stall_timeout(Duration::ZERO);
        let mut loader = builder.build().unwrap();
        let mut held = Vec::new();
        for _ in 0..4 {
            let epoch = thread_rng().gen_range(0..2);
            for (step, batch) in loader.epoch(epoch).enumerate() {
                match batch {
                    Ok(batch) => {
                        assert_content(&batch, epoch, step);
                        held.push(batch);
                    }
                    Err(Error::Stalled { .. } | Error::SlotsHeld { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            shuttle::thread::yield_now();
            held.truncate(1);
        }
    });
}
