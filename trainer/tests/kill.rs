//! A process that is killed again and again while it trains ends with the bits of one that was not.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use candle_core::Device;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};
use feedline_trainer::checkpoint::{self, Checkpoints};
use feedline_trainer::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, Model, Sequential};
use feedline_trainer::{Input, Replicas, Result, Trainer};

/// Where the process that is killed has its checkpoints, and puts the weights in the end.
const FOLDER: &str = "FEEDLINE_TEST_KILL_FOLDER";
const REPLICAS: &str = "FEEDLINE_TEST_KILL_REPLICAS";
const SHAPE: Shape = Shape::new(1, 4, 4);

fn network(device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 4, 4])
        .add(Conv2d::new(2, 3))
        .add(BatchNorm::new())
        .add(Flatten)
        .add(Dropout::new(0.3))
        .add(Linear::new(3))
        .build(1, device)
}

fn input() -> Input {
    let mut random = Random::new([1]);
    let pixels = (0..50 * SHAPE.elements()).map(|_| random.below(256) as u8);
    let labels = (0..50).map(|index| index % 3);
    let source = InMemory::new(SHAPE, 3, pixels.collect(), labels.collect()).unwrap();
    Input::new(Arc::new(source), Transform::new().scale())
}

/// Of 240 steps in epochs of 6.
fn trainer(replicas: usize) -> Trainer<fn(&Device) -> Result<Sequential>> {
    let replicas = Replicas::cpu(replicas).unwrap().threads(1).unwrap();
    let trainer = Trainer::new(network as fn(&Device) -> _).replicas(replicas);
    trainer.batch_size(8).epochs(40).progress(false)
}

/// Without an evaluation, so that replicas' statistics differ all the time.
fn train(replicas: usize, checkpoints: Option<Checkpoints>) -> Vec<u8> {
    let trainer = match checkpoints {
        Some(checkpoints) => trainer(replicas).checkpoints(checkpoints).resume(true),
        None => trainer(replicas),
    };
    let fitted = trainer.fit(input(), None).unwrap();
    let losses = fitted.history.epochs.iter().map(|own| own.train.loss);
    let mut bytes: Vec<u8> = losses.flat_map(f64::to_le_bytes).collect();
    for own in fitted.model.parameters() {
        let values = own.value.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        bytes.extend(values.into_iter().flat_map(f32::to_le_bytes));
    }
    bytes
}

/// Not a test by itself: what the processes do that the other one starts.
#[test]
fn child() {
    let (Ok(folder), Ok(replicas)) = (std::env::var(FOLDER), std::env::var(REPLICAS)) else {
        return;
    };
    let checkpoints = Checkpoints::in_folder(Path::new(&folder).join("run"));
    let checkpoints = checkpoints.every_steps(3).keep_last(2);
    let bytes = train(replicas.parse().unwrap(), Some(checkpoints));
    fs::write(Path::new(&folder).join("result"), bytes).unwrap();
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    for replicas in [1, 2] {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "child"]).stdout(Stdio::null());
            child
                .env(FOLDER, folder.path())
                .env(REPLICAS, replicas.to_string());
            child.spawn().unwrap()
        };
        let mut random = Random::new([replicas as u64]);
        let (run, result) = (folder.path().join("run"), folder.path().join("result"));
        let expected = train(replicas, None);
        let mut killed = 0;
        // A fast machine may be through before it is killed, and begins anew.
        for _ in 0..60 {
            let mut child = start();
            thread::sleep(Duration::from_millis(5 + random.below(60)));
            killed += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
            if killed == 20 {
                break;
            }
            if let Ok(found) = fs::read(&result)
                && found.len() == expected.len()
            {
                assert!(found == expected, "{replicas} replicas");
                fs::remove_file(&result).unwrap();
                fs::remove_dir_all(&run).unwrap();
            }
        }
        let latest = checkpoint::latest(&run).unwrap().map(|own| own.step());
        println!(
            "{replicas} replicas: killed {killed} times, the last time after {latest:?} steps"
        );
        assert!(start().wait().unwrap().success());
        assert!(
            fs::read(&result).unwrap() == expected,
            "{replicas} replicas"
        );
    }
}

#[cfg(unix)]
#[test]
fn what_cannot_be_written_is_an_error_that_leaves_earlier_checkpoints_alone() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let checkpoints = Checkpoints::in_folder(&run).every_steps(3).keep_last(2);
    let short = trainer(1).epochs(1).checkpoints(checkpoints).resume(true);
    short.fit(input(), None).unwrap();
    // Files can't become longer than half a kilobyte or one, as if the disk were full.
    let mut child = Command::new("sh");
    child.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact child"]);
    child.arg(std::env::current_exe().unwrap());
    child.env(FOLDER, folder.path()).env(REPLICAS, "1");
    let output = child.output().unwrap();
    assert!(!output.status.success());
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(text.contains("tensors.safetensors"), "{text}");
    assert_eq!(checkpoint::latest(&run).unwrap().unwrap().step(), 6);
    // Nothing half-done either.
    assert_eq!(fs::read_dir(&run).unwrap().count(), 3);
}
