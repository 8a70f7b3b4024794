//! Tests of sums that run beside the replica's own work.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use feedline_pipeline::Random;
use proptest::prelude::*;

use super::*;
use crate::collective::{BucketSizes, Place, ThreadCollective};
use crate::parallel::Replicas;

const TINY: BucketSizes = BucketSizes {
    first: 0,
    others: 64,
};

fn buckets() -> Buckets {
    Buckets::with_sizes([30, 20, 10], 2, TINY)
}

fn values(rank: usize, step: u64, length: usize) -> Vec<f32> {
    let mut random = Random::new([rank as u64, step]);
    (0..length).map(|_| random.uniform(-1.0, 1.0)).collect()
}

/// What a step comes to if replica 1 does what `fail` says in it, after a step that works. `fail` can see whether another
/// has given up.
fn with_failure(
    deadline: Duration,
    fail: impl Fn(&dyn Collective, &AtomicBool) -> Result<()> + Send + Sync + 'static,
) -> Error {
    let given_up = AtomicBool::new(false);
    let replicas = Replicas::cpu(3).unwrap().deadline(deadline);
    let result = replicas.run(move |replica| {
        let mut reducer = Reducer::new(replica.shared_collective(), buckets(), true)?;
        let mut sums = vec![1.0; 62];
        reducer.begin(0)?;
        reducer.join(&mut sums)?;
        assert_eq!(sums, [3.0; 62]);
        reducer.begin(1)?;
        reducer.ready(30, &sums);
        if replica.rank() == 1 {
            fail(replica.collective(), &given_up)?;
        }
        let result = reducer.join(&mut sums);
        given_up.store(true, Relaxed);
        result
    });
    result.unwrap_err()
}

const LONG: Duration = Duration::from_secs(600);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn sums_are_those_of_a_loop_over_the_ranks_to_the_bit(
        world_size in 1usize..5,
        lengths in prop::collection::vec(0usize..50, 1..6),
        sizes in (0usize..200, 0usize..200),
        calls in prop::collection::vec(0usize..250, 0..5),
        overlap: bool,
    ) {
        let sizes = BucketSizes { first: sizes.0, others: sizes.1 };
        let buckets = Buckets::with_sizes(lengths, 2, sizes);
        let length = buckets.length();
        let replicas = Replicas::cpu(world_size).unwrap();
        let sums = replicas.run(move |replica| {
            let collective = replica.shared_collective();
            let mut reducer = Reducer::new(collective, buckets.clone(), overlap)?;
            let mut all = Vec::new();
            for step in 0..3 {
                let own = values(replica.rank(), step, length);
                let mut sums = vec![f32::NAN; length];
                reducer.begin(step)?;
                let mut end = length;
                for &from in &calls {
                    let from = from.min(end);
                    sums[from..end].copy_from_slice(&own[from..end]);
                    reducer.ready(from, &sums);
                    end = from;
                    // What the replica sums meanwhile is another matter.
                    let mut own = [1.0];
                    replica.collective().all_reduce_sum_f64(&mut own)?;
                    assert_eq!(own, [replica.world_size() as f64]);
                }
                sums[..end].copy_from_slice(&own[..end]);
                reducer.join(&mut sums)?;
                all.push(sums);
            }
            Ok(all)
        }).unwrap();
        for (step, expected) in (0..3).zip(&sums[0]) {
            let mut sum = values(0, step, length);
            for rank in 1..world_size {
                let own = values(rank, step, length);
                sum.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
            }
            prop_assert_eq!(&sum, expected);
        }
        prop_assert!(sums.iter().all(|own| *own == sums[0]));
    }
}

