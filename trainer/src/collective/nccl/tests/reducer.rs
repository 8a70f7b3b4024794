//! Buckets are summed as soon as they are final, and to the same bits when not.

use super::*;
use crate::collective::{BucketSizes, Buckets, Phase};
use feedline_pipeline::Random;
use proptest::prelude::*;
use std::sync::Arc;

fn gradients(rank: usize, step: u64, length: usize) -> Vec<f32> {
    let mut random = Random::new([rank as u64, step]);
    (0..length).map(|_| random.uniform(-1.0, 1.0)).collect()
}

/// The sums of three steps, in each of which a backward pass finishes one parameter after the other.
pub(super) fn train(
    communicator: Communicator,
    lengths: &[usize],
    sizes: BucketSizes,
    overlap: bool,
    in_bf16: bool,
) -> Vec<Vec<f32>> {
    let communicator = Arc::new(communicator);
    let stream = Arc::clone(communicator.gpu().stream());
    let buckets = Buckets::with_sizes(lengths.iter().copied(), 2, sizes);
    let length = buckets.length();
    let mut sums = stream.alloc_zeros::<f32>(length).unwrap();
    let mut reducer = DeviceReducer::new(Arc::clone(&communicator), buckets, overlap);
    if in_bf16 {
        reducer = reducer.in_bf16(2).unwrap();
    }
    let step = |step| {
        reducer.begin(step).unwrap();
        let own = gradients(communicator.rank(), step, length);
        let mut end = length;
        for parameter in lengths.iter().rev() {
            let start = if end == length { end - 2 } else { end } - parameter;
            let part = &mut sums.slice_mut(start..end);
            stream.memcpy_htod(&own[start..end], part).unwrap();
            // SAFETY: only what is in front of this is written before `join`.
            unsafe { reducer.ready(start, &mut sums).unwrap() };
            end = start;
        }
        reducer.join(&mut sums).unwrap();
        let sums = stream.clone_dtoh(&sums).unwrap();
        stream.synchronize().unwrap();
        sums
    };
    (0..4).map(step).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn overlap_changes_no_bit_and_sums_are_those_of_a_loop(
        world_size in 1usize..5,
        lengths in prop::collection::vec(1usize..400, 1..6),
        first in 0usize..800,
        others in 0usize..2000,
    ) {
        if !has_gpus(world_size) {
            return Ok(());
        }
        let sizes = BucketSizes { first, others };
        let length = lengths.iter().sum::<usize>() + 2;
        let run = |overlap, in_bf16| on_each(world_size, LONG, |communicator| {
            train(communicator, &lengths, sizes, overlap, in_bf16)
        });
        for in_bf16 in [false, true] {
            let (with, without) = (run(true, in_bf16), run(false, in_bf16));
            prop_assert_eq!(&with, &without);
            prop_assert!(with.iter().all(|own| *own == with[0]));
            for (step, sums) in with[0].iter().enumerate() {
                let all = (0..world_size).map(|rank| gradients(rank, step as u64, length));
                let all: Vec<_> = all.collect();
                for (i, sum) in sums.iter().enumerate() {
                    let expected: f64 = all.iter().map(|own| f64::from(own[i])).sum();
                    // bf16 has 8 bits; the two numbers at the end always travel as f32.
                    let rounded = in_bf16 && world_size > 1 && i < length - 2;
                    let near = if rounded { 0.05 } else { 1e-5 };
                    prop_assert!((f64::from(*sum) - expected).abs() < near, "{sum} {expected}");
                }
            }
        }
    }
}

#[test]
fn a_bucket_is_summed_while_the_rest_is_not_final() {
    if !has_gpus(2) {
        return;
    }
    let results = on_each(2, LONG, |communicator| {
        let communicator = Arc::new(communicator);
        let stream = Arc::clone(communicator.gpu().stream());
        let sizes = BucketSizes {
            first: 0,
            others: 0,
        };
        let buckets = Buckets::with_sizes([3, 2], 0, sizes);
        let mut sums = stream.clone_htod(&[1f32; 5]).unwrap();
        let mut reducer = DeviceReducer::new(Arc::clone(&communicator), buckets, true);
        reducer.begin(4).unwrap();
        // SAFETY: nothing but `join` uses the last two before `join`, beside a copy that waits for the sums.
        unsafe { reducer.ready(3, &mut sums).unwrap() };
        let seen = communicator.roll().seen(communicator.rank()).unwrap();
        assert_eq!((seen.step, seen.phase), (4, Phase::Bucket(0)));
        // Nothing on the computing stream waits for the other bucket.
        let end = communicator.stream().record_event(None).unwrap();
        communicator.wait(&end, 4, Phase::Bucket(0)).unwrap();
        let between = stream.clone_dtoh(&sums).unwrap();
        stream.synchronize().unwrap();
        reducer.join(&mut sums).unwrap();
        let after = stream.clone_dtoh(&sums).unwrap();
        stream.synchronize().unwrap();
        (between, after)
    });
    for (between, after) in results {
        assert_eq!(between, [1.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(after, [2.0; 5]);
    }
}

#[test]
fn buffers_of_another_length_are_refused() {
    if !has_gpus(1) {
        return;
    }
    let errors = on_each(1, LONG, |communicator| {
        let stream = Arc::clone(communicator.gpu().stream());
        let mut values = stream.alloc_zeros::<f32>(4).unwrap();
        let buckets = Buckets::new([5], 0);
        let mut reducer = DeviceReducer::new(Arc::new(communicator), buckets, true);
        reducer.join(&mut values).unwrap_err().to_string()
    });
    assert_eq!(errors, ["number of values is 4, expected 5"]);
}
