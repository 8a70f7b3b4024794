//! Tests of replicas on GPUs, real or simulated. Without enough of them most do nothing and say so.

use super::*;
#[cfg(feature = "nccl")]
use feedline_pipeline::cuda::Gpu;

#[test]
fn without_gpus_the_error_says_why() {
    match Replicas::gpus() {
        Ok(replicas) => assert!(replicas.to_string().contains("GPU replica"), "{replicas}"),
        Err(error) if cfg!(feature = "nccl") => {
            assert!(error.to_string().contains("nvidia-smi"), "{error}");
        }
        Err(error) => assert_eq!(
            error.to_string(),
            "training on GPUs needs a build with the feature `nccl`: cargo … --features nccl"
        ),
    }
    let has_gpus = Replicas::gpus().is_ok();
    let auto = Replicas::auto().to_string();
    assert_eq!(auto.contains("GPU replica"), has_gpus, "{auto}");
    // Who could have had them is told why not.
    let told = cfg!(feature = "nccl") && !has_gpus;
    assert_eq!(auto.contains("no GPU:"), told, "{auto}");
}

#[cfg(feature = "nccl")]
fn replicas(count: usize) -> Option<Replicas> {
    let found = Gpu::count().unwrap_or(0);
    if found < count {
        eprintln!("skipped: needs {count} GPUs, found {found}");
        return None;
    }
    Some(Replicas::gpu_count(count).unwrap())
}

#[cfg(feature = "nccl")]
#[test]
fn each_replica_has_a_gpu_and_one_stream_for_candle_too() {
    use crate::collective::Reduction;

    let Some(replicas) = replicas(3) else { return };
    let results = replicas.run(|replica| {
        let (gpu, communicator) = (replica.gpu().unwrap(), replica.communicator().unwrap());
        let candle = replica.device().as_cuda_device()?;
        assert!(candle.cuda_stream() == *gpu.stream());
        assert!(!candle.is_event_tracking());
        assert_ne!(communicator.stream(), gpu.stream());
        let mut host = [1.0];
        replica.collective().all_reduce_sum(&mut host)?;
        let mut device = gpu.stream().clone_htod(&[2f32]).unwrap();
        communicator.all_reduce(&mut device.as_view_mut(), Reduction::Sum)?;
        let device = gpu.stream().clone_dtoh(&device).unwrap();
        gpu.synchronize()?;
        Ok((gpu.ordinal(), host[0], device[0]))
    });
    assert_eq!(
        results.unwrap(),
        [(0, 3.0, 6.0), (1, 3.0, 6.0), (2, 3.0, 6.0)]
    );
}

#[cfg(feature = "nccl")]
#[test]
fn a_failure_on_one_gpu_is_the_error_of_all() {
    let Some(replicas) = replicas(3) else { return };
    let fail = |replica: &Replica| {
        if replica.rank() == 2 {
            return Err(invalid("colour", "green", "red"));
        }
        replica.collective().barrier()
    };
    let error = replicas.run(fail).unwrap_err();
    assert_eq!(error.to_string(), "colour is green, expected red");
    let panic = |replica: &Replica| {
        assert!(replica.rank() != 1, "boom");
        replica.collective().barrier()
    };
    let error = replicas.run(panic).unwrap_err();
    assert!(
        matches!(error, Error::ReplicaPanicked { rank: 1, .. }),
        "{error}"
    );
}

#[cfg(feature = "nccl")]
#[test]
fn a_gpu_replica_that_never_returns_does_not_hide_the_error() {
    let Some(replicas) = replicas(3) else { return };
    let (release, stuck) = mpsc::channel::<()>();
    let stuck = std::sync::Mutex::new(stuck);
    let hang = move |replica: &Replica| {
        if replica.rank() == 1 {
            let _ = stuck.lock().unwrap().recv();
        }
        replica.collective().barrier()
    };
    let error = replicas.deadline(Duration::from_secs(2)).run(hang);
    let Err(Error::Deadline { missing, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(missing.iter().any(|own| own.rank == 1), "{missing:?}");
    drop(release);
}

#[cfg(feature = "nccl")]
#[test]
fn fewer_gpus_are_taken_only_where_that_was_left_open() {
    let Some(exactly) = replicas(2) else { return };
    let limit = ("batch size", 1);
    let all = Replicas::gpus().unwrap();
    assert_eq!(all.clone().limited(limit).unwrap().world_size(), 1);
    assert_eq!(all.world_size(), Gpu::count().unwrap());
    assert!(exactly.limited(limit).is_err());
    for count in [0, 99] {
        let error = Replicas::gpu_count(count).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("number of GPUs is {count}")),
            "{error}"
        );
    }
}

#[cfg(feature = "nccl")]
#[test]
fn the_number_of_gpu_replicas_changes_nothing() {
    if replicas(4).is_some() {
        let gpus = |count| Replicas::gpu_count(count).unwrap().threads(1).unwrap();
        // Simulated devices take their time.
        equivalence::check_some(gpus, false, &[3, 4], &[13]);
    }
}
