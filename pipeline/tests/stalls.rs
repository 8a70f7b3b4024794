//! What never returns is reported; nothing hangs, and nothing half-done is delivered.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{SHAPE, epoch_bits, pictures};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::transform::MapSample;
use feedline_pipeline::{BoxError, Error, Loader, Result, Sample, Shape, Source, Transform};

#[derive(Default)]
struct Gate {
    reached: AtomicBool,
    open: AtomicBool,
}

/// A `map` that waits at one sample of one epoch until its gate is opened.
fn gate(epoch: u64, index: usize) -> (Arc<Gate>, Transform) {
    let gate = Arc::new(Gate::default());
    let own = Arc::clone(&gate);
    let wait = move |sample: MapSample<'_>| -> Result<(), BoxError> {
        if (sample.epoch, sample.index) == (epoch, index) {
            own.reached.store(true, Ordering::Release);
            wait_for(&own.open);
        }
        sample.pixels[0] += 1.0;
        Ok(())
    };
    (gate, Transform::new().map(wait))
}

fn wait_for(flag: &AtomicBool) {
    while !flag.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_map_that_never_returns_is_an_error_and_dropping_the_loader_does_not_wait_for_it() {
    let (gate, transform) = gate(0, 13);
    let builder = Loader::builder(pictures(30))
        .batch_size(5)
        .workers(2)
        .transform(transform);
    let mut loader = builder
        .stall_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let mut epoch = loader.epoch(0);
    assert!(epoch.next().unwrap().is_ok());
    assert!(epoch.next().unwrap().is_ok());
    let error = epoch.next().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Stalled {
                epoch: 0,
                step: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(epoch.next().is_none());
    drop(loader);
    // Only for the thread that was left behind.
    gate.open.store(true, Ordering::Release);
}

#[test]
fn what_was_slow_once_is_read_in_full_later() {
    // The worker is in the middle of epoch 1 when the consumer goes elsewhere and loses patience.
    let (gate, transform) = gate(1, 3);
    let builder = Loader::builder(pictures(30))
        .batch_size(10)
        .workers(1)
        .prefetch(1);
    let builder = builder.transform(transform);
    let mut loader = builder
        .clone()
        .stall_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 3);
    wait_for(&gate.reached);
    let error = loader.epoch(7).next().unwrap().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Stalled {
                epoch: 1,
                step: 0,
                ..
            }
        ),
        "{error}"
    );
    gate.open.store(true, Ordering::Release);
    let expected = epoch_bits(&mut builder.build().unwrap(), 1);
    assert_eq!(epoch_bits(&mut loader, 1), expected);
}

/// [`pictures`] with something wrong in what is no sample.
struct Panics {
    pictures: InMemory,
    /// The method that panics.
    call: &'static str,
    /// On which threads.
    on_workers: bool,
}

impl Panics {
    fn panic(&self, call: &str) {
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        if call == self.call && name.starts_with("feedline-worker") == self.on_workers {
            panic!("boom");
        }
    }
}

impl Source for Panics {
    fn len(&self) -> usize {
        self.pictures.len()
    }
    fn shape(&self) -> Shape {
        SHAPE
    }
    fn classes(&self) -> usize {
        10
    }
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        self.pictures.sample(index, scratch)
    }
    fn verify(&self) -> Result<()> {
        self.panic("verify");
        Ok(())
    }
    fn will_need(&self, _samples: std::ops::Range<usize>) {
        self.panic("will_need");
    }
    fn done_with(&self, _samples: std::ops::Range<usize>) {
        self.panic("done_with");
    }
}

#[test]
fn a_source_that_panics_besides_its_samples_is_an_error() {
    for (call, on_workers) in [
        ("verify", false),
        ("verify", true),
        ("will_need", true),
        ("done_with", true),
    ] {
        let pictures = pictures(60);
        let source = Panics {
            pictures,
            call,
            on_workers,
        };
        let check = |error: Error| {
            let named =
                matches!(&error, Error::SourcePanic { call: named, .. } if named.contains(call));
            assert!(named, "{call}: {error}");
            assert!(error.to_string().ends_with("boom"), "{error}");
        };
        let builder = Loader::builder(source)
            .batch_size(10)
            .shuffle_blocks(20 * SHAPE.elements())
            .workers(2);
        match builder.build() {
            // The workers live on.
            Ok(mut loader) => {
                (0..3).for_each(|_| check(loader.epoch(0).find_map(Result::err).unwrap()));
            }
            Err(error) => check(error),
        }
    }
}

/// Notes which samples are asked for, and given back.
struct Notes {
    pictures: InMemory,
    asked: std::sync::Mutex<Vec<i32>>,
}

impl Source for Notes {
    fn len(&self) -> usize {
        self.pictures.len()
    }
    fn shape(&self) -> Shape {
        SHAPE
    }
    fn classes(&self) -> usize {
        10
    }
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        self.pictures.sample(index, scratch)
    }
    fn will_need(&self, samples: std::ops::Range<usize>) {
        samples.for_each(|index| self.asked.lock().unwrap()[index] += 1);
    }
    fn done_with(&self, samples: std::ops::Range<usize>) {
        samples.for_each(|index| self.asked.lock().unwrap()[index] -= 1);
    }
}

#[test]
fn every_window_is_asked_for_once_and_given_back_whatever_the_batches() {
    // Windows of 16 samples; batches shorter and longer than one.
    for batch in [1, 5, 16, 50, 100] {
        let source = Arc::new(Notes {
            pictures: pictures(200),
            asked: vec![0; 200].into(),
        });
        let mut loader = Loader::builder(Arc::clone(&source))
            .batch_size(batch)
            .shuffle_blocks(16 * SHAPE.elements())
            .workers(1)
            .prefetch(0)
            .build()
            .unwrap();
        loader.epoch(0).for_each(|batch| drop(batch.unwrap()));
        // All were given back when the epoch began.
        let asked = source.asked.lock().unwrap().clone();
        let asked: Vec<i32> = asked.into_iter().map(|count| count + 1).collect();
        assert!(
            asked.iter().all(|&count| count == 0 || count == 1),
            "{batch}: {asked:?}"
        );
        let kept = asked.iter().filter(|&&count| count == 1).count();
        // What the last batch needs, the window before it, and no more.
        assert!(kept <= 3 * 16 + batch, "{batch}: {kept} of 200");
    }
}
