//! What the processes do that the tests start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use candle_core::Device;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::transform::MapSample;
use feedline_pipeline::{Random, Shape, Transform};

use super::launcher::{FOLDER, Outcome, WORK};
use crate::checkpoint::Checkpoints;
use crate::collective::strike;
use crate::error::Result;
use crate::fit::{Fitted, Input, Trainer};
use crate::launch::Launch;
use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, Model, Sequential, flat};
use crate::parallel::{Replicas, equivalence};

/// Where checkpoints go, if they are made.
pub(super) const CHECKPOINTS: &str = "FEEDLINE_TEST_CHECKPOINTS";
/// How long replicas wait for each other, in milliseconds.
pub(super) const DEADLINE: &str = "FEEDLINE_TEST_DEADLINE";
/// How many milliseconds a sample takes to load.
pub(super) const SLOW: &str = "FEEDLINE_TEST_SLOW";
/// In what the process with rank 1 differs.
const DIFFERENT: &str = "FEEDLINE_TEST_DIFFERENT";

const SHAPE: Shape = Shape::new(1, 4, 4);
const EPOCHS: u64 = 6;

/// Not a test by itself.
#[test]
fn child() {
    let (Ok(folder), Ok(work)) = (std::env::var(FOLDER), std::env::var(WORK)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let launch = Launch::from_environment().unwrap().unwrap();
    let rank = launch.process();
    std::fs::write(
        folder.join(format!("process-{rank}")),
        std::process::id().to_string(),
    )
    .unwrap();
    strike::before_joining(rank);
    let result = match work.as_str() {
        "equivalence" => equivalent(&launch),
        "sums" => sums(&launch),
        "connections" => connections(&launch),
        "once" => once(&launch),
        "shares" => shares(&launch),
        "train" => train(&launch),
        "gpus" => Replicas::gpus().and_then(|own| train_on(own.join(&launch)?, "", None)),
        other => panic!("{other}?"),
    };
    let outcome = match result {
        Ok(words) => Outcome::Done(words),
        Err(error) => Outcome::Failed(error.to_string()),
    };
    eprintln!("rank {rank}: {outcome:?}");
    outcome.write(&folder, rank);
}

fn replicas(launch: &Launch) -> Result<Replicas> {
    let deadline = std::env::var(DEADLINE)
        .ok()
        .and_then(|own| own.parse().ok());
    let deadline = Duration::from_millis(deadline.unwrap_or(60_000));
    Replicas::cpu(1)?
        .threads(1)?
        .deadline(deadline)
        .join(launch)
}

fn equivalent(launch: &Launch) -> Result<String> {
    let joined = replicas(launch)?;
    let count = launch.processes();
    let alone_or_all = |wanted| match wanted {
        1 => Replicas::cpu(1).unwrap().threads(1).unwrap(),
        _ => joined.clone(),
    };
    equivalence::check_some(alone_or_all, true, &[count], &[12, 13]);
    Ok("the same".into())
}

/// Sums and broadcasts of many lengths against a loop over the ranks, which knows what each brings.
fn sums(launch: &Launch) -> Result<String> {
    let bits = replicas(launch)?.run(|replica| {
        let (collective, ranks) = (replica.collective(), replica.world_size());
        let mut bits = crc32fast::Hasher::new();
        for (round, length) in [0, 1, 7, 1000, 1, 100_000, 3_000_000, 65_536]
            .into_iter()
            .enumerate()
        {
            let numbers = |rank: usize| -> Vec<f32> {
                let mut random = Random::new([rank as u64, round as u64]);
                (0..length).map(|_| random.uniform(-1.0, 1.0)).collect()
            };
            let mut single = numbers(replica.rank());
            let mut double: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
            let mut shown = single.clone();
            collective.all_reduce_sum(&mut single)?;
            collective.all_reduce_sum_f64(&mut double)?;
            collective.broadcast(&mut shown)?;
            collective.barrier()?;
            let all: Vec<_> = (0..ranks).map(numbers).collect();
            assert_eq!(shown, all[0]);
            for (i, (single, double)) in single.iter().zip(&double).enumerate() {
                let expected: f64 = all.iter().map(|own| f64::from(own[i])).sum();
                assert!(
                    (double - expected).abs() < 1e-12,
                    "{double}, expected {expected}"
                );
                assert!(
                    (f64::from(*single) - expected).abs() < 1e-5,
                    "{single}, expected {expected}"
                );
                bits.update(&single.to_le_bytes());
                bits.update(&double.to_le_bytes());
            }
        }
        Ok(bits.finalize())
    })?;
    Ok(format!("{:08x}", bits[0]))
}

/// Two connections at once, each used by a thread of its own, in runs after each other.
fn connections(launch: &Launch) -> Result<String> {
    let replicas = replicas(launch)?;
    for run in 0..3u16 {
        replicas.run(move |replica| {
            let (first, second) = (replica.collective(), replica.collective().duplicate()?);
            let ranks = replica.world_size() as f32;
            std::thread::scope(|scope| {
                let helper = scope.spawn(|| {
                    for round in 0..200u16 {
                        let mut values = vec![f32::from(round); 5_000];
                        second.all_reduce_sum(&mut values)?;
                        assert!(values.iter().all(|&own| own == ranks * f32::from(round)));
                    }
                    Ok::<_, crate::Error>(())
                });
                for round in 0..300u16 {
                    let mut values = vec![f32::from(round + run); 100];
                    first.all_reduce_sum(&mut values)?;
                    assert!(
                        values
                            .iter()
                            .all(|&own| own == ranks * f32::from(round + run))
                    );
                }
                helper.join().unwrap()
            })
        })?;
    }
    Ok("separate".into())
}

/// MPI can be started once; the error says so.
fn once(launch: &Launch) -> Result<String> {
    drop(replicas(launch)?);
    match replicas(launch) {
        Ok(_) => Ok("started twice".into()),
        Err(error) => Ok(error.to_string()),
    }
}

/// Counts which samples are read.
fn shares(launch: &Launch) -> Result<String> {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = |samples, read: &Arc<AtomicUsize>| {
        let (source, read) = (pictures(samples, 1), Arc::clone(read));
        let count = move |sample: MapSample<'_>| {
            // The loader goes on into the next epoch by itself.
            if sample.epoch == 0 {
                read.fetch_add(1, Relaxed);
            }
            Ok(())
        };
        Input::new(source, Transform::new().scale().map(count))
    };
    let test = Input::new(pictures(21, 2), Transform::new().scale());
    let trainer = Trainer::new(network).replicas(replicas(launch)?);
    let fitted = trainer
        .batch_size(13)
        .progress(false)
        .fit(counted(40, &read), Some(test))?;
    let metrics = fitted.history.epochs[0];
    Ok(format!(
        "trained on {} of {}, tested on {}",
        read.load(Relaxed),
        metrics.train.samples,
        fitted.history.last_test().map_or(0, |own| own.samples)
    ))
}

