//! What the processes do.

use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use feedline_pipeline::Random;

use crate::collective::{
    BucketSizes, Buckets, Collective, Mpi, MpiCollective, Phase, Place, Reducer, Roll,
};
use crate::error::Error;

const LONG: Duration = Duration::from_secs(200);

pub(super) fn play(name: &str) {
    let number = |name: &str| std::env::var(name).ok().and_then(|own| own.parse().ok());
    let rank = number("OMPI_COMM_WORLD_RANK").unwrap_or(1);
    let processes = number("OMPI_COMM_WORLD_SIZE").unwrap_or(2);
    let start = |deadline| Mpi::start(Roll::new(processes), rank, processes, deadline);
    match name {
        "alone" => alone(start(LONG).unwrap_err()),
        "end" => {
            drop(start(LONG).unwrap());
            let error = start(LONG).unwrap_err().to_string();
            assert!(error.contains("only once"), "{error}");
        }
        "absent" | "killed" => {
            let mpi = start(Duration::from_secs(2)).unwrap();
            let collective = mpi.collective().unwrap();
            match name {
                "absent" => absent(&collective),
                _ => killed(&collective),
            }
        }
        _ => {
            let mpi = start(LONG).unwrap();
            let collective = mpi.collective().unwrap();
            match name {
                "sums" => sums(&collective),
                "broadcast" => broadcast(&collective),
                "duplicate" => duplicate(&collective),
                "reducer" => reducer(Arc::new(collective)),
                "mismatch" => mismatch(&collective),
                "dropped" => dropped(&collective),
                "failed" => failed(&collective),
                "memory" => memory(&collective),
                _ => panic!("no such scene: {name}"),
            }
        }
    }
    println!("rank {rank} comes to the end");
}

fn values(rank: usize, length: usize, round: usize) -> Vec<f32> {
    let mut random = Random::new([rank as u64, round as u64]);
    (0..length).map(|_| random.uniform(-1.0, 1.0)).collect()
}

fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x) / 3.0).collect()
}

fn sums(own: &dyn Collective) {
    let mut random = Random::new([7]);
    let mut lengths = vec![0, 1, 7, 255, 256, 257, 1000, 100_000, 3_000_000];
    lengths.extend((0..40).map(|_| random.below(2000) as usize));
    for (round, length) in lengths.into_iter().enumerate() {
        let mut found = values(own.rank(), length, round);
        let mut found_double = double(&found);
        let mut expected = values(0, length, round);
        let mut expected_double = double(&expected);
        for rank in 1..own.world_size() {
            let values = values(rank, length, round);
            expected
                .iter_mut()
                .zip(&values)
                .for_each(|(sum, x)| *sum += x);
            let values = double(&values);
            expected_double
                .iter_mut()
                .zip(&values)
                .for_each(|(sum, x)| *sum += x);
        }
        own.all_reduce_sum(&mut found).unwrap();
        own.all_reduce_sum_f64(&mut found_double).unwrap();
        assert!(found == expected, "{length}");
        assert!(found_double == expected_double, "{length}");
    }
}

fn broadcast(own: &dyn Collective) {
    for (round, length) in [0, 1, 7, 1000, 3_000_000].into_iter().enumerate() {
        let mut found = values(own.rank(), length, round);
        own.broadcast(&mut found).unwrap();
        assert!(found == values(0, length, round), "{length}");
    }
    let folder = std::env::temp_dir();
    // One after the other leaves a file, and after the barrier all see all of them.
    let job = std::env::var("OMPI_MCA_ess_base_jobid").unwrap_or_default();
    let file = |rank| folder.join(format!("feedline-barrier-{job}-{rank}"));
    thread::sleep(Duration::from_millis(50 * own.rank() as u64));
    std::fs::write(file(own.rank()), "").unwrap();
    own.barrier().unwrap();
    assert!((0..own.world_size()).all(|rank| file(rank).exists()));
    own.barrier().unwrap();
    std::fs::remove_file(file(own.rank())).unwrap();
}

fn duplicate(own: &dyn Collective) {
    let duplicate = own.duplicate().unwrap();
    let sum = |collective: &dyn Collective, value: f32, length: usize, rounds: usize| {
        for round in 0..rounds {
            let mut values = vec![value; length + round];
            collective.all_reduce_sum(&mut values).unwrap();
            assert!(values.iter().all(|&x| x == 3.0 * value));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| sum(&*duplicate, 1.0, 100_000, 50));
        // The ranks come to the two in different orders.
        sum(own, 10.0, 7, 80);
    });
}

