//! A loader that is resumed goes on as if it had never stopped, or says why it can't.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Bits, SHAPE, augmentation, bits, joined, pictures};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::{Error, Loader, LoaderState, Shard, Source, Tail, Transform};
use proptest::prelude::*;

/// One loader of each kind of order.
fn builders(len: usize) -> Vec<LoaderBuilder> {
    let builder = || Loader::builder(pictures(len));
    let half = |samples| -> Arc<dyn Source> { Arc::new(pictures(samples)) };
    let mixed = Loader::mixed(vec![(half(len / 2), 1), (half(len - len / 2), 3)]);
    let weights: Vec<f64> = (0..len).map(|index| index as f64).collect();
    vec![
        builder(),
        builder().shuffle(true),
        builder().shuffle_blocks(20 * SHAPE.elements()),
        builder().class_balanced(),
        builder().weighted(weights).skip(3).take(2 * len),
        builder().shuffle(true).skip(2).take(len - 3),
        mixed.unwrap(),
    ]
}

/// The rest of the epochs up to `end`, read by `world_size` loaders that are resumed from `state`.
fn rest(builder: &LoaderBuilder, state: &LoaderState, end: u64, world_size: usize) -> Vec<Bits> {
    let shards = (0..world_size).map(|rank| {
        let shard = Shard::new(rank, world_size).unwrap();
        let builder = builder.clone().shard(shard).resume(state.clone());
        let mut loader = builder.build().unwrap();
        let batches = loader.epochs(state.epoch()..end);
        batches.map(|batch| bits(&batch.unwrap())).collect()
    });
    joined(shards.collect())
}

fn round_trip(state: &LoaderState) -> LoaderState {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_loader_resumed_at_any_step_reads_the_same_tail_to_the_bit(
        len in 8usize..50, batch in 3usize..9, kind in 0usize..7, seed: u64, first in 0u64..3,
        tail in prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)],
        workers in 1usize..4, prefetch in 0usize..5, world_size in 1usize..4,
    ) {
        let builder = builders(len).swap_remove(kind).batch_size(batch).tail(tail).transform(augmentation());
        let seeded = builder.clone().seed(seed).workers(2);
        let end = first + 2;
        // The state before each batch, also of another world, and behind the last one.
        let mut loader = seeded.clone().build().unwrap();
        let mut other = seeded.shard(Shard::new(1, 2).unwrap()).build().unwrap();
        let (mut batches, mut others) = (loader.epochs(first..end), other.epochs(first..end));
        let (mut states, mut all) = (vec![], vec![]);
        loop {
            let state = round_trip(&batches.state().unwrap());
            prop_assert_eq!(&state, &others.state().unwrap());
            states.push(state);
            others.next();
            let Some(batch) = batches.next() else { break };
            all.push(bits(&batch.unwrap()));
        }
        let steps = all.len() / 2;
        for (k, state) in states.iter().enumerate() {
            prop_assert_eq!((state.epoch(), state.step()), (first + (k / steps) as u64, k % steps));
            // The seed is the state's own.
            let builder = builder.clone().workers(workers).prefetch((prefetch + k) % 5);
            let world_size = 1 + (world_size + k) % 3;
            if state.epoch() < end {
                prop_assert_eq!(rest(&builder, state, end, world_size), &all[k..], "step {}", k);
            }
        }
    }
}

fn builder() -> LoaderBuilder {
    Loader::builder(pictures(30))
        .batch_size(10)
        .shuffle(true)
        .seed(7)
}

/// The state of [`builder`] before the second batch of epoch 4.
fn state() -> LoaderState {
    let mut loader = builder().build().unwrap();
    let mut batches = loader.epoch(4);
    batches.next().unwrap().unwrap();
    batches.state().unwrap()
}

/// The same with one field changed.
fn altered(field: &str, value: u64) -> LoaderState {
    let mut json = serde_json::to_value(state()).unwrap();
    json[field] = value.into();
    serde_json::from_value(json).unwrap()
}

