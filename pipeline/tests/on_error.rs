//! Samples that fail are let pass as the loader was told, the same ones in the same way on any number of workers.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::{SHAPE, augmentation, bits, pictures};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{
    Error, HostBatch, Loader, OnError, Result, Sample, Shape, Shard, Source, Tail, Transform,
};
use proptest::prelude::*;

/// [`pictures`], some of which can't be read: even ones are errors, odd ones panics.
struct Damaged {
    pictures: InMemory,
    bad: BTreeSet<usize>,
}

impl Source for Damaged {
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
        match self.bad.contains(&index) {
            true if index % 2 == 1 => panic!("damaged"),
            true => Err(Error::Sample {
                index,
                stage: "source",
                source: "damaged".into(),
            }),
            false => self.pictures.sample(index, scratch),
        }
    }
}

fn damaged(len: usize, bad: &BTreeSet<usize>) -> LoaderBuilder {
    let (pictures, bad) = (pictures(len), bad.clone());
    Loader::builder(Damaged { pictures, bad })
        .shuffle(true)
        .seed(3)
        .tail(Tail::Pad)
        .transform(augmentation())
}

/// Each sample of a batch: its index, label and pixels.
fn samples(batch: &HostBatch) -> Vec<(usize, u32, Vec<u32>)> {
    let rows = batch.pixels().chunks(batch.shape().elements());
    let samples = batch.indices().iter().zip(batch.labels()).zip(rows);
    samples
        .map(|((&index, &label), row)| {
            let row = row.iter().map(|value| value.to_bits());
            (index, label, row.collect())
        })
        .collect()
}

/// The rows that failed, and their indices.
fn failed(batch: &HostBatch) -> Vec<(usize, usize)> {
    let info = batch.info();
    let failures = batch.failures().iter();
    failures
        .inspect(|failure| assert_eq!((failure.epoch, failure.step), (info.epoch, info.step)))
        .map(|failure| (failure.row, failure.index))
        .collect()
}

/// Loaders whose batches are filled by one worker, by several, and in several parts: (rows, workers).
const WAYS: [(usize, usize); 3] = [(7, 1), (7, 3), (5000, 2)];

