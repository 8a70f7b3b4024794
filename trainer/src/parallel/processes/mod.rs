//! Tests with replicas in several processes, over MPI. They start this very program again under `mpirun`, and are left out,
//! with a word about it, where there is none.

mod child;
mod faults;
mod launcher;
mod network;

use super::Replicas;
use launcher::{Outcome, Processes};

#[test]
fn the_number_of_processes_changes_nothing() {
    for count in [2, 4] {
        let Some(outcomes) = Processes::new(count).run("equivalence") else {
            return;
        };
        for outcome in outcomes {
            assert_eq!(
                outcome,
                Outcome::Done("the same".into()),
                "{count} processes"
            );
        }
    }
}

#[test]
fn processes_end_with_the_bits_of_threads() {
    for count in [1, 2, 3] {
        let threads = Replicas::cpu(count).unwrap().threads(1).unwrap();
        let expected = child::train_on(threads, "", None).unwrap();
        for outcome in Processes::new(count).run("train").unwrap_or_default() {
            assert_eq!(outcome.done(), expected, "{count} processes");
        }
    }
}

#[test]
fn sums_are_those_of_a_loop_over_the_ranks_and_the_same_bits_everywhere() {
    for count in [2, 3, 4] {
        let Some(outcomes) = Processes::new(count).run("sums") else {
            return;
        };
        let bits = outcomes[0].done().to_owned();
        for again in [outcomes, Processes::new(count).run("sums").unwrap()] {
            assert!(again.iter().all(|own| own.done() == bits), "{again:?}");
        }
    }
}

#[test]
fn connections_never_mix_and_there_can_be_runs_after_each_other() {
    let outcomes = Processes::new(3).run("connections").unwrap_or_default();
    assert!(
        outcomes.iter().all(|own| own.done() == "separate"),
        "{outcomes:?}"
    );
}

#[test]
fn a_second_start_is_an_error_that_says_why() {
    for outcome in Processes::new(2).run("once").unwrap_or_default() {
        let words = outcome.done().to_owned();
        assert!(words.contains("only once"), "{words}");
    }
}

#[test]
fn every_process_reads_its_share_and_the_test_set_is_counted_once() {
    let Some(outcomes) = Processes::new(4).run("shares") else {
        return;
    };
    let done = |outcome: &Outcome| outcome.done().to_owned();
    let shares: Vec<String> = outcomes.iter().map(done).collect();
    // Of 3 batches of 13 and of a test set of 21: rank r has rows [13 r / 4, 13 (r + 1) / 4).
    let read = |rank: usize| (rank + 1) * 13 / 4 - rank * 13 / 4;
    for (rank, share) in shares.iter().enumerate() {
        let expected = format!("trained on {} of 39, tested on 21", 3 * read(rank));
        assert_eq!(*share, expected);
    }
}

#[test]
fn processes_that_were_started_differently_are_told() {
    for (what, words) in [
        (
            "batch-size",
            "batch size is 16 for replica 1, 8 for replica 0",
        ),
        ("data", "fingerprint of the training data is"),
        ("model", "model is"),
    ] {
        let processes = Processes::new(2).environment("FEEDLINE_TEST_DIFFERENT", what);
        let Some(outcomes) = processes.run("train") else {
            return;
        };
        for outcome in outcomes {
            let error = outcome.error();
            assert!(error.contains(words), "{error}");
        }
    }
}

#[cfg(feature = "nccl")]
#[test]
fn gpus_of_several_processes_train_as_those_of_one() {
    let found = feedline_pipeline::cuda::Gpu::count().unwrap_or(0);
    if found < 2 {
        eprintln!("skipped: needs 2 GPUs, found {found}");
        return;
    }
    let expected = child::train_on(Replicas::gpu_count(2).unwrap(), "", None).unwrap();
    for outcome in Processes::new(2).run("gpus").unwrap_or_default() {
        assert_eq!(outcome.done(), expected);
    }
}
