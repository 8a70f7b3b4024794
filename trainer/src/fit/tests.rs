//! Tests of the training loop.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Source, Transform};

use super::*;
use crate::error::Error;
use crate::nn::{Flatten, Linear, Parameter, Pass, Sequential, cross_entropy};
use crate::optim::Sgd;

/// A network that keeps its engine to itself, as models of a user's own do.
#[derive(Debug)]
pub(super) struct OnTape(pub(super) Sequential);

impl Model for OnTape {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        self.0.forward(images, pass)
    }

    fn parameters(&self) -> &[Parameter] {
        self.0.parameters()
    }
}

/// So small that no weight changes.
const NO_LEARNING: f32 = 1e-30;

fn source(samples: usize, classes: usize, shape: Shape) -> Arc<InMemory> {
    let mut random = Random::new([samples as u64]);
    let labels = (0..samples).map(|i| (i % classes) as u32).collect();
    let pixels = samples * shape.channels * shape.height * shape.width;
    let pixels = (0..pixels).map(|_| random.below(256) as u8).collect();
    Arc::new(InMemory::new(shape, classes, pixels, labels).unwrap())
}

fn input(samples: usize) -> Input {
    of(source(samples, 3, Shape::new(1, 4, 4)))
}

fn of(source: Arc<InMemory>) -> Input {
    Input::new(source, Transform::new().scale())
}

fn network(device: &Device) -> Result<Sequential> {
    let network = Sequential::builder([1, 4, 4]).add(Flatten);
    network.add(Linear::new(3)).build(1, device)
}

fn trainer(
    learning_rate: f32,
) -> Trainer<impl Fn(&Device) -> Result<Sequential> + Send + Sync + 'static, Sgd> {
    trainer_of(learning_rate, network)
}

fn trainer_of<M: Model, F: Fn(&Device) -> Result<M> + Send + Sync + 'static>(
    learning_rate: f32,
    model: F,
) -> Trainer<F, Sgd> {
    Trainer::new(model)
        .optimizer(Sgd::new(learning_rate))
        .batch_size(16)
        .replicas(Replicas::cpu(2).unwrap())
        .progress(false)
}

/// Loss and share of right answers, of one sample after the other.
fn naive_metrics(model: &impl Model, source: &InMemory) -> (f64, f64) {
    let (mut loss, mut correct) = (0.0, 0.0);
    for index in 0..source.len() {
        let mut scratch = Vec::new();
        let sample = source.sample(index, &mut scratch).unwrap();
        let pixels: Vec<f32> = sample
            .pixels
            .iter()
            .map(|&x| f32::from(x) / 255.0)
            .collect();
        let picture = Tensor::from_vec(pixels, (1, 1, 4, 4), &Device::Cpu).unwrap();
        let logits = model.forward(&picture, &Pass::evaluation()).unwrap();
        let label = Tensor::new(&[sample.label], &Device::Cpu).unwrap();
        let own = cross_entropy(&logits, &label).unwrap();
        loss += f64::from(own.to_vec1::<f32>().unwrap()[0]);
        let answer = logits.argmax(1).unwrap().to_vec1::<u32>().unwrap()[0];
        correct += f64::from(answer == sample.label);
    }
    let samples = source.len() as f64;
    (loss / samples, correct / samples)
}

#[test]
fn every_sample_counts_once_in_evaluation_on_any_number_of_replicas() {
    fn check<M: Model>(model: fn(&Device) -> Result<M>) {
        // The last of the batches of 16 has 5 samples: fewer than there are replicas in the end.
        let test = source(37, 3, Shape::new(1, 4, 4));
        for replicas in [1, 2, 3, 8, 16] {
            let fitted = trainer_of(NO_LEARNING, model)
                .replicas(Replicas::cpu(replicas).unwrap())
                .fit(input(40), Some(of(Arc::clone(&test))))
                .unwrap();
            let found = fitted.history.last_test().unwrap();
            let (loss, accuracy) = naive_metrics(&fitted.model, &test);
            assert_eq!((found.samples, found.accuracy), (37, accuracy));
            assert!(
                (found.loss - loss).abs() < 1e-6,
                "{replicas} replicas: {} and {loss}",
                found.loss
            );
        }
    }
    check(|device| network(device).map(OnTape));
    check(network);
}

#[test]
fn training_metrics_are_those_of_the_samples_trained_on() {
    fn check<M: Model>(model: fn(&Device) -> Result<M>) {
        // Batches of 16 hold all 48 samples, so an epoch without learning sees what an evaluation sees.
        let train = source(48, 3, Shape::new(1, 4, 4));
        let trainer = trainer_of(NO_LEARNING, model).epochs(2);
        let fitted = trainer.fit(of(Arc::clone(&train)), None).unwrap();
        let (loss, accuracy) = naive_metrics(&fitted.model, &train);
        assert_eq!(fitted.history.epochs.len(), 2);
        for record in fitted.history.epochs {
            let found = record.train;
            assert_eq!((found.samples, found.accuracy), (48, accuracy));
            assert!(
                (found.loss - loss).abs() < 1e-6,
                "{} and {loss}",
                found.loss
            );
            assert_eq!(record.test, None);
        }
    }
    check(|device| network(device).map(OnTape));
    check(network);
}

