//! The same seed gives the same batches to the bit, whatever else changes.

mod common;

use common::{augmentation, bits, epoch_bits, pictures};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::{Loader, Shard, Tail};
use proptest::prelude::*;

fn builder(len: usize) -> LoaderBuilder {
    Loader::builder(pictures(len))
        .batch_size(16)
        .seed(42)
        .shuffle(true)
        .transform(augmentation())
}

#[test]
fn an_epoch_does_not_depend_on_workers_or_prefetch_depth() {
    let expected = epoch_bits(&mut builder(103).workers(1).prefetch(0).build().unwrap(), 3);
    assert_eq!(expected.len(), 6);
    for workers in [1, 2, 5] {
        for prefetch in [0, 1, 2, 7, 40] {
            let mut loader = builder(103)
                .workers(workers)
                .prefetch(prefetch)
                .build()
                .unwrap();
            assert_eq!(loader.plan().slots, prefetch + 1);
            assert_eq!(
                epoch_bits(&mut loader, 3),
                expected,
                "{workers} workers, prefetch {prefetch}"
            );
        }
    }
}

#[test]
fn an_epoch_does_not_depend_on_what_was_read_before() {
    let expected: Vec<_> = (0..3)
        .map(|epoch| epoch_bits(&mut builder(103).build().unwrap(), epoch))
        .collect();
    let mut loader = builder(103).workers(2).build().unwrap();
    for epoch in [0, 1, 2, 0, 2, 2, 1] {
        assert_eq!(
            epoch_bits(&mut loader, epoch),
            expected[epoch as usize],
            "epoch {epoch}"
        );
    }
    // One that was broken off, and one whose last batches are still held while the next begins.
    let held: Vec<_> = loader.epoch(1).take(2).map(Result::unwrap).collect();
    assert_eq!(epoch_bits(&mut loader, 0), expected[0]);
    assert_eq!(held.iter().map(bits).collect::<Vec<_>>(), expected[1][..2]);
}

#[test]
fn epochs_and_seeds_differ_in_order_and_in_augmentation() {
    let mut loader = builder(103).build().unwrap();
    let [first, second] = [0, 1].map(|epoch| epoch_bits(&mut loader, epoch));
    assert_ne!(first[0].3, second[0].3, "same order");
    let mut other_seed = builder(103).seed(43).build().unwrap();
    assert_ne!(
        epoch_bits(&mut other_seed, 0)[0].3,
        first[0].3,
        "same order"
    );

    // Without shuffling, only the augmentation is left to differ.
    let mut loader = builder(103).shuffle(false).build().unwrap();
    let [first, second] = [0, 1].map(|epoch| epoch_bits(&mut loader, epoch));
    assert_eq!(first[0].3, second[0].3);
    assert_ne!(first[0].1, second[0].1, "same augmentation");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn replicas_together_read_the_global_batches_of_one(
        len in 12usize..60, batch_size in 7usize..12, world_size in 1usize..8,
        tail in prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)],
    ) {
        let builder = builder(len).batch_size(batch_size).tail(tail).workers(1);
        let whole = epoch_bits(&mut builder.clone().build().unwrap(), 5);
        let shards: Vec<_> = (0..world_size)
            .map(|rank| {
                let shard = Shard::new(rank, world_size).unwrap();
                epoch_bits(&mut builder.clone().shard(shard).build().unwrap(), 5)
            })
            .collect();
        for (step, whole) in whole.iter().enumerate() {
            let mut gathered = (step, vec![], vec![], vec![]);
            for shard in &shards {
                gathered.1.extend(&shard[step].1);
                gathered.2.extend(&shard[step].2);
                gathered.3.extend(&shard[step].3);
            }
            prop_assert_eq!(&gathered, whole);
        }
    }
}

#[test]
fn evaluation_on_any_number_of_ranks_counts_every_sample_once() {
    for world_size in [1, 2, 3, 5] {
        let mut seen = vec![0; 103];
        for rank in 0..world_size {
            let shard = Shard::new(rank, world_size).unwrap();
            let mut loader = Loader::builder(pictures(103))
                .batch_size(20)
                .tail(Tail::Pad)
                .shard(shard)
                .build()
                .unwrap();
            for batch in loader.epoch(0) {
                let batch = batch.unwrap();
                let info = batch.info();
                assert_eq!(batch.indices().len(), info.samples);
                assert_eq!(
                    info.mask().filter(|&mask| mask == 1.0).count(),
                    info.samples
                );
                batch.indices().iter().for_each(|&index| seen[index] += 1);
                let elements = batch.shape().elements();
                assert!(
                    batch.pixels()[info.samples * elements..]
                        .iter()
                        .all(|&value| value == 0.0)
                );
                assert!(
                    batch.labels()[info.samples..]
                        .iter()
                        .all(|&label| label == 0)
                );
            }
        }
        assert_eq!(seen, [1; 103], "world size {world_size}");
    }
}

#[cfg(feature = "candle")]
#[test]
fn tensors_hold_the_same_bits_as_plain_buffers() {
    let expected = epoch_bits(&mut builder(103).build().unwrap(), 0);
    let mut loader = builder(103)
        .device(&candle_core::Device::Cpu)
        .build()
        .unwrap();
    let mut kept = Vec::new();
    for (batch, expected) in loader.epoch(0).zip(&expected) {
        let batch = batch.unwrap();
        assert_eq!(batch.images.dims(), [16, 3, 6, 7]);
        assert_eq!(batch.indices(), expected.3);
        assert_eq!(batch.labels.to_vec1::<u32>().unwrap(), expected.2);
        kept.push(batch.images.flatten_all().unwrap());
    }
    // Tensors that outlive their batch are not overwritten by later ones.
    for (images, expected) in kept.iter().zip(&expected) {
        let bits: Vec<u32> = images
            .to_vec1::<f32>()
            .unwrap()
            .into_iter()
            .map(f32::to_bits)
            .collect();
        assert_eq!(bits, expected.1);
    }
}
