//! What several processes do, which `mpirun` starts: this program again, with the name of a [`scene`] in its environment.

mod scene;

use std::process::{Command, Output};

/// Which scene to play.
const SCENE: &str = "FEEDLINE_TEST_MPI_SCENE";

/// Not a test by itself: what the processes do that the others start.
#[test]
fn child() {
    if let Ok(name) = std::env::var(SCENE) {
        scene::play(&name);
    }
}

/// What `scene` prints in each of `processes`, if there is an `mpirun` that can start them.
fn play(scene: &str, processes: usize, options: &[&str]) -> Option<Output> {
    let version = Command::new("mpirun").arg("--version").output();
    let is_known = |output: Output| String::from_utf8_lossy(&output.stdout).contains("Open MPI");
    if !version.is_ok_and(is_known) {
        println!("skipped: no mpirun (of Open MPI)");
        return None;
    }
    let mut command = Command::new("mpirun");
    // Nothing here takes that long, unless it hangs.
    command.args(["--timeout", "300", "--allow-run-as-root", "--oversubscribe"]);
    command.args(["--mca", "btl_base_warn_component_unused", "0"]);
    command.args(options).args(["-n", &processes.to_string()]);
    Some(start(command.arg(std::env::current_exe().unwrap()), scene))
}

fn start(command: &mut Command, scene: &str) -> Output {
    command.args(["--exact", "collective::mpi::tests::child", "--nocapture"]);
    command.env(SCENE, scene).output().unwrap()
}

/// All processes come to the end of `scene`, and end MPI.
fn succeeds(scene: &str, processes: usize) {
    if let Some(output) = play(scene, processes, &[]) {
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert_eq!(
            text.matches("comes to the end").count(),
            processes,
            "{text}"
        );
    }
}

/// At least `ranks` come to the end of `scene`, though others fail.
fn ends_for(ranks: &[usize], scene: &str, processes: usize, options: &[&str]) {
    if let Some(output) = play(scene, processes, options) {
        let text = text(&output);
        for rank in ranks {
            assert!(
                text.contains(&format!("rank {rank} comes to the end")),
                "{text}"
            );
        }
    }
}

fn text(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn sums_are_those_of_a_loop_over_the_ranks_to_the_bit() {
    for processes in 1..=4 {
        succeeds("sums", processes);
    }
}

#[test]
fn what_all_get_is_rank_0s_and_nobody_passes_a_barrier_before_all_are_there() {
    succeeds("broadcast", 3);
}

#[test]
fn calls_on_a_duplicate_do_not_mix_with_others() {
    succeeds("duplicate", 3);
}

#[test]
fn sums_of_buckets_are_the_same_with_and_without_overlap() {
    succeeds("reducer", 2);
}

#[test]
fn replicas_that_call_different_things_are_told() {
    ends_for(&[0, 1, 2], "mismatch", 3, &["--enable-recovery"]);
}

#[test]
fn nobody_waits_on_a_connection_that_another_has_dropped_and_the_others_go_on() {
    succeeds("dropped", 2);
}

#[test]
fn mpi_ends_and_starts_only_once() {
    succeeds("end", 2);
}

#[test]
fn sums_again_and_again_take_no_more_memory() {
    succeeds("memory", 2);
}

#[test]
fn waiting_ends_at_the_deadline_with_the_missing_ranks() {
    ends_for(&[0], "absent", 3, &["--enable-recovery"]);
}

#[test]
fn waiting_ends_when_another_has_failed() {
    ends_for(&[0], "failed", 2, &["--enable-recovery"]);
}

#[test]
fn nobody_waits_for_a_process_that_was_killed_within_a_call() {
    ends_for(&[0, 2], "killed", 3, &["--enable-recovery"]);
}

#[test]
fn a_program_that_mpi_did_not_start_is_told_how_to() {
    // Only where MPI is installed as a whole does it run programs that it did not start.
    if play("end", 1, &[]).is_some() {
        let output = start(&mut Command::new(std::env::current_exe().unwrap()), "alone");
        let text = text(&output);
        assert!(text.contains("rank 1 comes to the end"), "{text}");
    }
}