fn reducer(own: Arc<MpiCollective>) {
    let lengths = [30_000, 7, 200_000, 1];
    let total = lengths.iter().sum();
    let (rank, world_size) = (own.rank(), own.world_size());
    let run = |overlap| {
        let sizes = BucketSizes {
            first: 0,
            others: 100_000,
        };
        let buckets = Buckets::with_sizes(lengths, 0, sizes);
        let mut reducer = Reducer::new(own.clone(), buckets, overlap).unwrap();
        let step = |step| {
            let mut gradients = values(rank, total, step);
            reducer.begin(step as u64).unwrap();
            let mut from = total;
            for length in lengths.iter().rev() {
                from -= length;
                reducer.ready(from, &gradients);
                // What synchronized batch normalization does meanwhile.
                let mut count = [1.0];
                own.all_reduce_sum_f64(&mut count).unwrap();
                assert_eq!(count, [world_size as f64]);
            }
            reducer.join(&mut gradients).unwrap();
            gradients
        };
        (0..20).map(step).collect::<Vec<_>>()
    };
    let expected: Vec<_> = (0..20)
        .map(|step| {
            let mut sums = values(0, total, step);
            for rank in 1..world_size {
                let values = values(rank, total, step);
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
            }
            sums
        })
        .collect();
    assert!(run(true) == expected);
    assert!(run(false) == expected);
}

fn mismatch(own: &dyn Collective) {
    let result = match own.rank() {
        1 => own.barrier(),
        _ => own.broadcast(&mut [0.0; 5]),
    };
    let error = result.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Mismatch {
                rank: 1,
                other: 0,
                ..
            }
        ),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains("barrier") && text.contains("broadcast with 5"),
        "{text}"
    );
    // Those who call again hear of it.
    assert!(matches!(own.barrier(), Err(Error::Aborted { .. })));
    // Whoever ends first takes the others along.
    thread::sleep(Duration::from_millis(500));
}

fn dropped(own: &dyn Collective) {
    for _ in 0..3 {
        let [first, second] = [(); 2].map(|()| own.duplicate().unwrap());
        if own.rank() == 1 {
            for _ in 0..2 {
                let error = first.barrier().unwrap_err();
                assert!(matches!(error, Error::Aborted { rank: 0, .. }), "{error}");
            }
            drop(second);
            drop(first);
        } else {
            drop(first);
            drop(second);
        }
        own.barrier().unwrap();
    }
}

fn absent(own: &MpiCollective) {
    if own.rank() != 0 {
        stay_away();
    }
    // What rank 1 would tell: it has started MPI, connected, and is in the sum.
    for _ in 0..3 {
        own.roll.enter(1, 4, Phase::Evaluation);
    }
    own.roll.note(2, 3, Phase::Data);
    own.note(4, Phase::Evaluation);
    let error = own.all_reduce_sum(&mut [1.0; 9]).unwrap_err();
    let Error::Deadline { missing, place, .. } = &error else {
        panic!("{error}")
    };
    let expected = Place {
        step: 4,
        phase: Phase::Evaluation,
    };
    assert_eq!(*place, expected);
    let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
    assert_eq!(missing, ["replica 2 (last seen at: step 3, wait for data)"]);
    assert!(matches!(own.barrier(), Err(Error::Aborted { rank: 0, .. })));
}

/// Calls nothing while others wait, nor ends MPI.
fn stay_away() -> ! {
    thread::sleep(Duration::from_secs(4));
    std::process::exit(0)
}

fn failed(own: &MpiCollective) {
    if own.rank() != 0 {
        stay_away();
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(100));
            own.roll.abort(1, "no data");
        });
        let error = own.all_reduce_sum(&mut [1.0; 9]).unwrap_err();
        assert!(matches!(error, Error::Aborted { rank: 1, .. }), "{error}");
    });
}

fn killed(own: &dyn Collective) {
    if own.rank() == 1 {
        thread::spawn(|| {
            thread::sleep(Duration::from_millis(300));
            let id = std::process::id().to_string();
            Command::new("kill").args(["-9", &id]).status().unwrap();
        });
    }
    let mut values = vec![0.0; 3_000_000];
    let error = loop {
        if let Err(error) = own.all_reduce_sum(&mut values) {
            break error;
        }
    };
    println!("rank {}: {error}", own.rank());
    assert!(
        matches!(error, Error::Deadline { .. } | Error::Mpi { .. }),
        "{error}"
    );
    // Whoever ends first may take the others along.
    thread::sleep(Duration::from_millis(1500));
}

fn alone(error: Error) {
    let text = error.to_string();
    assert!(
        text.contains("process 1 of 2") && text.contains("process 0 of 1"),
        "{text}"
    );
    assert!(text.contains("mpirun"), "{text}");
}

fn memory(own: &dyn Collective) {
    let used = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|own| own.parse().ok());
        pages.unwrap_or(0) * 4096
    };
    let mut values = [vec![0f32; 100], vec![0f32; 2000]];
    let mut before = 0;
    for round in 0..12_000 {
        if round == 2000 {
            before = used();
        }
        own.all_reduce_sum(&mut values[round % 2]).unwrap();
    }
    let grown = used().saturating_sub(before);
    println!("rank {} has grown by {grown} bytes", own.rank());
    assert!(grown < 1 << 20, "{grown}");
}
