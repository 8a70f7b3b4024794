//! Tests of what is done in a step, and of what watches a run.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::Device;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};

use super::tests::OnTape;
use super::*;
use crate::error::Error;
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Padding, Relu, Residual, Sequential,
    SequentialBuilder, flat,
};
use crate::optim::Sgd;

type Plain = fn(&Device) -> Result<Sequential>;
type Taped = fn(&Device) -> Result<OnTape>;

const SHAPE: Shape = Shape::new(2, 6, 5);

/// Pictures whose brightness follows from their class.
fn input(samples: usize) -> Input {
    let mut random = Random::new([samples as u64]);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for index in 0..samples {
        let class = index % 3;
        labels.push(class as u32);
        pixels.extend((0..SHAPE.elements()).map(|_| (random.below(90) + 80 * class as u64) as u8));
    }
    let source = InMemory::new(SHAPE, 3, pixels, labels).unwrap();
    Input::new(Arc::new(source), Transform::new().scale())
}

fn convolution() -> SequentialBuilder {
    let network = Sequential::builder([2, 6, 5]).add(Conv2d::new(5, 3));
    network.add(Relu).add(MaxPool2d::new(2, 2))
}

/// Each row is computed by itself, and without noise.
fn plain(device: &Device) -> Result<Sequential> {
    let network = convolution().add(Flatten).add(Linear::new(3));
    network.build(1, device)
}

fn full(device: &Device) -> Result<Sequential> {
    let network = convolution().add(BatchNorm::new().synchronized(true));
    let network = network.add(Flatten).add(Dropout::new(0.2));
    network.add(Linear::new(3)).build(1, device)
}

fn plain_on_tape(device: &Device) -> Result<OnTape> {
    plain(device).map(OnTape)
}

/// Of 36 samples: an epoch is 3 batches of 12, or 6 of 6.
fn trainer<M: Model, F: Fn(&Device) -> Result<M> + Send + Sync + 'static>(
    model: F,
    replicas: usize,
) -> Trainer<F, Sgd> {
    Trainer::new(model)
        .optimizer(Sgd::new(0.1).momentum(0.9))
        .replicas(Replicas::cpu(replicas).unwrap().threads(1).unwrap())
        .batch_size(12)
        .epochs(4)
        .progress(false)
}

fn with_all<F, M: Model>(trainer: Trainer<F, Sgd>) -> Trainer<F, Sgd>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    trainer
        .optimizer(Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(0.01))
        .label_smoothing(0.1)
        .weight_averaging(0.7)
        .clip_gradients(0.5)
        .batch_size(6)
        .accumulate(2)
}

fn fit<F, M: Model>(trainer: Trainer<F, Sgd>) -> Fitted<M>
where
    F: Fn(&Device) -> Result<M> + Send + Sync + 'static,
{
    trainer.fit(input(36), Some(input(15))).unwrap()
}

fn numbers(model: &impl Model) -> Vec<f32> {
    flat::read(model.parameters()).unwrap()
}

/// How far the numbers of two runs are apart, those of their histories included.
fn difference<A: Model, B: Model>(one: &Fitted<A>, other: &Fitted<B>) -> f64 {
    fn all<M: Model>(fitted: &Fitted<M>) -> Vec<f64> {
        let epochs = fitted.history.epochs.iter();
        let losses = epochs.flat_map(|own| [own.train.loss, own.test.map_or(0.0, |own| own.loss)]);
        let numbers = numbers(&fitted.model).into_iter().map(f64::from);
        losses.chain(numbers).collect()
    }
    let (one, other) = (all(one), all(other));
    assert_eq!(one.len(), other.len());
    let pairs = one.into_iter().zip(other);
    pairs
        .map(|(one, other)| (one - other).abs())
        .fold(0.0, f64::max)
}

