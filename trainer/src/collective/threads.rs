//! Replicas that are threads of one process.

use std::ops::{AddAssign, Range};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::meeting::{Call, Meeting};
use super::{Collective, Phase, Place, Roll};
use crate::error::{Result, invalid};

/// Replicas that are threads of one process and talk through shared memory.
///
/// ```
/// use feedline_trainer::collective::{Collective, ThreadCollective};
/// use std::time::Duration;
///
/// let group = ThreadCollective::group(3, Duration::from_secs(10))?;
/// std::thread::scope(|scope| {
///     for replica in group {
///         scope.spawn(move || {
///             let mut values = [replica.rank() as f32, 1.0];
///             replica.all_reduce_sum(&mut values).unwrap();
///             assert_eq!(values, [0.0 + 1.0 + 2.0, 3.0]);
///         });
///     }
/// });
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug)]
pub struct ThreadCollective {
    rank: usize,
    shared: Arc<Shared>,
    /// Whether another connection of this rank goes on when this one ends.
    is_duplicate: bool,
    /// What calls belong to.
    place: Mutex<Option<Place>>,
}

#[derive(Debug)]
struct Shared {
    meeting: Arc<Meeting>,
    single: Board<f32>,
    double: Board<f64>,
    /// What rank 0 has made for all, while they duplicate this.
    duplicate: Mutex<Option<Arc<Shared>>>,
}

impl Shared {
    fn new(meeting: Arc<Meeting>) -> Arc<Self> {
        let world_size = meeting.roll().world_size();
        Arc::new(Self {
            meeting,
            single: Board::new(world_size),
            double: Board::new(world_size),
            duplicate: Mutex::default(),
        })
    }
}

/// What each rank shows to the others. Locks are never contended for writing: the meetings in between see to that.
#[derive(Debug)]
struct Board<T> {
    /// Each rank's values.
    values: Vec<RwLock<Vec<T>>>,
    /// Each rank's share of the sums.
    sums: Vec<RwLock<Vec<T>>>,
}

impl<T: Copy + AddAssign> Board<T> {
    fn new(world_size: usize) -> Self {
        let empty = || (0..world_size).map(|_| RwLock::default()).collect();
        Self {
            values: empty(),
            sums: empty(),
        }
    }

    fn show(&self, rank: usize, values: &[T]) {
        write(&self.values[rank], |shown| shown.extend_from_slice(values));
    }

    /// Adds up this rank's share of the values, in the order of the ranks.
    fn add_share(&self, rank: usize, length: usize) {
        let share = self.share(rank, length);
        write(&self.sums[rank], |sums| {
            for (i, values) in self.values.iter().enumerate() {
                let values = values.read().unwrap_or_else(PoisonError::into_inner);
                let values = &values[share.clone()];
                if i == 0 {
                    sums.extend_from_slice(values);
                } else {
                    sums.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x);
                }
            }
        });
    }

    fn collect(&self, values: &mut [T]) {
        for (rank, sums) in self.sums.iter().enumerate() {
            let share = self.share(rank, values.len());
            let sums = sums.read().unwrap_or_else(PoisonError::into_inner);
            values[share].copy_from_slice(&sums);
        }
    }

    /// What of `length` values `rank` adds up.
    fn share(&self, rank: usize, length: usize) -> Range<usize> {
        let world_size = self.values.len();
        rank * length / world_size..(rank + 1) * length / world_size
    }
}

/// Fills a vector anew, in the memory that it has.
fn write<T>(lock: &RwLock<Vec<T>>, fill: impl FnOnce(&mut Vec<T>)) {
    let mut vector = lock.write().unwrap_or_else(PoisonError::into_inner);
    vector.clear();
    fill(&mut vector);
}

impl ThreadCollective {
    /// The ends of a connection between `world_size` threads, in the order of the ranks. Nobody waits for another longer
    /// than `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `world_size` is 0.
    pub fn group(world_size: usize, deadline: Duration) -> Result<Vec<Self>> {
        if world_size == 0 {
            return Err(invalid("world size", 0, "at least 1"));
        }
        let shared = Shared::new(Meeting::new(deadline, Roll::new(world_size)));
        let end = |rank| Self::end(rank, Arc::clone(&shared), false);
        Ok((0..world_size).map(end).collect())
    }

