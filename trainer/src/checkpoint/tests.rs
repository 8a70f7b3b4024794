//! Tests of checkpoints: what goes on, and what is refused.

mod hostile;

use std::fs;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::fit::{EarlyStopping, Fitted};
use crate::nn::cross_entropy;
use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, Loss, Pass, Relu, Sequential};
use crate::optim::{Adam, Optimizer, Schedule, Sgd};
use crate::{Input, Replicas, Trainer};

const SHAPE: Shape = Shape::new(1, 5, 5);

fn input(samples: usize) -> Input {
    let mut random = Random::new([samples as u64]);
    let pixels = (0..samples * SHAPE.elements()).map(|_| random.below(256) as u8);
    let labels = (0..samples as u32).map(|index| index % 3);
    let source = InMemory::new(SHAPE, 3, pixels.collect(), labels.collect());
    Input::new(Arc::new(source.unwrap()), Transform::new().scale())
}

fn network(device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 5, 5])
        .add(Conv2d::new(3, 3))
        .add(Relu)
        .add(BatchNorm::new())
        .add(Flatten)
        .add(Dropout::new(0.3))
        .add(Linear::new(3))
        .build(1, device)
}

/// The same on candle's tape.
struct OnTape(Sequential);

impl Model for OnTape {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.forward(images, pass)
    }

    fn parameters(&self) -> &[Parameter] {
        self.0.parameters()
    }
}

fn on_tape(device: &Device) -> Result<OnTape> {
    network(device).map(OnTape)
}

/// Three epochs of three steps.
fn trainer<M: Model, O: Optimizer>(
    model: fn(&Device) -> Result<M>,
    optimizer: O,
    replicas: usize,
) -> Trainer<fn(&Device) -> Result<M>, O> {
    let trainer = Trainer::new(model).optimizer(optimizer).epochs(3);
    let replicas = Replicas::cpu(replicas).unwrap().threads(1).unwrap();
    let trainer = trainer.schedule(Schedule::cosine(0.1));
    trainer.batch_size(16).replicas(replicas).progress(false)
}

/// All numbers that a run ends with, but for those that a clock has made.
fn bits<M: Model>(fitted: &Fitted<M>) -> Vec<u64> {
    let weights = flat::read(fitted.model.parameters()).unwrap();
    let weights = weights.into_iter().map(|own| u64::from(own.to_bits()));
    let metrics = fitted.history.epochs.iter().flat_map(|own| {
        let both = [Some(own.train), own.test].into_iter().flatten();
        both.flat_map(|own| [own.loss.to_bits(), own.accuracy.to_bits(), own.samples])
    });
    weights.chain(metrics).collect()
}

/// A run with a checkpoint after each of its nine steps.
fn all_steps(folder: &Path) -> Fitted<Sequential> {
    let checkpoints = Checkpoints::in_folder(folder).every_steps(1).keep_last(9);
    let trainer = trainer(network, Adam::default(), 1).checkpoints(checkpoints);
    trainer.fit(input(50), Some(input(21))).unwrap()
}

/// Its folder when it was stopped after `step`.
fn stopped_after(all: &Path, step: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (own, path) in folder::list(all).unwrap() {
        let copy = folder.path().join(path.file_name().unwrap());
        if own <= step {
            fs::create_dir(&copy).unwrap();
            for file in [tensors::FILE, manifest::FILE] {
                fs::copy(path.join(file), copy.join(file)).unwrap();
            }
        }
    }
    folder
}

/// Goes on with the run.
fn go_on(folder: &Path) -> Result<Fitted<Sequential>> {
    let checkpoints = Checkpoints::in_folder(folder).every_steps(4).keep_last(9);
    let trainer = trainer(network, Adam::default(), 1).checkpoints(checkpoints);
    trainer.resume(true).fit(input(50), Some(input(21)))
}

/// Everything in a folder.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = folder::list(folder)
        .unwrap()
        .into_iter()
        .flat_map(|(_, path)| [tensors::FILE, manifest::FILE].map(|name| path.join(name)));
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[track_caller]
fn assert_fault<T>(result: Result<T>, expected: CheckpointFault, words: &str) {
    let Err(error) = result else {
        panic!("no error that says {words:?}")
    };
    let text = error.to_string();
    let Error::Checkpoint { fault, .. } = error else {
        panic!("{text}")
    };
    assert_eq!(fault, expected, "{text}");
    assert!(text.contains(words), "{text}");
}

