//! Values are summed, averaged and sent as a loop over the ranks would do it.

use super::*;
use crate::collective::Collective;
use feedline_pipeline::Random;
use half::bf16;
use proptest::prelude::*;

/// Small whole numbers, whose sums are exact in any order and type.
fn values(rank: usize, length: usize) -> Vec<f32> {
    let mut random = Random::new([rank as u64, length as u64]);
    let value = |_| random.uniform(-8.0, 8.0).round();
    (0..length).map(value).collect()
}

fn sums(world_size: usize, length: usize) -> Vec<f32> {
    let mut sums = vec![0.0; length];
    for rank in 0..world_size {
        let own = values(rank, length);
        sums.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// What becomes of `length` values of type `T` in the middle of a buffer whose other values are left alone.
pub(super) fn reduced<T: Element + PartialEq>(
    communicator: &Communicator,
    length: usize,
    reduction: Option<Reduction>,
    convert: impl Fn(f32) -> T,
) -> Vec<T> {
    let stream = communicator.gpu().stream();
    let own: Vec<T> = values(communicator.rank(), length)
        .into_iter()
        .map(&convert)
        .collect();
    let border = [convert(100.0); 3];
    let whole = [&border[..], &own, &border].concat();
    let mut buffer = stream.clone_htod(&whole).unwrap();
    let mut middle = buffer.slice_mut(3..3 + length);
    match reduction {
        Some(reduction) => communicator.all_reduce(&mut middle, reduction).unwrap(),
        None => communicator.broadcast_first(&mut middle).unwrap(),
    }
    // In the order of the computing stream, without a wait of this thread in between.
    let mut result = stream.clone_dtoh(&buffer).unwrap();
    stream.synchronize().unwrap();
    assert!(result[..3] == border && result[3 + length..] == border);
    result.drain(3 + length..);
    result.drain(..3);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn ranges_of_device_memory_are_reduced_and_sent(
        world_size in 1usize..5,
        lengths in prop::collection::vec(0usize..3000, 1..4),
    ) {
        if !has_gpus(world_size) {
            return Ok(());
        }
        let results = on_each(world_size, LONG, |communicator| {
            let all = |&length: &usize| {
                let sum = Some(Reduction::Sum);
                let halves = reduced(&communicator, length, sum, bf16::from_f32);
                (
                    reduced(&communicator, length, sum, |x| x),
                    reduced(&communicator, length, sum, f64::from),
                    halves.into_iter().map(bf16::to_f32).collect::<Vec<_>>(),
                    reduced(&communicator, length, Some(Reduction::Mean), |x| x),
                    reduced(&communicator, length, None, |x| x),
                )
            };
            lengths.iter().map(all).collect::<Vec<_>>()
        });
        for (place, &length) in lengths.iter().enumerate() {
            let sums = sums(world_size, length);
            let doubles: Vec<_> = sums.iter().copied().map(f64::from).collect();
            for result in &results {
                let (single, double, halves, means, sent) = &result[place];
                prop_assert_eq!(single, &sums);
                prop_assert_eq!(double, &doubles);
                prop_assert_eq!(halves, &sums);
                prop_assert_eq!(sent, &values(0, length));
                for (mean, sum) in means.iter().zip(&sums) {
                    prop_assert!((mean - sum / world_size as f32).abs() < 1e-5);
                }
            }
        }
    }
}

#[test]
fn values_of_the_host_travel_in_pieces() {
    if !has_gpus(3) {
        return;
    }
    // More than the staging memory holds, and nothing at all.
    for length in [0, 7, (1 << 18) + 5] {
        let results = on_each(3, LONG, |communicator| {
            let collective: &dyn Collective = &communicator;
            let own = values(communicator.rank(), length);
            let mut single = own.clone();
            let mut double: Vec<_> = own.iter().copied().map(f64::from).collect();
            let mut sent = own;
            collective.all_reduce_sum(&mut single).unwrap();
            collective.all_reduce_sum_f64(&mut double).unwrap();
            collective.broadcast(&mut sent).unwrap();
            collective.barrier().unwrap();
            (single, double, sent)
        });
        let sums = sums(3, length);
        let doubles: Vec<_> = sums.iter().copied().map(f64::from).collect();
        let expected = (sums, doubles, values(0, length));
        assert!(results.iter().all(|result| *result == expected));
    }
}

#[test]
fn a_duplicate_does_not_mix_with_its_original() {
    if !has_gpus(2) {
        return;
    }
    let results = on_each(2, LONG, |communicator| {
        let duplicate = communicator.duplicate().unwrap();
        let (mut one, mut other) = ([1.0], [10.0]);
        // The ranks call them in different orders.
        let both = [&*duplicate, &communicator as &dyn Collective];
        let sum = |index: usize, values: &mut [f32]| both[index].all_reduce_sum(values).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| sum(0, &mut other));
            sum(1, &mut one);
        });
        drop(duplicate);
        communicator.barrier().unwrap();
        (one, other)
    });
    assert_eq!(results, [([2.0], [20.0]); 2]);
}

#[test]
fn memory_of_another_stream_is_refused() {
    if !has_gpus(1) {
        return;
    }
    let error = on_each(1, LONG, |communicator| {
        let other = communicator.gpu().new_stream().unwrap();
        let mut values = other.clone_htod(&[1f32]).unwrap();
        let mut view = values.as_view_mut();
        let result = communicator.all_reduce(&mut view, Reduction::Sum);
        result.unwrap_err().to_string()
    });
    assert!(
        error[0].contains("memory of the computing stream"),
        "{error:?}"
    );
}