    fn end(rank: usize, shared: Arc<Shared>, is_duplicate: bool) -> Self {
        Self {
            rank,
            shared,
            is_duplicate,
            place: Mutex::default(),
        }
    }

    fn meet(&self, name: &'static str, length: usize) -> Result<()> {
        let place = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place.unwrap_or(Place {
            step: 0,
            phase: Phase::Other(name),
        });
        let call = Call {
            name,
            values: "values",
            length,
        };
        self.shared.meeting.join(self.rank, call, place)
    }

    fn sum<T: Copy + AddAssign>(
        &self,
        board: &Board<T>,
        values: &mut [T],
        name: &'static str,
    ) -> Result<()> {
        board.show(self.rank, values);
        self.meet(name, values.len())?;
        board.add_share(self.rank, values.len());
        // Now nobody reads the values any more, and after the next sum's first meeting nobody the sums.
        self.meet(name, values.len())?;
        board.collect(values);
        Ok(())
    }
}

impl Collective for ThreadCollective {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.shared.single.values.len()
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        self.sum(&self.shared.single, values, "all_reduce_sum")
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()> {
        self.sum(&self.shared.double, values, "all_reduce_sum_f64")
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let board = &self.shared.single;
        if self.rank == 0 {
            board.show(0, values);
        }
        self.meet("broadcast", values.len())?;
        if self.rank != 0 {
            let shown = board.values[0]
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            values.copy_from_slice(&shown);
        }
        // Only now may rank 0 show something else.
        self.meet("broadcast", values.len())
    }

    fn barrier(&self) -> Result<()> {
        self.meet("barrier", 0)
    }

    fn duplicate(&self) -> Result<Box<dyn Collective>> {
        let duplicate = || self.shared.duplicate.lock();
        if self.rank == 0 {
            let made = Shared::new(self.shared.meeting.another());
            *duplicate().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
        self.meet("duplicate", 0)?;
        let made = duplicate().unwrap_or_else(PoisonError::into_inner).clone();
        // Only now may rank 0 make another one, or drop this.
        self.meet("duplicate", 0)?;
        if self.rank == 0 {
            *duplicate().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let made = made.ok_or_else(|| invalid("duplicate", "missing", "that of rank 0"))?;
        Ok(Box::new(Self::end(self.rank, made, true)))
    }

    fn note(&self, step: u64, phase: Phase) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place { step, phase });
        self.shared.meeting.roll().note(self.rank, step, phase);
    }

    fn abort(&self, reason: &str) {
        self.shared.meeting.roll().abort(self.rank, reason);
    }
}