#[test]
fn from_any_checkpoint_a_run_ends_with_the_same_bits() {
    fn check<M: Model, O: Optimizer>(
        model: fn(&Device) -> Result<M>,
        optimizer: &O,
        replicas: usize,
        test: bool,
        steps: &[u64],
    ) {
        let test = || test.then(|| input(21));
        let plain = trainer(model, optimizer.clone(), replicas);
        let expected = bits(&plain.fit(input(50), test()).unwrap());
        let all = TempDir::new().unwrap();
        let saved = |folder: &Path| {
            let checkpoints = Checkpoints::in_folder(folder).every_steps(1).keep_last(9);
            trainer(model, optimizer.clone(), replicas).checkpoints(checkpoints)
        };
        let fitted = saved(all.path()).fit(input(50), test()).unwrap();
        assert_eq!(bits(&fitted), expected);
        assert_eq!(fitted.origin, None);
        for &step in steps {
            let folder = stopped_after(all.path(), step);
            let resumed = saved(folder.path()).resume(Resume::Latest);
            let resumed = resumed.fit(input(50), test()).unwrap();
            assert_eq!(resumed.origin.as_ref().unwrap().step, step);
            assert_eq!(bits(&resumed), expected, "{replicas} replicas, step {step}");
        }
    }
    let sgd = Sgd::new(0.1).momentum(0.9);
    check(network, &Adam::default(), 1, true, &[1, 3, 5, 9]);
    // Without an evaluation replicas keep statistics of their own.
    check(network, &Adam::default(), 2, false, &[2, 3, 6, 7]);
    check(network, &sgd, 2, true, &[2, 6]);
    check(network, &sgd, 1, false, &[4]);
    check(on_tape, &Adam::default(), 2, false, &[2, 3]);
    check(on_tape, &sgd, 1, true, &[5]);
}

#[test]
fn averaged_weights_and_steps_of_several_batches_go_on_too() {
    fn check<M: Model>(model: fn(&Device) -> Result<M>) {
        let run = |folder: Option<&Path>| {
            let trainer = trainer(model, Adam::default(), 2)
                .batch_size(8)
                .accumulate(2);
            let trainer = trainer.weight_averaging(0.9).label_smoothing(0.1);
            let trainer = match folder {
                Some(folder) => {
                    let checkpoints = Checkpoints::in_folder(folder).every_steps(1);
                    trainer.checkpoints(checkpoints.keep_last(9)).resume(true)
                }
                None => trainer,
            };
            trainer.fit(input(50), Some(input(21))).unwrap()
        };
        let all = TempDir::new().unwrap();
        let expected = bits(&run(None));
        let saved = run(Some(all.path()));
        assert_eq!(bits(&saved), expected);
        let fresh = model(&Device::Cpu).unwrap();
        latest(all.path()).unwrap().unwrap().apply(&fresh).unwrap();
        let [fresh, trained] = [&fresh, &saved.model].map(|own| flat::read(own.parameters()));
        assert!(fresh.unwrap() == trained.unwrap(), "the averaged weights");
        for step in [2, 3, 7] {
            let folder = stopped_after(all.path(), step);
            let resumed = run(Some(folder.path()));
            assert_eq!(resumed.origin.as_ref().unwrap().step, step);
            assert_eq!(bits(&resumed), expected, "step {step}");
        }
    }
    check(network);
    check(on_tape);
}

#[test]
fn a_run_goes_on_with_other_replicas_and_for_longer() {
    let all = TempDir::new().unwrap();
    let run = |folder: &Path, replicas, epochs| {
        let checkpoints = Checkpoints::in_folder(folder).every_steps(2);
        let trainer = trainer(network, Adam::default(), replicas).checkpoints(checkpoints);
        let trainer = trainer.schedule(Schedule::constant()).epochs(epochs);
        trainer.resume(true).fit(input(50), Some(input(21)))
    };
    run(all.path(), 2, 1).unwrap();
    let fitted = run(all.path(), 1, 2).unwrap();
    assert_eq!(fitted.history.epochs.len(), 2);
    let fitted = run(all.path(), 3, 3).unwrap();
    assert_eq!(fitted.history.epochs.len(), 3);
    // It is over.
    let again = run(all.path(), 3, 3).unwrap();
    assert_eq!(bits(&fitted), bits(&again));
    assert_eq!(again.origin.unwrap().step, 9);
}