fn bad_samples() -> impl Strategy<Value = (usize, usize, BTreeSet<usize>)> {
    (0..WAYS.len()).prop_flat_map(|way| {
        let len = WAYS[way].0 * 2 + 5;
        (
            Just(way),
            Just(len),
            prop::collection::btree_set(0..len, 0..9),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn skipped_samples_leave_the_others_as_they_are((way, len, bad) in bad_samples()) {
        let (rows, workers) = WAYS[way];
        let policy = OnError::Skip { at_most: usize::MAX };
        let builder = |bad: &BTreeSet<usize>| damaged(len, bad).batch_size(rows).workers(workers);
        let mut sound = builder(&BTreeSet::new()).build().unwrap();
        let mut loader = builder(&bad).on_error(policy).build().unwrap();
        prop_assert_eq!(loader.plan().parts > 1, rows == 5000);
        let mut total = 0;
        for (whole, batch) in sound.epoch(1).zip(loader.epoch(1)) {
            let (whole, batch) = (whole.unwrap(), batch.unwrap());
            let mut expected = samples(&whole);
            let gone: Vec<_> = expected.iter().map(|sample| sample.0).enumerate()
                .filter(|(_, index)| bad.contains(index)).collect();
            prop_assert_eq!(failed(&batch), &gone[..]);
            total += gone.len();
            expected.retain(|sample| !bad.contains(&sample.0));
            prop_assert_eq!(samples(&batch), &expected[..]);
            // The rest is padding.
            let (info, count) = (batch.info(), expected.len());
            prop_assert_eq!((info.samples, info.rows), (count, rows));
            prop_assert_eq!(info.global_samples, whole.info().global_samples);
            prop_assert_eq!(info.mask().sum::<f32>(), count as f32);
            let elements = batch.shape().elements();
            prop_assert!(batch.pixels()[count * elements..].iter().all(|&value| value == 0.0));
            prop_assert!(batch.labels()[count..].iter().all(|&label| label == 0));
        }
        prop_assert_eq!(total, bad.len());
        prop_assert_eq!(loader.failed_samples(), total);
    }

    #[test]
    fn replaced_samples_leave_the_others_as_they_are((way, len, bad) in bad_samples()) {
        let (rows, workers) = WAYS[way];
        let policy = OnError::Replace { at_most: usize::MAX };
        let builder = |bad: &BTreeSet<usize>| damaged(len, bad).batch_size(rows).workers(workers);
        let mut sound = builder(&BTreeSet::new()).build().unwrap();
        let mut loader = builder(&bad).on_error(policy).build().unwrap();
        let mut again = builder(&bad).on_error(policy).workers(1).build().unwrap();
        let pictures = pictures(len);
        let batches = sound.epoch(1).zip(loader.epoch(1)).zip(again.epoch(1));
        for ((whole, batch), again) in batches {
            let (whole, batch, again) = (whole.unwrap(), batch.unwrap(), again.unwrap());
            prop_assert_eq!(bits(&batch), bits(&again));
            prop_assert_eq!(batch.info(), whole.info());
            for ((row, sample), before) in samples(&batch).into_iter().enumerate().zip(samples(&whole)) {
                if bad.contains(&before.0) {
                    prop_assert!(failed(&batch).contains(&(row, before.0)));
                    prop_assert!(!bad.contains(&sample.0));
                    prop_assert_eq!(sample.1, pictures.label(sample.0).unwrap());
                } else {
                    prop_assert_eq!(sample, before);
                }
            }
        }
        prop_assert_eq!(loader.failed_samples(), bad.len());
    }

    #[test]
    fn evaluation_that_skips_counts_each_good_sample_once(
        len in 20usize..90, bad in prop::collection::btree_set(0usize..90, 0..9), world_size in 1usize..6,
    ) {
        let mut seen = vec![0; len];
        let mut skipped = 0;
        for rank in 0..world_size {
            let shard = Shard::new(rank, world_size).unwrap();
            let policy = OnError::Skip { at_most: usize::MAX };
            let mut loader = damaged(len, &bad).batch_size(8).on_error(policy).shard(shard).build().unwrap();
            for batch in loader.epoch(0) {
                batch.unwrap().indices().iter().for_each(|&index| seen[index] += 1);
            }
            skipped += loader.failed_samples();
        }
        let expected: Vec<_> = (0..len).map(|index| i32::from(!bad.contains(&index))).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(skipped, bad.range(..len).count());
    }
}

#[test]
fn too_many_failures_end_the_epoch_at_the_same_batch_whatever_the_workers() {
    let bad = BTreeSet::from([3, 10, 11, 34, 48]);
    for policy in [
        |at_most| OnError::Skip { at_most },
        |at_most| OnError::Replace { at_most },
    ] {
        for at_most in 0..6 {
            let read = |workers, prefetch| {
                let builder = damaged(50, &bad).batch_size(4).on_error(policy(at_most));
                let mut loader = builder.workers(workers).prefetch(prefetch).build().unwrap();
                let mut batches = vec![];
                let mut error = String::new();
                for batch in loader.epoch(0) {
                    match batch {
                        Ok(batch) => batches.push(bits(&batch)),
                        Err(failure) => {
                            let expected = matches!(failure, Error::TooManyFailures { at_most: most, .. } if most == at_most);
                            assert!(expected, "{failure}");
                            error = failure.to_string();
                        }
                    }
                }
                (batches, error)
            };
            let expected = read(1, 0);
            assert_eq!(
                expected.1.is_empty(),
                at_most >= bad.len(),
                "{}",
                expected.1
            );
            for (workers, prefetch) in [(1, 5), (2, 1), (4, 9)] {
                assert_eq!(read(workers, prefetch), expected, "{workers} workers");
            }
        }
    }
}

#[test]
fn too_many_failures_are_reported_where_they_happen_and_sound_batches_still_come() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&broken);
    let fail = move |_: feedline_pipeline::transform::MapSample<'_>| match switch
        .load(Ordering::Relaxed)
    {
        true => Err("broken".into()),
        false => Ok(()),
    };
    let mut loader = Loader::builder(pictures(30))
        .batch_size(10)
        .transform(Transform::new().map(fail))
        .on_error(OnError::Skip { at_most: 4 })
        .build()
        .unwrap();
    let error = loader.epoch(0).next().unwrap().unwrap_err().to_string();
    let expected = "more than 4 samples failed, which is as many as were to be let pass; \
                    the first one too many: sample 4 failed in map: broken; \
                    see to the data, or let more pass";
    assert_eq!(error, expected);
    broken.store(false, Ordering::Relaxed);
    assert_eq!(loader.epoch(5).filter(Result::is_ok).count(), 3);
}

#[test]
fn where_nothing_can_be_read_replacing_ends_with_an_error() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let mut loader = Loader::builder(pictures(30))
        .batch_size(10)
        .workers(1)
        .prefetch(0)
        .transform(Transform::new().map(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            Err("broken".into())
        }))
        .on_error(OnError::Replace {
            at_most: usize::MAX,
        })
        .build()
        .unwrap();
    let mut epoch = loader.epoch(0);
    let error = epoch.next().unwrap().unwrap_err().to_string();
    assert!(error.ends_with("failed in map: broken"), "{error}");
    assert!(epoch.next().is_none());
    assert!(calls.load(Ordering::Relaxed) < 20, "{calls:?}");
}

#[test]
fn replacements_come_from_the_same_epoch() {
    // What was left out, or has no weight, must not come in by the back door.
    let bad: BTreeSet<_> = (0..100).filter(|index| index % 3 == 0).collect();
    let weights: Vec<f64> = (0..100)
        .map(|index| f64::from(u8::from(index >= 40)))
        .collect();
    for builder in [
        damaged(100, &bad).shuffle(false).skip(40).take(60),
        damaged(100, &bad).weighted(weights),
    ] {
        let policy = OnError::Replace {
            at_most: usize::MAX,
        };
        let mut loader = builder.batch_size(20).on_error(policy).build().unwrap();
        for batch in loader.epochs(0..10) {
            let batch = batch.unwrap();
            assert!(
                batch.indices().iter().all(|index| *index >= 40),
                "{:?}",
                batch.indices()
            );
        }
        assert!(loader.failed_samples() > 100);
    }
}