impl Drop for ThreadCollective {
    /// A replica that is gone comes to no meeting.
    fn drop(&mut self) {
        const REASON: &str = "it has ended while others still wait for it";
        match self.is_duplicate {
            true => self.shared.meeting.leave(self.rank, REASON),
            false => self.abort(REASON),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use feedline_pipeline::Random;
    use proptest::prelude::*;
    use std::thread;

    /// What `work` returns on each of `world_size` threads.
    fn on_each<T: Send>(
        world_size: usize,
        deadline: Duration,
        work: impl Fn(&ThreadCollective) -> T + Sync,
    ) -> Vec<T> {
        let group = ThreadCollective::group(world_size, deadline).unwrap();
        thread::scope(|scope| {
            let run = |replica: ThreadCollective| scope.spawn(|| work(&{ replica }));
            let threads: Vec<_> = group.into_iter().map(run).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        })
    }

    const LONG: Duration = Duration::from_secs(600);

    fn values(rank: usize, length: usize, round: usize) -> Vec<f32> {
        let mut random = Random::new([rank as u64, round as u64]);
        (0..length).map(|_| random.uniform(-1.0, 1.0)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn sums_are_those_of_a_loop_over_the_ranks_to_the_bit(
            world_size in 1usize..6,
            lengths in prop::collection::vec(0usize..200, 1..5),
        ) {
            let results = on_each(world_size, LONG, |replica| {
                let sum = |(round, &length): (usize, &usize)| {
                    let mut single = values(replica.rank(), length, round);
                    let mut double: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
                    replica.all_reduce_sum(&mut single).unwrap();
                    replica.all_reduce_sum_f64(&mut double).unwrap();
                    let mut shown = values(replica.rank(), length, round);
                    replica.broadcast(&mut shown).unwrap();
                    replica.barrier().unwrap();
                    (single, double, shown)
                };
                lengths.iter().enumerate().map(sum).collect::<Vec<_>>()
            });
            for (round, &length) in lengths.iter().enumerate() {
                let mut single = values(0, length, round);
                let mut double: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
                for rank in 1..world_size {
                    for (i, x) in values(rank, length, round).into_iter().enumerate() {
                        single[i] += x;
                        double[i] += f64::from(x);
                    }
                }
                let expected = (single, double, values(0, length, round));
                for result in &results {
                    prop_assert_eq!(&result[round], &expected);
                }
            }
        }
    }

    #[test]
    fn replicas_that_call_different_things_are_told() {
        let different_lengths = on_each(3, LONG, |replica| {
            let mut values = vec![0.0; if replica.rank() == 2 { 4 } else { 5 }];
            replica.all_reduce_sum(&mut values).unwrap_err().to_string()
        });
        let different_calls = on_each(3, LONG, |replica| {
            let result = match replica.rank() {
                1 => replica.barrier(),
                _ => replica.broadcast(&mut []),
            };
            result.unwrap_err().to_string()
        });
        for (errors, rank) in [(different_lengths, 2), (different_calls, 1)] {
            for error in errors {
                assert!(error.contains(&format!("replica {rank} called")), "{error}");
            }
        }
    }

    #[test]
    fn waiting_ends_at_the_deadline_with_the_missing_ranks() {
        let mut group = ThreadCollective::group(3, Duration::from_millis(20)).unwrap();
        let absent = group.remove(1);
        let last = group.remove(1);
        let error = group[0].barrier().unwrap_err();
        let Error::Deadline {
            missing, rank: 0, ..
        } = &error
        else {
            panic!("{error}")
        };
        let ranks: Vec<_> = missing.iter().map(|own| own.rank).collect();
        assert_eq!(ranks, [1, 2]);
        // Those who come late hear of it.
        for late in [&absent, &last] {
            let error = late.barrier().unwrap_err();
            assert!(matches!(error, Error::Aborted { rank: 0, .. }), "{error}");
        }
    }

    #[test]
    fn nobody_waits_for_a_replica_that_failed_or_is_gone() {
        for gone in [true, false] {
            let errors = on_each(3, LONG, |replica| {
                if replica.rank() != 1 {
                    return Some(replica.barrier().unwrap_err());
                }
                if !gone {
                    replica.abort("no data");
                }
                None
            });
            for error in errors.into_iter().flatten() {
                let Error::Aborted { rank: 1, reason } = &error else {
                    panic!("{error}")
                };
                assert_eq!(reason == "no data", !gone, "{reason}");
            }
        }
    }

    #[test]
    fn calls_on_a_duplicate_do_not_mix_with_others() {
        let sums = on_each(3, LONG, |replica| {
            let duplicate = replica.duplicate().unwrap();
            let sum = |collective: &dyn Collective, own: f32, rounds: usize| {
                let mut values = [own; 7];
                for _ in 0..rounds {
                    values.fill(own);
                    collective.all_reduce_sum(&mut values).unwrap();
                }
                values[0]
            };
            thread::scope(|scope| {
                let other = scope.spawn(|| sum(&*duplicate, 1.0, 50));
                // The ranks come to the two in different orders.
                (sum(replica, 10.0, 80), other.join().unwrap())
            })
        });
        assert_eq!(sums, [(30.0, 3.0); 3]);
    }

    #[test]
    fn a_failure_on_one_connection_is_one_on_its_duplicates_and_an_end_is_not() {
        on_each(2, LONG, |replica| {
            let [first, second] = [(); 2].map(|()| replica.duplicate().unwrap());
            drop(first);
            replica.barrier().unwrap();
            if replica.rank() == 0 {
                second.abort("no data");
            } else {
                let error = replica.barrier().unwrap_err().to_string();
                assert!(error.contains("replica 0") && error.ends_with("no data"));
                assert!(second.duplicate().is_err());
            }
        });
    }

    #[test]
    fn nobody_waits_on_a_duplicate_that_another_has_dropped() {
        on_each(2, LONG, |replica| {
            let duplicate = replica.duplicate().unwrap();
            if replica.rank() == 1 {
                let error = duplicate.barrier().unwrap_err();
                assert!(matches!(error, Error::Aborted { rank: 0, .. }), "{error}");
            }
            drop(duplicate);
            replica.barrier().unwrap();
        });
    }
}
