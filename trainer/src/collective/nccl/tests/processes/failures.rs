//! Processes that are killed, do not come or do not fit.

use super::*;
use crate::error::Error;

fn error(folder: &Path, rank: usize) -> String {
    String::from_utf8(result(folder, rank)).unwrap()
}

/// Sums until the process of rank `victim` is killed, which does not come to the fourth sum. In cases that are told, the
/// roll hears of it a while after it is dead.
pub(super) fn sum_until_another_dies(
    communicator: &Communicator,
    victim: usize,
    case: &str,
    folder: &Path,
) -> Result<()> {
    for _ in 0..3 {
        communicator.all_reduce_sum(&mut [1.0; 50])?;
    }
    if communicator.rank() == victim {
        write(&folder.join("waiting"), b"");
        loop {
            thread::park();
        }
    }
    thread::scope(|scope| {
        if case.starts_with("told") {
            scope.spawn(|| {
                read(&folder.join("dead")).unwrap();
                thread::sleep(Duration::from_millis(100));
                let reason = "its process was killed";
                communicator.roll().abort(victim, reason);
            });
        }
        loop {
            communicator.all_reduce_sum(&mut [1.0; 50])?;
        }
    })
}

/// The errors of the other processes' ranks when that of rank `victim` is killed, which is its process's first.
fn errors_after_a_death(case: &str, devices: &[&str], victim: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let mut processes = start(case, devices, victim, folder.path());
    read(&folder.path().join("waiting")).unwrap();
    let (mut first, mut errors, mut dead) = (0, Vec::new(), None);
    for (own, process) in devices.iter().zip(&mut processes) {
        let ranks = first..first + own.split(',').count();
        first = ranks.end;
        match ranks.contains(&victim) {
            true => dead = Some(process),
            false => errors.extend(ranks),
        }
    }
    dead.unwrap().0.kill().unwrap();
    write(&folder.path().join("dead"), b"");
    let error = |rank: usize| error(folder.path(), rank);
    errors.into_iter().map(error).collect()
}

#[test]
fn a_process_that_is_killed_ends_the_others_with_what_the_roll_says_of_it() {
    let worlds: [(&[&str], usize, usize); 5] = [
        (&["0", "1"], 2, 1),
        (&["0", "1"], 2, 0),
        (&["0,1", "2"], 3, 2),
        (&["0", "1,2"], 3, 0),
        (&["0", "1", "2"], 3, 1),
    ];
    for (devices, world_size, victim) in worlds {
        if !has_gpus(world_size) {
            continue;
        }
        // NCCL may notice a death by itself, before the roll hears of it, or not at all.
        for case in ["told", "told-silent"] {
            let expected = Error::Aborted {
                rank: victim,
                reason: "its process was killed".into(),
            };
            for error in errors_after_a_death(case, devices, victim) {
                assert_eq!(error, expected.to_string(), "{case} {devices:?}");
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_ends_the_others_though_the_roll_hears_nothing() {
    if env::var_os("FEEDLINE_SIMULATED_GPUS").is_none() || !has_gpus(2) {
        eprintln!("skipped: needs 2 simulated GPUs");
        return;
    }
    let errors = errors_after_a_death("untold", &["0", "1"], 1);
    assert!(
        errors[0].contains("NCCL can't go on: another replica or the network failed"),
        "{errors:?}"
    );
    let errors = errors_after_a_death("untold-silent", &["0", "1"], 1);
    assert!(errors[0].contains("replica 1 (never seen)"), "{errors:?}");
}

#[test]
fn a_process_that_does_not_come_is_missed_at_the_deadline() {
    if !has_gpus(2) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _processes = start("absent", &["0", "1"], 1, folder.path());
    let error = error(folder.path(), 0);
    assert!(error.contains("replica 1 (never seen)"), "{error}");
}

#[test]
fn two_processes_on_one_gpu_are_refused() {
    if !has_gpus(1) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let _processes = start("crowded", &["0", "0"], 2, folder.path());
    let error = error(folder.path(), 0);
    assert!(
        error.contains("each replica needs a GPU of its own"),
        "{error}"
    );
}

/// Hands out what it has.
#[derive(Debug)]
struct Given(&'static [u8]);

impl Share for Given {
    fn share(&self, _: &'static str, _: Option<Vec<u8>>) -> Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }
}

#[test]
fn an_address_or_ranks_that_can_not_be_are_refused() {
    let roll = Roll::new(4);
    let part = |ranks, bytes| {
        let part = Ticket::part(ranks, roll.beside(), SHORT, Arc::new(Given(bytes)));
        part.unwrap_err().to_string()
    };
    for ranks in [4..5, 2..2, 3..6] {
        let error = part(ranks.clone(), &[7; 128]);
        assert!(error.contains("at least one of 4"), "{ranks:?}: {error}");
    }
    assert!(roll.check().is_ok());
    let error = part(1..2, b"short");
    assert!(error.contains("5 bytes, expected 128 bytes"), "{error}");
    // The others are not left waiting.
    assert_eq!(roll.aborted().unwrap().0, 1);
}
