//! Tests of running replicas.

use super::*;
use crate::collective::{Phase, Place};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

#[test]
fn results_come_in_the_order_of_the_ranks() {
    let ranks = Replicas::cpu(4).unwrap().run(|replica| Ok(replica.rank()));
    assert_eq!(ranks.unwrap(), [0, 1, 2, 3]);
    assert!(Replicas::cpu(0).is_err());
}

#[test]
fn the_error_that_stopped_the_others_is_reported() {
    let fail = |replica: &Replica| {
        if replica.rank() == 2 {
            return Err(invalid("colour", "green", "red"));
        }
        replica.collective().barrier()
    };
    let error = Replicas::cpu(4).unwrap().run(fail).unwrap_err();
    assert_eq!(error.to_string(), "colour is green, expected red");
}

#[test]
fn a_panic_is_reported_and_stops_the_others() {
    let fail = |replica: &Replica| {
        assert!(replica.rank() != 1, "boom");
        replica.collective().barrier()
    };
    let error = Replicas::cpu(3).unwrap().run(fail).unwrap_err();
    let Error::ReplicaPanicked { rank: 1, message } = error else {
        panic!("{error}")
    };
    assert_eq!(message, "boom");
}

#[test]
fn a_replica_that_never_returns_does_not_hide_the_error() {
    let (release, stuck) = mpsc::channel::<()>();
    let stuck = Mutex::new(stuck);
    let replicas = Replicas::cpu(3).unwrap();
    let hang = move |replica: &Replica| {
        if replica.rank() == 1 {
            let _ = stuck.lock().unwrap().recv();
        }
        replica.collective().barrier()
    };
    let error = replicas.deadline(Duration::from_millis(20)).run(hang);
    let Err(Error::Deadline { missing, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(missing.iter().any(|own| own.rank == 1), "{missing:?}");
    drop(release);
}

#[test]
fn what_made_a_replica_late_matters_more_than_that_it_was_late() {
    let given_up = AtomicBool::new(false);
    let fail_late = move |replica: &Replica| {
        if replica.rank() == 0 {
            let result = replica.collective().barrier();
            given_up.store(true, Relaxed);
            return result;
        }
        while !given_up.load(Relaxed) {
            thread::yield_now();
        }
        Err(invalid("colour", "green", "red"))
    };
    let replicas = Replicas::cpu(2).unwrap().deadline(Duration::from_secs(1));
    let error = replicas.run(fail_late).unwrap_err();
    assert_eq!(error.to_string(), "colour is green, expected red");
}

#[test]
fn who_is_missing_matters_more_than_the_gpu_that_waits_for_it() {
    let waited = Duration::from_secs(1);
    let stalled = Error::Pipeline(feedline_pipeline::Error::GpuStalled { waited });
    let deadline = Error::Deadline {
        rank: 0,
        place: Place {
            step: 7,
            phase: Phase::Evaluation,
        },
        missing: Vec::new(),
        waited,
    };
    assert!(cause(&stalled) < cause(&deadline));
}

#[test]
fn cores_are_shared_out_once_the_number_of_replicas_is_settled() {
    let limit = ("batch size", 1);
    for (replicas, threads) in [
        (Replicas::auto().limited(limit).unwrap(), cores::own()),
        (Replicas::cpu(cores::own()).unwrap(), 1),
        (Replicas::cpu(cores::own() + 1).unwrap(), 1),
        (Replicas::cpu(3).unwrap().threads(2).unwrap(), 2),
    ] {
        let found = replicas.run(|_| Ok(rayon::current_num_threads())).unwrap();
        assert!(found.iter().all(|&own| own == threads), "{found:?}");
    }
    let error = Replicas::auto().threads(0).unwrap_err();
    assert!(error.to_string().starts_with("threads per replica is 0"));
}

/// Notes the names of the threads that its parallel loop runs on.
struct Names(Arc<Mutex<BTreeSet<String>>>);

impl CustomOp1 for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn cpu_fwd(&self, own: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        (0..200).into_par_iter().for_each(|_| {
            let name = thread::current().name().unwrap_or("?").to_owned();
            self.0.lock().unwrap().insert(name);
            thread::yield_now();
        });
        Ok((own.clone(), Shape::from(1)))
    }
}

#[test]
fn what_candle_does_in_parallel_stays_on_the_replicas_threads() {
    let replicas = Replicas::cpu(2).unwrap().threads(2).unwrap();
    let seen = replicas.run(|replica| {
        let names = Arc::default();
        let one = Tensor::new(&[1f32], replica.device())?;
        one.apply_op1_no_bwd(&Names(Arc::clone(&names)))?;
        let names = names.lock().unwrap().clone();
        Ok((rayon::current_thread_index(), names))
    });
    for (rank, (index, names)) in seen.unwrap().into_iter().enumerate() {
        assert!(index.is_some_and(|index| index < 2), "{index:?}");
        let own = |name: &String| name.starts_with(&format!("replica-{rank}-"));
        assert!(!names.is_empty() && names.iter().all(own), "{names:?}");
    }
}

#[test]
fn only_a_number_that_was_asked_for_is_too_large() {
    let limit = ("batch size", 4);
    assert_eq!(Replicas::up_to(9).limited(limit).unwrap().world_size(), 4);
    assert_eq!(Replicas::up_to(3).limited(limit).unwrap().world_size(), 3);
    assert!(Replicas::cpu(4).unwrap().limited(limit).is_ok());
    let error = Replicas::cpu(5).unwrap().limited(limit).unwrap_err();
    assert!(
        error.to_string().contains("at most 4, the batch size"),
        "{error}"
    );
}