#[test]
fn with_everything_on_two_replicas_and_the_tape_learn_the_same_as_one() {
    let one = fit(with_all(trainer(full as Plain, 1)));
    let two = fit(with_all(trainer(full as Plain, 2)));
    assert!(difference(&one, &two) < 1e-5, "{}", difference(&one, &two));
    let one = fit(with_all(trainer(plain as Plain, 1)));
    let taped = fit(with_all(trainer(plain_on_tape as Taped, 2)));
    assert!(
        difference(&one, &taped) < 1e-4,
        "{}",
        difference(&one, &taped)
    );
    // Not that nothing was on.
    let off = fit(trainer(plain as Plain, 1));
    assert!(difference(&one, &off) > 1e-2);
    // All of it in any order and to the bit: with another number of threads, and twice.
    let threads = Replicas::cpu(1).unwrap().threads(2).unwrap();
    let again = fit(with_all(trainer(plain as Plain, 1)).replicas(threads));
    assert_eq!(difference(&one, &again), 0.0);
}

/// With a normalization inside of layers around which their input is led.
fn residual(synchronized: bool, device: &Device) -> Result<Sequential> {
    let inside = Residual::new()
        .add(Conv2d::new(5, 3).padding(Padding::Same))
        .add(BatchNorm::new().synchronized(synchronized))
        .add(Relu);
    let network = Sequential::builder([2, 6, 5]).add(Conv2d::new(5, 3));
    let network = network.add(inside).add(Flatten).add(Linear::new(3));
    network.build(1, device)
}

#[test]
fn a_normalization_inside_a_residual_sees_the_rows_of_all_replicas() {
    let one = fit(trainer((|device| residual(true, device)) as Plain, 1));
    for replicas in [2, 3] {
        let several = fit(trainer(
            (|device| residual(true, device)) as Plain,
            replicas,
        ));
        let found = difference(&one, &several);
        assert!(found < 1e-5, "{replicas} replicas: {found}");
    }
    // Not that it makes no difference.
    let alone = fit(trainer((|device| residual(false, device)) as Plain, 2));
    assert!(difference(&one, &alone) > 1e-3);
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    for replicas in [1, 2] {
        let large = fit(trainer(plain as Plain, replicas).overlap(true));
        let parts = trainer(plain as Plain, replicas)
            .batch_size(6)
            .accumulate(2);
        let parts = fit(parts.overlap(true));
        assert!(difference(&large, &parts) < 1e-5);
        let samples = |fitted: &Fitted<_>| fitted.history.epochs[0].train.samples;
        assert_eq!((samples(&large), samples(&parts)), (36, 36));
    }
    let taped = trainer(plain_on_tape as Taped, 1)
        .batch_size(6)
        .accumulate(2);
    assert!(difference(&fit(trainer(plain as Plain, 1)), &fit(taped)) < 1e-4);
    // A step that is not whole at the end is left out: 2 steps of 5 batches of 3 samples, not 12 batches.
    let left_out = fit(trainer(plain as Plain, 1).batch_size(3).accumulate(5));
    assert_eq!(left_out.history.epochs[0].train.samples, 30);
}

#[test]
fn a_step_uses_one_whole_turn_of_the_schedule_however_many_batches_it_has() {
    let steps = Arc::new(AtomicU64::new(0));
    let count = CountSteps(Arc::clone(&steps));
    let parts = trainer(plain as Plain, 2).batch_size(6).accumulate(2);
    let fitted = fit(parts.steps(5).callback(count));
    // 3 in the first epoch.
    assert_eq!(steps.load(Ordering::Relaxed), 5);
    assert_eq!(fitted.history.epochs.len(), 2);
}

struct CountSteps(Arc<AtomicU64>);