#[test]
fn nobody_waits_for_a_replica_that_fails_between_its_buckets() {
    let error = with_failure(LONG, |_, _| Err(invalid("colour", "green", "red")));
    assert_eq!(error.to_string(), "colour is green, expected red");

    let error = with_failure(LONG, |_, _| panic!("boom"));
    assert!(
        matches!(error, Error::ReplicaPanicked { rank: 1, .. }),
        "{error}"
    );

    let error = with_failure(LONG, |collective, _| {
        collective.abort("no memory");
        Ok(())
    });
    let Error::Aborted { rank: 1, reason } = error else {
        panic!("{error}")
    };
    assert_eq!(reason, "no memory");
}

#[test]
fn a_deadline_says_in_which_step_and_bucket_and_where_the_missing_one_was() {
    let error = with_failure(Duration::from_secs(2), |collective, given_up| {
        collective.note(1, Phase::Data);
        while !given_up.load(Relaxed) {
            thread::yield_now();
        }
        Ok(())
    });
    // Two buckets were summed; of the last, replica 1 did not say that it is full.
    let Error::Deadline { place, missing, .. } = &error else {
        panic!("{error}")
    };
    let (phase, text) = (Phase::Bucket(2), error.to_string());
    assert_eq!(*place, Place { step: 1, phase }, "{text}");
    let expected = "in step 1, all-reduce of bucket 2 for replica 1 (last seen at: step 1, ";
    assert!(missing.len() == 1 && text.contains(expected), "{text}");
}

#[test]
fn replicas_with_other_buckets_are_told() {
    let result = Replicas::cpu(3).unwrap().run(|replica| {
        let lengths = [[4, 5], [5, 4]][usize::from(replica.rank() == 2)];
        let buckets = Buckets::with_sizes(lengths, 0, TINY);
        let mut reducer = Reducer::new(replica.shared_collective(), buckets, true)?;
        reducer.begin(0)?;
        reducer.join(&mut [1.0; 9])
    });
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Mismatch { rank: 2, .. }), "{error}");
}

#[test]
fn a_step_must_be_joined_before_the_next() {
    let result = Replicas::cpu(2).unwrap().run(|replica| {
        let mut reducer = Reducer::new(replica.shared_collective(), buckets(), true)?;
        reducer.begin(0)?;
        assert!(reducer.join(&mut [0.0; 61]).is_err());
        reducer.ready(30, &[0.0; 62]);
        assert!(reducer.begin(1).is_err());
        // This leaves with sums on their way.
        Ok(())
    });
    result.unwrap();
}

/// Panics instead of summing.
#[derive(Debug)]
struct Broken(ThreadCollective);

impl Collective for Broken {
    fn rank(&self) -> usize {
        self.0.rank()
    }
    fn world_size(&self) -> usize {
        self.0.world_size()
    }
    fn all_reduce_sum(&self, _: &mut [f32]) -> Result<()> {
        panic!("boom")
    }
    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()> {
        self.0.all_reduce_sum_f64(values)
    }
    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        self.0.broadcast(values)
    }
    fn barrier(&self) -> Result<()> {
        self.0.barrier()
    }
    fn duplicate(&self) -> Result<Box<dyn Collective>> {
        let mut group = ThreadCollective::group(2, LONG)?;
        Ok(Box::new(Self(group.remove(0))))
    }
    fn abort(&self, reason: &str) {
        self.0.abort(reason);
    }
}

#[test]
fn a_panic_of_the_thread_that_sums_is_an_error_of_the_replica() {
    let mut group = ThreadCollective::group(2, LONG).unwrap();
    let own = Arc::new(Broken(group.remove(0)));
    let mut reducer = Reducer::new(own, buckets(), true).unwrap();
    reducer.begin(0).unwrap();
    let mut sums = [1.0; 62];
    let error = reducer.join(&mut sums).unwrap_err();
    assert!(
        matches!(error, Error::ReplicaPanicked { rank: 0, .. }),
        "{error}"
    );
    // And it stays one.
    let error = reducer.join(&mut sums).unwrap_err();
    assert!(error.to_string().contains("has stopped before"), "{error}");
}
