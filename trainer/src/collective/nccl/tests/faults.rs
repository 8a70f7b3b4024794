//! Faults that the simulated NCCL makes when it is told to. Each test runs in a process of its own, as that is told by a
//! variable of the environment.

use super::*;
use crate::collective::{Collective, NcclFault};
use crate::error::Error;
use std::process::Command;

const VARIABLE: &str = "FEEDLINE_SIMULATED_NCCL_FAULT";

/// Runs a test of this file in another process, with a fault. There, answers true.
fn is_faulty(test: &str, fault: &str) -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    if std::env::var_os("FEEDLINE_SIMULATED_GPUS").is_none() || !has_gpus(3) {
        eprintln!("skipped: needs 3 simulated GPUs");
        return false;
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let this = std::env::current_exe().unwrap();
    let ran = Command::new(this)
        .args(["--exact", &name])
        .env(VARIABLE, fault)
        .output();
    let ran = ran.unwrap();
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && output.contains("1 passed"),
        "{output}"
    );
    false
}

/// The errors of three ranks that sum up until one fails.
fn errors(deadline: Duration) -> Vec<Error> {
    on_each(3, deadline, |communicator| {
        let mut sums = (0..10).map(|_| communicator.all_reduce_sum(&mut [1.0; 9]));
        sums.find_map(Result::err).unwrap()
    })
}

#[test]
fn an_error_in_the_background_ends_all_ranks_with_what_to_do() {
    let test = "an_error_in_the_background_ends_all_ranks_with_what_to_do";
    if !is_faulty(test, "rank=1,call=3,error") {
        return;
    }
    let errors = errors(LONG);
    let fault =
        |error: &Error| matches!(error, Error::Nccl { fault, .. } if *fault != NcclFault::Unknown);
    assert!(errors.iter().any(fault), "{errors:?}");
    for error in errors {
        assert!(error.to_string().contains("NCCL can't go on"), "{error}");
    }
}

#[test]
fn a_kernel_that_hangs_ends_all_ranks_at_the_deadline() {
    let test = "a_kernel_that_hangs_ends_all_ranks_at_the_deadline";
    if !is_faulty(test, "rank=1,call=3,hang") {
        return;
    }
    let errors = errors(Duration::from_secs(2));
    let late = |error: &Error| matches!(error, Error::Deadline { .. });
    assert!(errors.iter().any(late), "{errors:?}");
    for error in errors {
        assert!(error.to_string().contains("all_reduce_sum"), "{error}");
    }
}