impl Callback for CountSteps {
    fn step(&mut self, _: &TrainedStep) -> Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn the_evaluated_and_the_final_model_have_the_average_of_the_weights() {
    fn check<M: Model>(model: fn(&Device) -> Result<M>) {
        let runs = |steps| numbers(&fit(trainer(model, 2).steps(steps)).model);
        let mut expected = numbers(&model(&Device::Cpu).unwrap());
        for step in 0..5u64 {
            let kept = 0.4f32.min((1.0 + step as f32) / (10.0 + step as f32));
            // Training goes on as without averaging.
            for (average, weight) in expected.iter_mut().zip(runs(step + 1)) {
                *average = kept * *average + (1.0 - kept) * weight;
            }
        }
        let averaged = fit(trainer(model, 2).steps(5).weight_averaging(0.4));
        for (found, expected) in numbers(&averaged.model).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
        }
        // An evaluation of what was returned, at a rate that changes nothing any more.
        let values = numbers(&averaged.model);
        let again = Trainer::new(move |device: &Device| {
            let own = model(device)?;
            flat::write(own.parameters(), &values)?;
            Ok(own)
        });
        let again = again
            .optimizer(Sgd::new(1e-30))
            .batch_size(12)
            .progress(false);
        let again = again.replicas(Replicas::cpu(1).unwrap()).steps(1);
        let again = again.fit(input(36), Some(input(15))).unwrap();
        let losses = [&averaged.history, &again.history].map(|own| own.last_test().unwrap().loss);
        assert!((losses[0] - losses[1]).abs() < 1e-6, "{losses:?}");
    }
    check(plain as Plain);
    check(plain_on_tape as Taped);
}

#[test]
fn smoothing_changes_the_training_loss_only() {
    let loss = |smoothing| {
        let trainer = trainer(plain as Plain, 2)
            .optimizer(Sgd::new(1e-30))
            .epochs(1);
        fit(trainer.label_smoothing(smoothing)).history.epochs[0]
    };
    let (plain, smooth) = (loss(0.0), loss(0.5));
    assert!((plain.train.loss - smooth.train.loss).abs() > 1e-3);
    assert_eq!(plain.test, smooth.test);
}