#[test]
fn steps_run_over_epochs_and_stop_within_one() {
    // 50 samples are 3 steps of 16 in each epoch.
    let fitted = trainer(0.1)
        .steps(7)
        .fit(input(50), Some(input(10)))
        .unwrap();
    let epochs = fitted.history.epochs.iter();
    let trained: Vec<_> = epochs.map(|own| (own.epoch, own.train.samples)).collect();
    assert_eq!(trained, [(0, 48), (1, 48), (2, 16)]);
    assert!(fitted.history.epochs.iter().all(|own| own.test.is_some()));
    // What was set last counts.
    let fitted = trainer(0.1)
        .steps(7)
        .epochs(1)
        .fit(input(50), None)
        .unwrap();
    assert_eq!(fitted.history.epochs.len(), 1);
}

/// Writes down the factors that it gets.
#[derive(Debug, Clone, Default)]
struct Recorder(Arc<Mutex<Vec<f32>>>);

impl Optimizer for Recorder {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, _parameters: &mut [f32], _gradients: &[f32], learning_rate_factor: f32) {
        self.0.lock().unwrap().push(learning_rate_factor);
    }
}

#[test]
fn a_schedule_goes_over_all_steps_of_all_epochs() {
    let schedule = Schedule::one_cycle();
    let factors = |length: Length| {
        let recorder = Recorder::default();
        let trainer = trainer(0.1).optimizer(recorder.clone()).schedule(schedule);
        let trainer = trainer.replicas(Replicas::cpu(1).unwrap());
        // Epochs of 3 steps.
        Trainer { length, ..trainer }.fit(input(50), None).unwrap();
        recorder.0.lock().unwrap().clone()
    };
    let expected = |steps| (0..steps).map(move |step| schedule.factor(step, steps));
    assert!(factors(Length::Epochs(4)).into_iter().eq(expected(12)));
    assert!(factors(Length::Steps(7)).into_iter().eq(expected(7)));

    let wrong = trainer(0.1).schedule(Schedule::cosine(2.0));
    let error = wrong.fit(input(50), None).unwrap_err();
    assert!(error.to_string().contains("final factor is 2"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_training() {
    let error = trainer(3e38).epochs(3).fit(input(48), None).unwrap_err();
    let Error::Diverged { epoch, step, loss } = error else {
        panic!("{error}")
    };
    assert!(
        epoch == 0 && step > 0 && !loss.is_finite(),
        "{epoch} {step} {loss}"
    );
}

#[test]
fn more_processors_than_rows_are_no_error_but_more_replicas_are() {
    let many = || trainer(0.1).replicas(Replicas::up_to(100));
    many().fit(input(50), Some(input(20))).unwrap();
    many()
        .batch_size(32)
        .fit(input(50), Some(input(3)))
        .unwrap();

    let six = || trainer(0.1).replicas(Replicas::cpu(6).unwrap());
    for (result, limit) in [
        (
            six().batch_size(5).fit(input(50), None),
            "at most 5, the batch size",
        ),
        (
            six().batch_size(1).fit(input(5), None),
            "at most 1, the batch size",
        ),
        (
            six().fit(input(4), None),
            "at most 4, the number of samples to train on",
        ),
        (
            six().fit(input(50), Some(input(3))),
            "at most 3, the number of samples to test on",
        ),
    ] {
        let error = result.unwrap_err().to_string();
        assert!(error.starts_with("number of replicas is 6"), "{error}");
        assert!(error.contains(limit), "{error}");
    }
    assert!(many().batch_size(0).fit(input(50), None).is_err());
    assert!(many().fit(input(0), None).is_err());
}

#[test]
fn a_test_set_that_does_not_fit_fails_before_training() {
    let shape = Shape::new(1, 4, 4);
    let more_classes = of(source(20, 4, shape));
    let error = trainer(0.1).fit(input(50), Some(more_classes)).unwrap_err();
    let expected = "number of classes in the test set is 4, expected at most 3";
    assert!(error.to_string().starts_with(expected), "{error}");

    let larger = of(source(20, 3, Shape::new(1, 5, 5)));
    let error = trainer(0.1).fit(input(50), Some(larger)).unwrap_err();
    assert!(matches!(error, Error::InvalidModel { .. }), "{error:?}");
    assert!(error.to_string().contains("test set"), "{error}");

    // Fewer are a part of the classes.
    let fewer = of(source(20, 2, shape));
    assert!(trainer(0.1).fit(input(50), Some(fewer)).is_ok());
}

#[test]
fn a_model_with_other_outputs_than_classes_fails_before_training() {
    let four = of(source(50, 4, Shape::new(1, 4, 4)));
    let error = trainer(0.1).fit(four, None).unwrap_err();
    assert!(matches!(error, Error::InvalidModel { .. }), "{error:?}");
    assert!(error.to_string().contains("4 classes"), "{error}");
}