fn train(launch: &Launch) -> Result<String> {
    let different = match launch.process() {
        1 => std::env::var(DIFFERENT).unwrap_or_default(),
        _ => String::new(),
    };
    let checkpoints = std::env::var(CHECKPOINTS).ok().map(|folder| {
        // The folder is rank 0's: others may not see it.
        let folder = match launch.process() {
            0 => folder,
            _ => "/nowhere/to/be/seen".into(),
        };
        Checkpoints::in_folder(Path::new(&folder)).every_steps(3)
    });
    train_on(replicas(launch)?, &different, checkpoints)
}

/// All of it, on any replicas.
pub(super) fn train_on(
    replicas: Replicas,
    different: &str,
    checkpoints: Option<Checkpoints>,
) -> Result<String> {
    let trainer = match different {
        "model" => Trainer::new(wider as fn(&Device) -> _),
        _ => Trainer::new(network as fn(&Device) -> _),
    };
    let batch_size = if different == "batch-size" { 16 } else { 8 };
    let seed = if different == "data" { 3 } else { 1 };
    let mut trainer = trainer.replicas(replicas).batch_size(batch_size);
    if let Some(checkpoints) = checkpoints {
        trainer = trainer.checkpoints(checkpoints).resume(true);
    }
    let pause = std::env::var(SLOW).ok().and_then(|own| own.parse().ok());
    let pause = Duration::from_millis(pause.unwrap_or(0));
    let wait = move |_: MapSample<'_>| {
        std::thread::sleep(pause);
        Ok(())
    };
    let train = Input::new(pictures(50, seed), Transform::new().scale().map(wait));
    let test = Input::new(pictures(21, 2), Transform::new().scale());
    let trainer = trainer.epochs(EPOCHS).progress(false);
    let fitted = trainer.fit(train, Some(test))?;
    Ok(digest(&fitted))
}

/// All that is to be the same, to the bit, and the last loss to look at.
fn digest(fitted: &Fitted<Sequential>) -> String {
    let mut bytes: Vec<u8> = Vec::new();
    for own in &fitted.history.epochs {
        let test = own.test.map_or(0.0, |test| test.loss);
        bytes.extend(
            [own.train.loss, test]
                .into_iter()
                .flat_map(f64::to_le_bytes),
        );
    }
    let values = flat::read(fitted.model.parameters()).unwrap();
    bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    let loss = fitted
        .history
        .epochs
        .last()
        .map_or(0.0, |own| own.train.loss);
    format!("{:08x} {loss:.6}", crc32fast::hash(&bytes))
}

fn pictures(samples: usize, seed: u64) -> Arc<InMemory> {
    let mut random = Random::new([seed]);
    let pixels = (0..samples * SHAPE.elements()).map(|_| random.below(256) as u8);
    let labels = (0..samples as u32).map(|index| index % 3);
    Arc::new(InMemory::new(SHAPE, 3, pixels.collect(), labels.collect()).unwrap())
}

fn network(device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 4, 4])
        .add(Conv2d::new(2, 3))
        .add(BatchNorm::new().synchronized(true))
        .add(Flatten)
        .add(Dropout::new(0.3))
        .add(Linear::new(3))
        .build(1, device)
}

fn wider(device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 4, 4])
        .add(Conv2d::new(3, 3))
        .add(Flatten)
        .add(Linear::new(3))
        .build(1, device)
}
