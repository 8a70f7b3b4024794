//! Processes that are killed or stopped, wherever they are.

use std::path::Path;

use super::child::{CHECKPOINTS, DEADLINE};
use super::launcher::{Outcome, Processes};
use crate::checkpoint;
use crate::collective::strike::STRIKE;

/// All places, and not only some of them.
const ALL: &str = "FEEDLINE_TEST_ALL_FAULTS";

/// A place of a run with 6 steps an epoch and a checkpoint after every third, and the step of the latest one before it.
struct Place {
    words: &'static str,
    latest: Option<u64>,
}

const fn place(words: &'static str, latest: Option<u64>) -> Place {
    Place { words, latest }
}

const BEFORE_JOINING: &str = "before joining";
const WRITING: &str = "writing of a checkpoint";
const START: &str = "start";
const CHECKPOINT_9: &str = "step 9, writing of a checkpoint";

/// Those of this rank.
fn places(rank: usize) -> [Place; 5] {
    let checkpoint = match rank {
        // It alone writes.
        0 => CHECKPOINT_9,
        // What of it goes into one.
        _ => "step 8, broadcast of running statistics",
    };
    [
        place(BEFORE_JOINING, None),
        place("step 0, start", None),
        place("step 7, all-reduce of bucket 0", Some(6)),
        place("step 12, evaluation", Some(9)),
        place(checkpoint, Some(6)),
    ]
}

fn train(count: usize, checkpoints: Option<&Path>) -> Processes {
    let processes = Processes::new(count).environment(DEADLINE, 4_000);
    match checkpoints {
        Some(folder) => processes.environment(CHECKPOINTS, folder.display()),
        None => processes,
    }
}

fn is_due(number: usize) -> bool {
    // Each rank, signal and place once, though not with each other.
    std::env::var_os(ALL).is_some() || number.is_multiple_of(3)
}

#[test]
fn whoever_is_killed_or_stopped_wherever_is_named_and_the_restart_ends_with_the_same_bits() {
    let Some(undisturbed) = train(2, None).run("train") else {
        return;
    };
    let expected = undisturbed[0].clone();
    assert_eq!(undisturbed[1], expected);
    let mut number = 0;
    for struck in [0, 1] {
        for signal in ["KILL", "STOP"] {
            for place in places(struck) {
                number += 1;
                if is_due(number) {
                    check(struck, signal, &place, &expected);
                }
            }
        }
    }
}

fn check(struck: usize, signal: &str, place: &Place, expected: &Outcome) {
    let what = format!("{signal} of rank {struck} at {}", place.words);
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let processes = train(2, Some(&run)).losing(struck);
    let strike = format!("{signal} {struck} {}", place.words);
    let outcomes = processes.environment(STRIKE, strike).run("train").unwrap();
    assert_eq!(outcomes[struck], Outcome::Lost, "{what}");
    let error = outcomes[1 - struck].error();
    eprintln!("{what}: {error}");
    match place.words {
        BEFORE_JOINING => assert!(
            error.contains(&format!("process {struck}")),
            "{what}: {error}"
        ),
        words => {
            assert!(
                error.contains(&format!("replica {struck} ")),
                "{what}: {error}"
            );
            // What it was at may not have been heard of. Where the other one waits then has the step, and the phase unless
            // nobody waits in that.
            let (step, phase) = words.split_once(", ").unwrap();
            let alone = [WRITING, START].contains(&phase);
            let phase = if alone { "" } else { phase };
            assert!(
                error.contains(step) && error.contains(phase),
                "{what}: {error}"
            );
        }
    }
    let latest = checkpoint::latest(&run).unwrap().map(|own| own.step());
    assert_eq!(latest, place.latest, "{what}");
    for outcome in train(2, Some(&run)).run("train").unwrap() {
        assert_eq!(outcome, *expected, "{what}");
    }
}

#[test]
fn a_restart_with_other_processes_goes_on_with_the_same_batches() {
    let Some(undisturbed) = train(2, None).run("train") else {
        return;
    };
    let loss = |outcome: &Outcome| -> f64 {
        let words = outcome.done().split_once(' ').unwrap().1;
        words.parse().unwrap()
    };
    for count in [1, 3, 4] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let strike = "KILL 1 step 13, all-reduce of bucket 0";
        let processes = train(2, Some(&run)).losing(1).environment(STRIKE, strike);
        processes.run("train").unwrap();
        assert_eq!(checkpoint::latest(&run).unwrap().unwrap().step(), 12);
        for outcome in train(count, Some(&run)).run("train").unwrap() {
            // Other batches would be another loss altogether.
            let difference = (loss(&outcome) - loss(&undisturbed[0])).abs();
            assert!(
                difference < 1e-4,
                "{count} processes: {outcome:?}, {undisturbed:?}"
            );
        }
    }
}
