//! Whatever goes wrong on one rank ends all, and says where.

use super::*;
use crate::collective::{Collective, NcclFault, Phase};
use crate::error::{Error, Result};
use std::sync::mpsc;

const SHORT: Duration = Duration::from_secs(2);

/// Begins to sum values, which are never freed.
fn begin(communicator: &Communicator) -> Result<()> {
    let stream = communicator.gpu().stream();
    let values = stream.clone_htod(&[1f32; 100]).unwrap();
    let mut values = std::mem::ManuallyDrop::new(values);
    // SAFETY: nothing else uses the values, nor frees them.
    unsafe { communicator.begin_all_reduce(&mut values.as_view_mut(), Reduction::Sum) }
}

/// Sums values.
fn sum(communicator: &Communicator) -> Result<()> {
    begin(communicator)?;
    let end = communicator.stream().record_event(None).unwrap();
    communicator.wait(&end, 7, Phase::Bucket(3))
}

fn assert_aborted(error: &Error, rank: usize, reason: &str) {
    let Error::Aborted {
        rank: found,
        reason: words,
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!((*found, words.as_str()), (rank, reason));
}

#[test]
fn a_rank_that_fails_before_during_or_after_a_sum_ends_the_others() {
    if !has_gpus(3) {
        return;
    }
    for calls_before_it_fails in 0..3 {
        let errors = with_tickets(3, LONG, |ticket| {
            let gpu = Gpu::new(ticket.rank()).unwrap();
            let communicator = match Communicator::connect(ticket, &gpu) {
                Ok(communicator) => communicator,
                // It was faster to fail than this one to connect.
                Err(error) => return Some(error),
            };
            if communicator.rank() == 1 {
                for _ in 0..calls_before_it_fails {
                    begin(&communicator).unwrap();
                }
                communicator.abort("no data");
                return None;
            }
            // The first calls may succeed.
            let error = (0..=calls_before_it_fails).find_map(|_| sum(&communicator).err());
            // Now every call fails.
            assert_aborted(&sum(&communicator).unwrap_err(), 1, "no data");
            error
        });
        assert_eq!(errors.iter().flatten().count(), 2);
        for error in errors.iter().flatten() {
            assert_aborted(error, 1, "no data");
        }
    }
}

#[test]
fn a_rank_that_never_comes_is_named_with_step_and_phase() {
    if !has_gpus(3) {
        return;
    }
    let (release, stuck) = mpsc::channel::<()>();
    let stuck = std::sync::Mutex::new(Some(stuck));
    let release = std::sync::Mutex::new(Some(release));
    let errors = on_each(3, SHORT, |communicator| {
        if communicator.rank() == 2 {
            communicator.note(7, Phase::Data);
            let stuck = stuck.lock().unwrap().take().unwrap();
            let _ = stuck.recv();
            return communicator.barrier().unwrap_err();
        }
        communicator.note(7, Phase::Bucket(3));
        let error = sum(&communicator).unwrap_err();
        release.lock().unwrap().take();
        error
    });
    let named = errors.iter().filter_map(|error| match error {
        Error::Deadline { missing, place, .. } => {
            assert_eq!((place.step, place.phase), (7, Phase::Bucket(3)));
            Some(missing)
        }
        Error::Aborted { reason, .. } => {
            assert!(
                reason.contains("replica 2 (last seen at: step 7, wait for data)"),
                "{reason}"
            );
            None
        }
        error => panic!("{error}"),
    });
    let named: Vec<_> = named.collect();
    assert!(!named.is_empty());
    for missing in named {
        // On a busy machine others may be late, too.
        let late = missing.iter().find(|own| own.rank == 2).unwrap();
        assert_eq!(late.last.unwrap().to_string(), "step 7, wait for data");
    }
}

#[test]
fn a_rank_that_never_connects_is_named() {
    if !has_gpus(2) {
        return;
    }
    for keeps_its_ticket in [true, false] {
        let kept = std::sync::Mutex::new(None);
        let errors = with_tickets(2, SHORT, |ticket| {
            if ticket.rank() == 1 {
                if keeps_its_ticket {
                    *kept.lock().unwrap() = Some(ticket);
                }
                return None;
            }
            let gpu = Gpu::new(0).unwrap();
            Some(Communicator::connect(ticket, &gpu).unwrap_err())
        });
        match &errors[0] {
            Some(Error::Deadline { missing, .. }) if keeps_its_ticket => {
                assert_eq!(missing.iter().map(|own| own.rank).collect::<Vec<_>>(), [1]);
            }
            Some(Error::Aborted { rank: 1, .. }) if !keeps_its_ticket => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn nobody_waits_for_a_rank_that_has_ended() {
    if !has_gpus(2) {
        return;
    }
    let results = on_each(2, LONG, |communicator| {
        communicator.barrier().unwrap();
        match communicator.rank() {
            0 => None,
            _ => Some(communicator.barrier().unwrap_err()),
        }
    });
    let reason = "it has ended while others still wait for it";
    assert_aborted(results[1].as_ref().unwrap(), 0, reason);
}

#[test]
fn a_rank_may_end_while_the_others_still_read_their_sums() {
    if !has_gpus(4) {
        return;
    }
    for _ in 0..20 {
        let sums = on_each(4, LONG, |communicator| {
            let mut sum = [communicator.rank() as f32];
            communicator.all_reduce_sum(&mut sum).unwrap();
            sum[0]
        });
        assert_eq!(sums, [6.0; 4]);
    }
}

#[test]
fn what_was_begun_is_done_when_a_communicator_is_dropped() {
    if !has_gpus(2) {
        return;
    }
    let sums = on_each(2, LONG, |communicator| {
        let gpu = communicator.gpu().clone();
        let mut values = gpu.stream().clone_htod(&[3f32; 50]).unwrap();
        // SAFETY: the communicator is dropped before the values are used.
        let begun =
            unsafe { communicator.begin_all_reduce(&mut values.as_view_mut(), Reduction::Sum) };
        begun.unwrap();
        drop(communicator);
        gpu.stream().clone_dtoh(&values).unwrap()
    });
    assert!(sums.iter().flatten().all(|&sum| sum == 6.0), "{sums:?}");
}

#[test]
fn ranks_that_call_different_things_are_told() {
    if !has_gpus(3) {
        return;
    }
    let errors = with_tickets(3, LONG, |ticket| {
        let mut values = vec![0.0; if ticket.rank() == 2 { 4 } else { 5 }];
        let gpu = Gpu::new(ticket.rank()).unwrap();
        // Who is slow to connect is told there.
        let connected = Communicator::connect(ticket, &gpu);
        let called = connected.and_then(|own| own.all_reduce_sum(&mut values));
        called.unwrap_err().to_string()
    });
    for error in errors {
        assert!(
            error.contains("replica 2 called all_reduce_sum with 4"),
            "{error}"
        );
    }
}

#[test]
fn ranks_that_sum_numbers_of_different_types_are_told() {
    if !has_gpus(2) {
        return;
    }
    fn sum<T: Element>(communicator: &Communicator, one: T) -> Result<()> {
        let mut values = communicator.gpu().stream().clone_htod(&[one; 3]).unwrap();
        communicator.all_reduce(&mut values.as_view_mut(), Reduction::Sum)
    }
    let errors = with_tickets(2, LONG, |ticket| {
        let (rank, gpu) = (ticket.rank(), Gpu::new(ticket.rank()).unwrap());
        let called = Communicator::connect(ticket, &gpu).and_then(|own| {
            match rank {
                0 => sum(&own, 1f32)?,
                _ => sum(&own, 1f64)?,
            }
            // Who comes first goes on.
            own.barrier()
        });
        called.unwrap_err().to_string()
    });
    for error in errors {
        let mismatch = "replica 1 called all_reduce (sum) with 3 f64 values";
        assert!(error.contains(mismatch), "{error}");
        assert!(error.contains("with 3 f32 values"), "{error}");
    }
}

#[test]
fn two_ranks_on_one_gpu_are_refused() {
    if !has_gpus(1) {
        return;
    }
    let errors = with_tickets(2, LONG, |ticket| {
        let gpu = Gpu::new(0).unwrap();
        Communicator::connect(ticket, &gpu).unwrap_err()
    });
    let usage = |error: &Error| {
        matches!(
            error,
            Error::Nccl {
                fault: NcclFault::Usage,
                ..
            }
        )
    };
    assert!(errors.iter().any(usage), "{errors:?}");
    for error in errors {
        assert!(
            error
                .to_string()
                .contains("each replica needs a GPU of its own"),
            "{error}"
        );
    }
}
