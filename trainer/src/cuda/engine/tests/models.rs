//! The models, and how exactly they are computed.

use super::*;
use crate::models;

fn models() -> [Sequential; 3] {
    [
        models::softmax(3, &Device::Cpu).unwrap(),
        models::mnist_cnn(0.5, 3, &Device::Cpu).unwrap(),
        models::cifar_cnn(0.5, 3, &Device::Cpu).unwrap(),
    ]
}

#[test]
fn the_models_gradients_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    for network in models() {
        let rows = rows(&network, 6, 1);
        let expected = engine_step(&network, &rows, Isa::detect(), 1);
        let step = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        assert_near(&network, &step, &expected, 2e-5);
        assert_eq!(step.totals.correct, expected.totals.correct);
    }
}

#[test]
fn the_same_is_the_same_to_the_bit() {
    let Some(gpu) = gpu() else { return };
    for network in models() {
        let rows = rows(&network, 6, 2);
        let step = || step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        assert_eq!(step(), step());
    }
}

#[test]
fn measured_algorithms_compute_the_same() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let rows = rows(&network, 5, 3);
    let expected = engine_step(&network, &rows, Isa::detect(), 1);
    let mut engine = engine::<f32>(&network, &gpu).algorithms(Algorithms::Measured);
    for _ in 0..2 {
        let (values, statistics) = engine::Engine::read(&network).unwrap();
        engine.upload(&values, &statistics).unwrap();
        let step = step_of(&mut engine, &network, &rows);
        assert_near(&network, &step, &expected, 1e-5);
    }
}

/// How far two steps are from each other, by norm.
fn distance(step: &Step, other: &Step) -> f64 {
    let norm = |numbers: &mut dyn Iterator<Item = f32>| {
        numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
    };
    let pairs = step.gradients.iter().zip(&other.gradients);
    norm(&mut pairs.map(|(a, b)| a - b)) / norm(&mut other.gradients.iter().copied())
}

#[test]
fn less_exact_numbers_are_used_only_if_they_are_asked_for() {
    let Some(gpu) = gpu() else { return };
    for network in models() {
        let rows = rows(&network, 6, 4);
        let exact = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        let tf32 = engine::<f32>(&network, &gpu).tf32(true);
        let tf32 = distance(&step_of(&mut { tf32 }, &network, &rows), &exact);
        let bf16 = step_of(&mut engine::<bf16>(&network, &gpu), &network, &rows);
        let permitted = engine::<bf16>(&network, &gpu).tf32(true);
        assert_eq!(step_of(&mut { permitted }, &network, &rows), bf16);
        let bf16 = distance(&bf16, &exact);
        assert!(tf32 > 1e-5 && tf32 < 2e-2, "TF32: {tf32}");
        assert!(bf16 > tf32 && bf16 < 0.2, "bf16: {bf16}");
    }
}
