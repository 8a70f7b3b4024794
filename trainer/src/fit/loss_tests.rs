//! Tests of training with a loss of one's own.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};

use super::tests::OnTape;
use super::*;
use crate::nn::{BatchNorm, Flatten, Linear, Loss, Pass, Relu, Sequential, cross_entropy, flat};
use crate::optim::Sgd;

type Plain = fn(&Device) -> Result<Sequential>;

const SHAPE: Shape = Shape::new(1, 3, 4);
const SAMPLES: usize = 23;
const RATE: f32 = 0.3;

/// `-(1 - p)² ln p`, where `p` is the probability of the label.
#[derive(Debug)]
struct Focal;

impl Loss for Focal {
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let losses = cross_entropy(logits, labels)?;
        let rest = (1.0 - losses.neg()?.exp()?)?;
        Ok((losses * rest.sqr()?)?)
    }
}

/// The trainer's own, on the tape.
#[derive(Debug)]
struct Same;

impl Loss for Same {
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        Ok(cross_entropy(logits, labels)?)
    }
}

fn samples() -> (Vec<u8>, Vec<u32>) {
    let mut random = Random::new([1]);
    let pixels = (0..SAMPLES * SHAPE.elements()).map(|_| random.below(256) as u8);
    let pixels = pixels.collect();
    (
        pixels,
        (0..SAMPLES).map(|_| random.below(3) as u32).collect(),
    )
}

fn input() -> Input {
    let (pixels, labels) = samples();
    let source = InMemory::new(SHAPE, 3, pixels, labels).unwrap();
    Input::new(Arc::new(source), Transform::new().scale())
}

fn network(device: &Device) -> Result<Sequential> {
    let network = Sequential::builder([1, 3, 4]).add(Flatten);
    let network = network.add(Linear::new(5)).add(Relu).add(Linear::new(3));
    network.build(1, device)
}

/// Six steps of the whole set each.
fn trainer<M: Model>(
    model: fn(&Device) -> Result<M>,
    replicas: usize,
) -> Trainer<fn(&Device) -> Result<M>, Sgd> {
    let replicas = Replicas::cpu(replicas).unwrap().threads(1).unwrap();
    let trainer = Trainer::new(model).optimizer(Sgd::new(RATE)).epochs(6);
    let trainer = trainer.batch_size(SAMPLES).replicas(replicas);
    trainer.progress(false)
}

fn fit<M: Model>(trainer: Trainer<fn(&Device) -> Result<M>, Sgd>) -> Fitted<M> {
    trainer.fit(input(), Some(input())).unwrap()
}

/// The weights, and what each epoch has shown.
fn numbers<M: Model>(fitted: &Fitted<M>) -> Vec<f32> {
    let mut all = flat::read(fitted.model.parameters()).unwrap();
    for own in &fitted.history.epochs {
        all.extend([own.train, own.test.unwrap()].map(|own| own.loss as f32));
    }
    all
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
    }
}

/// The same run written by hand: weights, and the losses before and after each step.
fn by_hand() -> Vec<f32> {
    let model = network(&Device::Cpu).unwrap();
    let (pixels, labels) = samples();
    let pixels: Vec<f32> = pixels.into_iter().map(|x| f32::from(x) / 255.0).collect();
    let pictures = Tensor::from_vec(pixels, (SAMPLES, 1, 3, 4), &Device::Cpu).unwrap();
    let columns = Tensor::new(&labels[..], &Device::Cpu).unwrap();
    // In `f64`, from the probabilities of the labels.
    let focal = |logits: &Tensor| -> f64 {
        let rows = logits.to_vec2::<f32>().unwrap();
        let loss = |(row, &label): (Vec<f32>, &u32)| {
            let exponentials: Vec<_> = row.iter().map(|&x| f64::from(x).exp()).collect();
            let own = exponentials[label as usize] / exponentials.iter().sum::<f64>();
            -(1.0 - own).powi(2) * own.ln()
        };
        rows.into_iter().zip(&labels).map(loss).sum::<f64>() / SAMPLES as f64
    };
    let (training, evaluation) = (Pass::training(0, 0, 0), Pass::evaluation());
    let mut losses = Vec::new();
    for _ in 0..6 {
        let logits = model.forward(&pictures, &training).unwrap();
        losses.push(focal(&logits) as f32);
        let mean = Focal.losses(&logits, &columns).unwrap().mean_all().unwrap();
        let gradients = mean.backward().unwrap();
        for own in model.parameters() {
            let step = (gradients.get(&own.value).unwrap() * f64::from(RATE)).unwrap();
            own.value.set(&(&*own.value - step).unwrap()).unwrap();
        }
        losses.push(focal(&model.forward(&pictures, &evaluation).unwrap()) as f32);
    }
    let mut all = flat::read(model.parameters()).unwrap();
    all.extend(losses);
    all
}

#[test]
fn weights_and_losses_are_those_of_a_loop_written_by_hand() {
    let expected = by_hand();
    // A network that has an engine, and one that has not; slices that differ by a row; padding in the evaluation.
    for replicas in [1, 2, 3] {
        assert_close(
            &numbers(&fit(trainer(network, replicas).loss(Focal))),
            &expected,
        );
        let on_tape = trainer(|device| network(device).map(OnTape), replicas);
        assert_close(&numbers(&fit(on_tape.loss(Focal))), &expected);
    }
    let plain = numbers(&fit(trainer(network as Plain, 1)));
    assert!(
        plain
            .iter()
            .zip(&expected)
            .any(|(a, b)| (a - b).abs() > 0.1)
    );
}

#[test]
fn cross_entropy_as_ones_own_loss_teaches_what_the_engine_does() {
    let engine = numbers(&fit(trainer(network as Plain, 2)));
    assert_close(
        &numbers(&fit(trainer(network as Plain, 2).loss(Same))),
        &engine,
    );
}

#[test]
fn with_clipping_averages_and_steps_of_several_batches_two_replicas_learn_what_one_does() {
    let run = |replicas| {
        let trainer = trainer(network as Plain, replicas).loss(Focal);
        let trainer = trainer.batch_size(5).accumulate(2).clip_gradients(0.05);
        numbers(&fit(trainer.weight_averaging(0.6)))
    };
    assert_close(&run(2), &run(1));
}

#[test]
fn what_does_not_go_with_a_loss_of_ones_own_is_refused_by_name() {
    #[derive(Debug)]
    struct Mean;
    impl Loss for Mean {
        fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
            Ok(cross_entropy(logits, labels)?.mean_all()?)
        }
    }
    let refusal = |trainer: Trainer<Plain, Sgd>| {
        let error = trainer.fit(input(), None).unwrap_err();
        error.to_string()
    };
    for replicas in [1, 2] {
        let error = refusal(trainer(network as Plain, replicas).loss(Mean));
        assert!(error.starts_with("loss is f32 [] by Mean"), "{error}");
    }
    let smooth = trainer(network as Plain, 1)
        .loss(Focal)
        .label_smoothing(0.1);
    let error = refusal(smooth);
    assert!(error.starts_with("label smoothing is 0.1"), "{error}");
    assert!(error.contains("with the loss Focal"), "{error}");
    let synchronized: Plain = |device| {
        let network = Sequential::builder([1, 3, 4]).add(BatchNorm::new().synchronized(true));
        network.add(Flatten).add(Linear::new(3)).build(1, device)
    };
    let error = refusal(trainer(synchronized, 2).loss(Focal));
    assert!(error.contains("needs the engine"), "{error}");
}
