//! Which samples an epoch has, as a loader is told.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::{Bits, SHAPE, augmentation, epoch_bits, gathered, pictures};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Loader, Source, Tail};
use proptest::prelude::*;

/// `len` pictures, of which only every tenth is of class 1.
fn unbalanced(len: usize) -> InMemory {
    let pixels = (0..len * SHAPE.elements()).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let labels = (0..len).map(|index| u32::from(index % 10 == 0));
    InMemory::new(SHAPE, 2, pixels.collect(), labels.collect()).unwrap()
}

const LEN: usize = 100;

/// Class 1 has ten samples, source 1 forty, and the first half no weight.
fn balanced() -> LoaderBuilder {
    Loader::builder(unbalanced(LEN)).class_balanced()
}

fn mixed() -> LoaderBuilder {
    let part = |samples| -> Arc<dyn Source> { Arc::new(unbalanced(samples)) };
    Loader::mixed(vec![(part(60), 2), (part(40), 3)]).unwrap()
}

fn weighted() -> LoaderBuilder {
    let weights: Vec<f64> = (0..LEN)
        .map(|index| if index < 50 { 0.0 } else { 1.0 })
        .collect();
    Loader::builder(unbalanced(LEN)).weighted(weights)
}

fn blocks() -> LoaderBuilder {
    // Blocks of 2 samples, windows of 16.
    Loader::builder(unbalanced(LEN)).shuffle_blocks(16 * SHAPE.elements())
}

fn all() -> [LoaderBuilder; 4] {
    [balanced(), mixed(), weighted(), blocks()]
}

fn indices(batches: &[Bits]) -> Vec<usize> {
    batches
        .iter()
        .flat_map(|batch| batch.3.iter().copied())
        .collect()
}

fn read(builder: LoaderBuilder, epoch: u64) -> Vec<usize> {
    indices(&epoch_bits(
        &mut builder.batch_size(10).build().unwrap(),
        epoch,
    ))
}

#[test]
fn classes_come_equally_often() {
    let of_class_1 = read(balanced(), 0)
        .into_iter()
        .filter(|index| index % 10 == 0)
        .count();
    assert_eq!(of_class_1, 50);
    // As many samples in a row as there are classes are one of each.
    let labels = epoch_bits(&mut balanced().batch_size(2).build().unwrap(), 1);
    assert!(labels.iter().all(|batch| batch.2.iter().sum::<u32>() == 1));
}

#[test]
fn sources_come_in_their_shares() {
    // Of every five in a row, two are from the first source.
    for five in read(mixed().take(200), 0).chunks(5) {
        assert_eq!(
            five.iter().filter(|&&index| index < 60).count(),
            2,
            "{five:?}"
        );
    }
}

#[test]
fn samples_without_a_weight_never_come() {
    let drawn = read(weighted().take(1000), 0);
    assert_eq!(drawn.len(), 1000);
    assert!(drawn.iter().all(|&index| index >= 50));
    let distinct: HashSet<_> = drawn.iter().collect();
    assert_eq!(distinct.len(), 50);
}

#[test]
fn blocks_visit_every_sample_once_and_keep_to_their_windows() {
    let mut visited = read(blocks(), 0);
    // The first window is 16 samples: whole blocks, so that each has its neighbour there.
    let first = &visited[..16];
    for index in first {
        let neighbours = [(index + 1) % LEN, (index + LEN - 1) % LEN];
        assert!(
            neighbours.iter().any(|index| first.contains(index)),
            "{first:?}"
        );
    }
    visited.sort_unstable();
    assert!(visited.into_iter().eq(0..LEN));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn shards_of_every_order_partition_its_global_batches(
        seed: u64, batch in 5usize..20, world_size in 2usize..5, epoch in 0u64..3,
        tail in prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)],
    ) {
        for builder in all() {
            let builder = builder.seed(seed).batch_size(batch).tail(tail).transform(augmentation());
            let whole = gathered(&builder.clone().workers(1).prefetch(0), 1, epoch);
            prop_assert_eq!(gathered(&builder.workers(2), world_size, epoch), whole);
        }
    }

    #[test]
    fn skip_and_take_cut_a_piece_out_of_every_epoch(seed: u64, skip in 0usize..50, take in 1usize..50) {
        for builder in all().into_iter().chain([Loader::builder(unbalanced(LEN)).shuffle(true)]) {
            let builder = builder.seed(seed).tail(Tail::Pad).transform(augmentation());
            let whole = gathered(&builder.clone().batch_size(LEN), 1, 1);
            let piece = gathered(&builder.skip(skip).take(take).batch_size(take), 1, 1);
            prop_assert_eq!(piece.len(), 1);
            prop_assert_eq!(&piece[0].3, &whole[0].3[skip..skip + take]);
            let row = 3 * 6 * 7;
            prop_assert_eq!(&piece[0].1, &whole[0].1[skip * row..(skip + take) * row]);
        }
    }
}

#[test]
fn an_epoch_does_not_depend_on_what_was_read_before() {
    for builder in all() {
        let builder = builder.batch_size(8).transform(augmentation());
        let mut loader = builder.clone().build().unwrap();
        for epoch in [2, 0, 0, 1] {
            let expected = epoch_bits(&mut builder.clone().build().unwrap(), epoch);
            assert_eq!(epoch_bits(&mut loader, epoch), expected);
        }
        assert_ne!(
            read(builder.clone(), 0),
            read(builder, 1),
            "epochs are alike"
        );
    }
}

#[test]
fn what_comes_twice_in_an_epoch_is_augmented_anew() {
    for builder in [balanced(), mixed(), weighted()] {
        let builder = builder.batch_size(1).transform(augmentation());
        let epoch = epoch_bits(&mut builder.build().unwrap(), 0);
        let draws: HashSet<_> = epoch.iter().map(|batch| batch.3[0]).collect();
        assert!(draws.len() < epoch.len(), "nothing came twice");
        let distinct: HashSet<_> = epoch.iter().map(|batch| &batch.1).collect();
        assert_eq!(distinct.len(), epoch.len());
    }
}

#[test]
fn the_same_epoch_after_epoch_is_augmented_anew() {
    // Without a shuffle, too, and without any call to make it so.
    let builder = Loader::builder(pictures(20))
        .batch_size(20)
        .transform(augmentation());
    let mut loader = builder.build().unwrap();
    let epochs: HashSet<_> = (0..20)
        .map(|epoch| epoch_bits(&mut loader, epoch).remove(0).1)
        .collect();
    assert_eq!(epochs.len(), 20);
}

#[test]
fn what_an_epoch_wraps_around_to_is_augmented_anew() {
    let builder = Loader::builder(pictures(5))
        .batch_size(12)
        .tail(Tail::Wrap)
        .transform(augmentation());
    let batches = epoch_bits(&mut builder.build().unwrap(), 0);
    assert_eq!(indices(&batches), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]);
    let rows: HashSet<&[u32]> = batches[0].1.chunks(batches[0].1.len() / 12).collect();
    assert_eq!(rows.len(), 12);
}