#[test]
fn the_one_before_takes_the_place_of_a_damaged_checkpoint() {
    let all = TempDir::new().unwrap();
    let expected = bits(&all_steps(all.path()));
    let folder = stopped_after(all.path(), 5);
    let five = folder.path().join("step-0000000005");
    let path = five.join(tensors::FILE);
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::remove_file(folder.path().join("step-0000000004").join(manifest::FILE)).unwrap();

    let fitted = go_on(folder.path()).unwrap();
    assert_eq!(bits(&fitted), expected);
    let origin = fitted.origin.unwrap();
    assert_eq!(origin.step, 3);
    let found: Vec<_> = origin.damaged.iter().map(|own| &own.path).collect();
    assert_eq!(found, [&five, &folder.path().join("step-0000000004")]);
    assert!(origin.damaged[0].reason.contains("checksum"), "{origin:?}");
    // They are out of the way, and what was written in their place is whole.
    assert!(load(folder.path().join("step-0000000004")).is_ok());
    assert!(folder.path().join("damaged-1-step-0000000005").is_dir());

    let folder = stopped_after(all.path(), 1);
    fs::write(
        folder.path().join("step-0000000001").join(tensors::FILE),
        b"",
    )
    .unwrap();
    assert_fault(
        go_on(folder.path()),
        CheckpointFault::Damaged,
        "none before it is whole",
    );
}

/// A loss of one's own.
#[derive(Debug)]
struct Doubled;

