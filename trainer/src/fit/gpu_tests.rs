//! Training on GPUs, real or simulated. Without enough of them the tests do nothing and say so.

use std::sync::Arc;

use candle_core::Device;
use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};

use super::tests::OnTape;
use super::{Fitted, Input, Trainer};
use crate::error::{Error, Result};
use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Model, Padding, Relu};
use crate::nn::{Sequential, flat};
use crate::optim::{Adam, Optimizer, Sgd};
use crate::{Precision, Replicas};

const SHAPE: Shape = Shape::new(3, 10, 9);

fn replicas(count: usize) -> Option<Replicas> {
    let found = Gpu::count().unwrap_or(0);
    if found < count {
        eprintln!("skipped: needs {count} GPUs, found {found}");
        return None;
    }
    Some(Replicas::gpu_count(count).unwrap())
}

/// Pictures whose brightness follows from their class.
fn input(samples: usize) -> Input {
    let mut random = Random::new([samples as u64]);
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..samples {
        let class = random.below(3);
        labels.push(class as u32);
        pixels.extend((0..SHAPE.elements()).map(|_| (random.below(90) + 80 * class) as u8));
    }
    let source = InMemory::new(SHAPE, 3, pixels, labels).unwrap();
    let transform = Transform::new().random_crop(8, 8, 1).random_flip().scale();
    Input::new(Arc::new(source), transform)
}

fn network(device: &Device) -> Result<Sequential> {
    Sequential::builder([3, 8, 8])
        .add(Conv2d::new(5, 3).padding(Padding::Same))
        .add(Relu)
        .add(MaxPool2d::new(3, 2).padding(Padding::Same))
        .add(BatchNorm::new())
        .add(Flatten)
        .add(Dropout::new(0.2))
        .add(Linear::new(3))
        .build(1, device)
}

fn trainer<M: Model, O: Optimizer>(
    model: fn(&Device) -> Result<M>,
    optimizer: O,
    replicas: Replicas,
) -> Trainer<fn(&Device) -> Result<M>, O> {
    let trainer = Trainer::new(model).optimizer(optimizer).replicas(replicas);
    trainer.batch_size(16).steps(9).seed(3).progress(false)
}

fn fit<M: Model, O: Optimizer>(trainer: Trainer<fn(&Device) -> Result<M>, O>) -> Fitted<M> {
    trainer.fit(input(60), Some(input(21))).unwrap()
}

fn numbers(model: &impl Model) -> Vec<f32> {
    flat::read(model.parameters()).unwrap()
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() <= tolerance, "{a} and {b}");
    }
}

#[test]
fn a_gpu_learns_what_the_cpu_does() {
    let Some(gpu) = replicas(1) else { return };
    let sgd = Sgd::new(0.05).momentum(0.9);
    let on_gpu = fit(trainer(network, sgd.clone(), gpu));
    let on_cpu = fit(trainer(network, sgd, Replicas::cpu(1).unwrap()));
    assert_close(&numbers(&on_gpu.model), &numbers(&on_cpu.model), 1e-4);
    let epochs = on_gpu.history.epochs.iter().zip(&on_cpu.history.epochs);
    for (gpu, cpu) in epochs {
        let tests = (gpu.test.unwrap(), cpu.test.unwrap());
        for (gpu, cpu) in [(gpu.train, cpu.train), tests] {
            assert_eq!(gpu.samples, cpu.samples);
            assert!((gpu.loss - cpu.loss).abs() < 1e-4, "{gpu:?} and {cpu:?}");
        }
    }
}

#[test]
fn pictures_that_stay_on_the_gpu_change_no_bit() {
    for count in [1, 2] {
        let Some(gpus) = replicas(count) else { return };
        let run = |resident| {
            let trainer = trainer(network, Adam::default(), gpus.clone());
            let fitted = fit(trainer.resident(resident));
            let metrics = fitted
                .history
                .epochs
                .into_iter()
                .map(|own| (own.train, own.test));
            (numbers(&fitted.model), metrics.collect::<Vec<_>>())
        };
        assert_eq!(run(true), run(false));
    }
}

#[test]
fn lower_precisions_learn_nearly_the_same() {
    let Some(gpus) = replicas(2) else { return };
    let run = |precision| {
        let trainer = trainer(network, Sgd::new(0.05), gpus.clone());
        numbers(&fit(trainer.precision(precision)).model)
    };
    let exact = run(Precision::F32);
    for precision in [Precision::Tf32, Precision::Bf16] {
        let found = run(precision);
        assert_ne!(found, exact, "{precision:?}");
        assert_close(&found, &exact, 0.05);
    }
}

#[test]
fn gradients_that_travel_in_bf16_teach_nearly_the_same() {
    let Some(gpus) = replicas(2) else { return };
    let run = |in_bf16| {
        let trainer = trainer(network, Sgd::new(0.05), gpus.clone());
        numbers(&fit(trainer.gradients_in_bf16(in_bf16)).model)
    };
    let (exact, rounded) = (run(false), run(true));
    assert_ne!(rounded, exact);
    assert_close(&rounded, &exact, 0.01);
}

#[test]
fn precisions_that_nothing_has_are_refused() {
    let cpu = trainer(network, Adam::default(), Replicas::cpu(1).unwrap());
    let error = cpu.precision(Precision::Bf16).fit(input(60), None);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("precision is Bf16, expected F32"), "{error}");
    let Some(gpu) = replicas(1) else { return };
    let own = trainer(|device| network(device).map(OnTape), Adam::default(), gpu);
    assert!(own.precision(Precision::Tf32).fit(input(60), None).is_err());
}

#[test]
fn a_network_for_other_pictures_fails_before_training() {
    let Some(gpu) = replicas(1) else { return };
    let input = |samples| Input::new(input(samples).source, Transform::new().scale());
    let fitted = trainer(network, Adam::default(), gpu).fit(input(60), Some(input(21)));
    let error = fitted.unwrap_err();
    assert!(matches!(error, Error::InvalidModel { .. }), "{error}");
    assert!(error.to_string().contains("[3, 10, 9]"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_training_with_its_step() {
    let Some(gpus) = replicas(2) else { return };
    let trainer = trainer(network, Sgd::new(1e38), gpus);
    let error = trainer.fit(input(60), None).unwrap_err();
    assert!(matches!(error, Error::Diverged { epoch: 0, .. }), "{error}");
}