#[test]
fn settings_that_cannot_work_are_refused_before_training() {
    type Change = fn(Trainer<Plain, Sgd>) -> Trainer<Plain, Sgd>;
    let cases: [(Change, &str); 8] = [
        (|own| own.label_smoothing(1.0), "label smoothing is 1"),
        (
            |own| own.weight_averaging(f32::NAN),
            "weight averaging is NaN",
        ),
        (|own| own.clip_gradients(0.0), "largest gradient norm is 0"),
        (
            |own| own.accumulate(0),
            "number of batches to accumulate is 0",
        ),
        (
            |own| own.accumulate(4),
            "number of batches to accumulate is 4, expected at most 3",
        ),
        (
            |own| own.optimizer(Sgd::new(0.1).weight_decay(-1.0)),
            "weight decay is -1",
        ),
        (
            |own| own.evaluate_every(0),
            "epochs from one evaluation to the next is 0",
        ),
        (|own| own.callback(EarlyStopping::new(0)), "patience is 0"),
    ];
    for (change, expected) in cases {
        let trainer = change(trainer(plain as Plain, 2));
        let error = trainer
            .fit(input(36), Some(input(15)))
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let stopping = trainer(plain as Plain, 2).callback(EarlyStopping::new(1));
    let error = stopping.fit(input(36), None).unwrap_err().to_string();
    assert!(error.starts_with("test set is none"), "{error}");
}

#[test]
fn gpus_refuse_what_their_engine_does_not_do_by_name() {
    let off = Recipe::default();
    assert!(off.check_for_gpus().is_ok());
    for (recipe, name) in [
        (
            Recipe {
                label_smoothing: 0.1,
                ..off
            },
            "label smoothing is 0.1",
        ),
        (
            Recipe {
                averaging: Some(0.9),
                ..off
            },
            "weight averaging is 0.9",
        ),
        (
            Recipe {
                largest_norm: Some(2.0),
                ..off
            },
            "largest gradient norm is 2",
        ),
        (
            Recipe { batches: 3, ..off },
            "number of batches to accumulate is 3",
        ),
    ] {
        let error = recipe.check_for_gpus().unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
}

/// Writes down what it is told; breaks after an epoch, or fails.
#[derive(Clone, Default)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    last: Option<u64>,
    fails: bool,
}

impl Log {
    fn add(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Callback for Log {
    fn begin(&mut self, run: &Run) -> Result<()> {
        let Run {
            epochs,
            steps_per_epoch,
            replicas,
            has_test,
        } = run;
        self.add(format!(
            "begin {epochs} {steps_per_epoch} {replicas} {has_test}"
        ));
        Ok(())
    }

    fn step(&mut self, step: &TrainedStep) -> Result<()> {
        self.add(format!(
            "step {} {} {}",
            step.epoch, step.step, step.metrics.samples
        ));
        Ok(())
    }

    fn epoch(&mut self, record: &EpochRecord) -> Result<ControlFlow<()>> {
        self.add(format!("epoch {} {}", record.epoch, record.test.is_some()));
        if self.fails {
            return Err(Error::Callback("the disk is full".into()));
        }
        Ok(match self.last == Some(record.epoch) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    }

    fn end(&mut self, history: &History) -> Result<()> {
        self.add(format!("end {}", history.epochs.len()));
        Ok(())
    }
}

#[test]
fn callbacks_hear_everything_once_and_end_a_run_on_all_replicas() {
    let log = Log {
        last: Some(1),
        ..Log::default()
    };
    let trainer = trainer(plain as Plain, 3).batch_size(18);
    let fitted = fit(trainer.callback(Log::default()).callback(log.clone()));
    assert_eq!(fitted.history.epochs.len(), 2);
    let expected = [
        "begin 4 2 3 true",
        "step 0 0 18",
        "step 0 1 18",
        "epoch 0 true",
        "step 1 0 18",
        "step 1 1 18",
        "epoch 1 true",
        "end 2",
    ];
    assert_eq!(*log.lines.lock().unwrap(), expected);
}

#[test]
fn a_callback_that_fails_ends_the_run_on_all_replicas() {
    let log = Log {
        fails: true,
        ..Log::default()
    };
    let trainer = trainer(plain as Plain, 2).callback(log);
    let error = trainer.fit(input(36), None).unwrap_err();
    assert!(matches!(error, Error::Callback(_)), "{error:?}");
    assert!(error.to_string().contains("the disk is full"), "{error}");
}

#[test]
fn evaluations_are_as_rare_as_wanted_and_the_last_epoch_has_one() {
    let fitted = fit(trainer(plain as Plain, 2).evaluate_every(3).epochs(7));
    let epochs = fitted.history.epochs.iter().enumerate();
    let evaluated = epochs.filter(|(_, own)| own.test.is_some());
    let evaluated: Vec<_> = evaluated.map(|(epoch, _)| epoch).collect();
    assert_eq!(evaluated, [2, 5, 6]);
    // They change nothing else.
    let often = fit(trainer(plain as Plain, 2).epochs(7));
    assert_eq!(numbers(&fitted.model), numbers(&often.model));
}

#[test]
fn training_stops_when_patience_is_over() {
    // Nothing is learnt, so that the first evaluation stays the best one; every second epoch has one.
    let still = || {
        trainer(plain as Plain, 2)
            .optimizer(Sgd::new(1e-30))
            .epochs(50)
    };
    for stopping in [EarlyStopping::new(3), EarlyStopping::new(3).accuracy()] {
        let fitted = fit(still().evaluate_every(2).callback(stopping));
        assert_eq!(fitted.history.epochs.len(), 8);
    }
    // Better by less than it takes.
    let small = EarlyStopping::new(1).least_improvement(1e3);
    let fitted = fit(trainer(plain as Plain, 2).callback(small));
    assert_eq!(fitted.history.epochs.len(), 2);
}