impl Loss for Doubled {
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        Ok((cross_entropy(logits, labels)? * 2.0)?)
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_kept() {
    let all = TempDir::new().unwrap();
    all_steps(all.path());
    let before = contents(all.path());
    let run = || trainer(network, Adam::default(), 1).resume(true);
    let checkpoints = || Checkpoints::in_folder(all.path());
    let foreign = |result, words| assert_fault(result, CheckpointFault::Foreign, words);

    let other = |device: &Device| -> Result<Sequential> {
        let network = Sequential::builder([1, 5, 5]).add(Flatten);
        network.add(Linear::new(3)).build(1, device)
    };
    let other = Trainer::new(other).epochs(3).batch_size(16).progress(false);
    let other = other
        .schedule(Schedule::cosine(0.1))
        .checkpoints(checkpoints());
    let other = other.replicas(Replicas::cpu(1).unwrap()).resume(true);
    let test = || Some(input(21));
    foreign(other.fit(input(50), test()), "linear_1.weight");
    let fit = |trainer: Trainer<fn(&Device) -> Result<Sequential>, Adam>| {
        trainer.checkpoints(checkpoints()).fit(input(50), test())
    };
    foreign(fit(run().seed(7)), "seed was 0 and is 7");
    foreign(fit(run().batch_size(15)), "batch size was 16 and is 15");
    foreign(fit(run().epochs(4)), "over Epochs(4)");
    foreign(
        fit(run().optimizer(Adam::new(0.5))),
        "optimizer was learning_rate: 0.001 and is learning_rate: 0.5;",
    );
    foreign(fit(run().schedule(Schedule::constant())), "schedule was");
    foreign(fit(run().loss(Doubled)), "loss was not set and is Doubled");
    foreign(fit(run().resume(Resume::Never)), "go on from them");
    let with = |train, test| run().checkpoints(checkpoints()).fit(train, test);
    foreign(
        with(input(51), test()),
        "number of samples was 50 and is 51",
    );
    let none = "number of samples to test on was 21 and is none";
    foreign(with(input(50), None), none);
    assert_eq!(contents(all.path()), before);

    let held = Folder::open(&checkpoints(), false).unwrap();
    assert_fault(fit(run()), CheckpointFault::Busy, "another run");
    drop(held);
    assert!(fit(run()).is_ok());
}

#[test]
fn what_cannot_be_saved_is_refused_before_training() {
    #[derive(Debug, Clone)]
    struct NoState;
    impl Optimizer for NoState {
        fn check(&self) -> Result<()> {
            Ok(())
        }
        fn step(&mut self, _: &mut [f32], _: &[f32], _: f32) {
            panic!("it must not come to a step");
        }
    }
    let folder = TempDir::new().unwrap();
    let checkpoints = || Checkpoints::in_folder(folder.path());
    let run = trainer(network, NoState, 1).checkpoints(checkpoints());
    let error = run.fit(input(50), None).unwrap_err().to_string();
    assert!(error.contains("Optimizer::state"), "{error}");
    let run = trainer(network, NoState, 1).checkpoints(checkpoints().every_steps(0));
    assert!(run.fit(input(50), None).is_err());
    assert!(
        trainer(network, NoState, 1)
            .resume(true)
            .fit(input(50), None)
            .is_err()
    );

    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    let run = trainer(network, NoState, 1).checkpoints(Checkpoints::in_folder(file.join("run")));
    assert_fault(run.fit(input(50), None), CheckpointFault::Io, "file");
}

#[test]
fn the_latest_and_the_best_are_kept() {
    let folder = TempDir::new().unwrap();
    let checkpoints = Checkpoints::in_folder(folder.path())
        .keep_last(2)
        .keep_best(true);
    let trainer = trainer(network, Sgd::new(0.5), 1)
        .checkpoints(checkpoints)
        .epochs(8);
    let fitted = trainer.fit(input(50), Some(input(21))).unwrap();
    let losses: Vec<_> = fitted
        .history
        .epochs
        .iter()
        .map(|own| own.test.unwrap().loss)
        .collect();
    let best_epoch = (0..8)
        .min_by(|&one, &other| losses[one].total_cmp(&losses[other]))
        .unwrap();
    let found = best(folder.path()).unwrap().unwrap();
    assert_eq!(found.epoch(), best_epoch as u64 + 1);
    let mut expected = vec![best_epoch as u64 * 3 + 3, 21, 24];
    expected.sort_unstable();
    expected.dedup();
    let steps: Vec<_> = folder::list(folder.path())
        .unwrap()
        .iter()
        .map(|own| own.0)
        .collect();
    assert_eq!(steps, expected);
    assert_eq!(found.history().epochs, fitted.history.epochs[..=best_epoch]);

    let latest = latest(folder.path()).unwrap().unwrap();
    let model = network(&Device::Cpu).unwrap();
    latest.apply(&model).unwrap();
    let (own, trained) = (model.parameters(), fitted.model.parameters());
    assert_eq!(flat::read(own).unwrap(), flat::read(trained).unwrap());
}

#[test]
fn a_run_that_would_end_early_ends_there_after_a_pause_too() {
    let run = |folder: &Path, replicas, every| {
        let checkpoints = Checkpoints::in_folder(folder).every_steps(1).keep_last(99);
        let trainer = trainer(network, Adam::new(0.01), replicas).epochs(30);
        let trainer = trainer.checkpoints(checkpoints).resume(true);
        let trainer = trainer.evaluate_every(every);
        let trainer = trainer.callback(EarlyStopping::new(3));
        trainer.fit(input(50), Some(input(21))).unwrap()
    };
    for (replicas, every) in [(1, 1), (2, 2)] {
        let all = TempDir::new().unwrap();
        let whole = run(all.path(), replicas, every);
        let (expected, epochs) = (bits(&whole), whole.history.epochs.len() as u64);
        // Patience is the last three evaluations'; anew it would take longer.
        assert!((4 * every..30).contains(&epochs), "{epochs}");
        let last = 3 * epochs;
        for step in [1, last - 3 * every - 1, last - 3, last - 2, last - 1, last] {
            let folder = stopped_after(all.path(), step);
            let resumed = run(folder.path(), replicas, every);
            assert_eq!(resumed.origin.as_ref().unwrap().step, step);
            assert_eq!(bits(&resumed), expected, "{replicas} replicas, step {step}");
        }
    }
}

#[test]
fn training_ends_with_the_best_model_if_that_is_wanted() {
    for (replicas, averaged) in [(1, false), (2, true)] {
        let folder = TempDir::new().unwrap();
        let run = |checkpoints: Option<Checkpoints>| {
            let mut trainer = trainer(network, Sgd::new(0.5), replicas).epochs(9);
            trainer = trainer.evaluate_every(2);
            if averaged {
                trainer = trainer.weight_averaging(0.5);
            }
            if let Some(checkpoints) = checkpoints {
                trainer = trainer.checkpoints(checkpoints);
            }
            trainer.fit(input(50), Some(input(21))).unwrap()
        };
        let checkpoints = Checkpoints::in_folder(folder.path()).keep_last(1);
        let fitted = run(Some(checkpoints.restore_best(true)));
        let last = run(None);
        // Epochs that were not evaluated have a loss too, in training, and can't be the best.
        let tests = fitted.history.epochs.iter();
        let tests = tests.filter_map(|own| Some((own.epoch, own.test?.loss)));
        let best = tests.min_by(|one, other| one.1.total_cmp(&other.1));
        let (epoch, loss) = best.unwrap();
        assert!(epoch < 8, "the last one is not the best here");
        let kept = super::best(folder.path()).unwrap().unwrap();
        assert_eq!(kept.epoch(), epoch + 1);
        let weights = |model: &Sequential| flat::read(model.parameters()).unwrap();
        assert_ne!(weights(&fitted.model), weights(&last.model));
        assert_eq!(last.history.epochs.len(), fitted.history.epochs.len());

        // What it has is what was evaluated.
        let answers = crate::inference::predict(&fitted.model, input(21)).unwrap();
        let losses = answers.iter().enumerate().map(|(index, own)| {
            let probability = own.probabilities[index % 3];
            -f64::from(probability).ln() / answers.len() as f64
        });
        let found: f64 = losses.sum();
        assert!((found - loss).abs() < 1e-5, "{found} and {loss}");
    }
}
