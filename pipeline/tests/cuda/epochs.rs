//! Whole epochs, shards, tails and states.

use std::sync::Arc;

use feedline_pipeline::cuda::Layout;
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::{Error, Loader, LoaderState, Shard, Source, Tail, Transform};
use proptest::prelude::*;

use crate::common::{SHAPE, pictures};
use crate::{both, content, epochs, gpus, host_content, host_epochs};

/// One loader of each kind of order.
fn builder(kind: usize, len: usize) -> LoaderBuilder {
    let builder = || Loader::builder(pictures(len));
    let half = |samples| -> Arc<dyn Source> { Arc::new(pictures(samples)) };
    let weights: Vec<f64> = (0..len).map(|index| index as f64).collect();
    match kind {
        0 => builder(),
        1 => builder().shuffle(true),
        2 => builder().shuffle_blocks(20 * SHAPE.elements()),
        3 => builder().class_balanced(),
        4 => builder().weighted(weights).skip(3).take(2 * len),
        5 => builder().shuffle(true).skip(2).take(len - 3),
        _ => Loader::mixed(vec![(half(len / 2), 1), (half(len - len / 2), 3)]).unwrap(),
    }
}

fn augmentation() -> Transform {
    let transform = Transform::new().random_crop(6, 7, 2).random_flip().scale();
    transform.random_brightness(0.3).random_contrast(0.2, 1.8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn epochs_of_every_shard_are_those_of_the_host(
        kind in 0usize..7, len in 12usize..50, batch in 3usize..9, seed: u64, first in 0u64..3,
        tail in prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)],
        world_size in 1usize..4, slots in 2usize..5, workers in 1usize..3,
    ) {
        for rank in 0..world_size {
            let gpus = gpus();
            let Some(gpu) = gpus.get(rank % gpus.len().max(1)) else {
                return Ok(());
            };
            let builder = builder(kind, len).batch_size(batch).tail(tail).seed(seed);
            let builder = builder.shard(Shard::new(rank, world_size).unwrap());
            let builder = builder.transform(augmentation()).workers(workers);
            let expected = host_epochs::<f32>(&builder, first..first + 2);
            for mut loader in both(builder.cuda(gpu).slots(slots).layout(Layout::Nhwc)) {
                prop_assert_eq!(loader.plan().steps as u64 * 2, expected.len() as u64);
                prop_assert_eq!(&epochs(&mut loader, first..first + 2), &expected);
                // Elsewhere, after part of an epoch; and the same again.
                loader.epoch(first + 7).next().unwrap().unwrap();
                prop_assert_eq!(&epochs(&mut loader, first..first + 2), &expected);
            }
        }
    }

    #[test]
    fn host_and_gpu_go_on_from_each_others_states(
        kind in 0usize..7, len in 12usize..40, batch in 3usize..9, seed: u64, read in 0usize..9,
        tail in prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)],
    ) {
        let gpus = gpus();
        let Some(gpu) = gpus.last() else {
            return Ok(());
        };
        let builder = builder(kind, len).batch_size(batch).tail(tail).seed(seed).workers(1);
        let builder = builder.transform(augmentation());
        let mut host = builder.clone().build().unwrap();
        let mut batches = host.epochs(1..3);
        batches.by_ref().take(read).for_each(|batch| drop(batch.unwrap()));
        let state = batches.state().unwrap();
        let expected: Vec<_> = batches.map(|batch| host_content(&batch.unwrap())).collect();
        let resumed: LoaderBuilder = builder.clone().resume(state.clone());
        for mut loader in both(builder.clone().cuda(gpu)) {
            let mut batches = loader.epochs(1..3);
            batches.by_ref().take(read).for_each(|batch| drop(batch.unwrap()));
            prop_assert_eq!(&batches.state().unwrap(), &state);
            let rest: Vec<_> = batches.map(|batch| content(&batch.unwrap())).collect();
            prop_assert_eq!(&rest, &expected);
        }
        for mut loader in both(resumed.cuda(gpu)) {
            prop_assert_eq!(&loader.state().unwrap(), &state);
            let other = loader.epoch(state.epoch() + 1).next().unwrap().unwrap_err();
            prop_assert!(matches!(other, Error::NotResumed { .. }), "{}", other);
            prop_assert_eq!(&epochs(&mut loader, state.epoch()..3), &expected);
        }
    }
}

#[test]
fn states_of_other_data_are_refused() {
    for gpu in gpus() {
        let state: LoaderState = Loader::builder(pictures(9))
            .batch_size(3)
            .build()
            .unwrap()
            .state()
            .unwrap();
        for resident in [false, true] {
            let builder = Loader::builder(pictures(10))
                .batch_size(3)
                .resume(state.clone());
            let error = builder.cuda(&gpu).resident(resident).build().unwrap_err();
            assert!(matches!(error, Error::ForeignState { .. }), "{error}");
        }
    }
}

#[test]
fn gpus_side_by_side_read_their_parts_of_every_batch() {
    let builder = Loader::builder(pictures(40)).batch_size(8).shuffle(true);
    let builder = builder.transform(augmentation());
    let gpus = gpus();
    let read = |rank: usize| {
        let shard = Shard::new(rank, gpus.len()).unwrap();
        let builder = builder.clone().shard(shard);
        let expected = host_epochs::<f32>(&builder, 0..4);
        for mut loader in both(builder.cuda(&gpus[rank])) {
            assert_eq!(epochs(&mut loader, 0..4), expected);
        }
    };
    std::thread::scope(|scope| {
        for rank in 0..gpus.len() {
            scope.spawn(move || read(rank));
        }
    });
}