#[test]
fn a_state_of_something_else_is_refused_and_both_are_named() {
    let hex = |source: &dyn Source| format!("{:016x}", source.fingerprint().unwrap());
    let (ours, theirs) = (hex(&pictures(30)), hex(&pictures(31)));
    let other_data = Loader::builder(pictures(31)).batch_size(10).shuffle(true);
    let cases = [
        (other_data, state(), "fingerprint", &*ours, &*theirs),
        (
            builder().batch_size(5),
            state(),
            "order",
            "batches of 10",
            "batches of 5",
        ),
        (
            builder().tail(Tail::Wrap),
            state(),
            "order",
            "tail Drop",
            "tail Wrap",
        ),
        (
            builder().shuffle(false),
            state(),
            "order",
            "shuffled",
            "sequential",
        ),
        (
            builder().take(29),
            state(),
            "order",
            "30 samples",
            "29 samples",
        ),
        (
            builder().skip(1).take(29),
            state(),
            "order",
            "from 0",
            "from 1",
        ),
        (builder().seed(8), state(), "seed", "7 was", "8 is"),
        (
            builder(),
            altered("version", 2),
            "format",
            "version 2",
            "version 1",
        ),
        (builder(), altered("step", 3), "step", "3 was", "3 steps"),
    ];
    for (builder, state, what, saved, found) in cases {
        let error = builder.resume(state).build().unwrap_err();
        assert!(matches!(error, Error::ForeignState { .. }), "{error}");
        let text = error.to_string().replace('"', "");
        let named = text.split_once(" was saved, and ");
        let (before, after) = named.unwrap_or_else(|| panic!("{text}"));
        let before = format!("{before} was");
        let both = before.contains(what) && before.contains(saved) && after.contains(found);
        assert!(both, "{text} does not name {what}, {saved} and {found}");
    }
}

#[test]
fn parameters_of_an_order_are_part_of_it() {
    let source = |samples| -> Arc<dyn Source> { Arc::new(pictures(samples)) };
    let mixed = |weight| Loader::mixed(vec![(source(20), 1), (source(40), weight)]).unwrap();
    let weighted =
        |last| Loader::builder(pictures(60)).weighted([vec![1.0; 59], vec![last]].concat());
    let blocks = |bytes| Loader::builder(pictures(60)).shuffle_blocks(bytes);
    for (one, other) in [
        (mixed(2), mixed(3)),
        (weighted(1.0), weighted(2.0)),
        (blocks(3000), blocks(4000)),
    ] {
        let state = one.clone().build().unwrap().state().unwrap();
        assert!(one.resume(state.clone()).build().is_ok());
        let error = other.resume(state).build().unwrap_err();
        assert!(
            matches!(error, Error::ForeignState { what: "order", .. }),
            "{error}"
        );
    }
}

#[test]
fn a_resumed_loader_is_not_read_from_somewhere_else() {
    let mut loader = builder().resume(state()).build().unwrap();
    for _ in 0..2 {
        let error = loader.epoch(5).next().unwrap().unwrap_err();
        let wrong = matches!(
            error,
            Error::NotResumed {
                epoch: 4,
                step: 1,
                found: 5
            }
        );
        assert!(wrong, "{error}");
        // It has not moved.
        assert_eq!(loader.state().unwrap(), state());
    }
    assert_eq!(loader.epochs(4..4).count(), 0);
    let steps = |batch: feedline_pipeline::Result<feedline_pipeline::HostBatch>| {
        let info = batch.unwrap().info();
        (info.epoch, info.step)
    };
    let read: Vec<_> = loader.epoch(4).map(steps).collect();
    assert_eq!(read, [(4, 1), (4, 2)]);
    // From then on it is a loader as any other.
    let read: Vec<_> = loader.epoch(4).map(steps).collect();
    assert_eq!(read, [(4, 0), (4, 1), (4, 2)]);
}

#[test]
fn behind_the_last_batch_of_an_epoch_stands_the_first_of_the_next() {
    for prefetch in [0, 1, 4] {
        let mut loader = builder().prefetch(prefetch).build().unwrap();
        let at = |state: LoaderState| (state.epoch(), state.step());
        assert_eq!(at(loader.state().unwrap()), (0, 0));
        let mut batches = loader.epochs(2..4);
        assert_eq!(at(batches.state().unwrap()), (2, 0));
        batches
            .by_ref()
            .take(3)
            .for_each(|batch| drop(batch.unwrap()));
        assert_eq!(at(batches.state().unwrap()), (3, 0));
        batches.next().unwrap().unwrap();
        assert_eq!(at(batches.state().unwrap()), (3, 1));
        batches.for_each(|batch| drop(batch.unwrap()));
        assert_eq!(at(loader.state().unwrap()), (4, 0));
    }
}

#[test]
fn a_batch_that_failed_is_the_one_to_go_on_with() {
    let broken = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&broken);
    let transform = Transform::new().map(move |sample| {
        if sample.index == 25 && switch.load(Ordering::Relaxed) {
            return Err("not yet".into());
        }
        Ok(())
    });
    let builder = Loader::builder(pictures(40))
        .batch_size(10)
        .transform(transform);
    let mut loader = builder.clone().build().unwrap();
    assert_eq!(loader.epoch(0).filter(Result::is_ok).count(), 2);
    let state = loader.state().unwrap();
    assert_eq!((state.epoch(), state.step()), (0, 2));
    broken.store(false, Ordering::Relaxed);
    let mut later = builder.resume(state).build().unwrap();
    let first = later.epoch(0).next().unwrap().unwrap();
    assert_eq!(first.indices(), (20..30).collect::<Vec<_>>());
}
