//! The same results with all instructions, but for rounding, and the same bits on any number of threads.

use std::sync::Arc;

use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Shape, Transform};

use super::*;
use crate::{Input, Replicas, Trainer};

fn networks() -> [Sequential; 2] {
    [
        models::mnist_cnn(0.5, 1, &Device::Cpu).unwrap(),
        models::cifar_cnn(0.5, 1, &Device::Cpu).unwrap(),
    ]
}

#[test]
fn all_instructions_come_to_the_same() {
    for network in networks() {
        let rows = Rows::new(&network, 10, false, &mut Random::new([2]));
        let fastest = engine_step(&network, &rows, Isa::detect(), 1);
        for isa in Isa::available() {
            let found = engine_step(&network, &rows, isa, 1);
            let (error, place) = worst(&network, &found.gradients, &fastest.gradients, 0.0);
            assert!(error <= 2e-5, "{isa:?}: {error:e}: {place}");
            let pairs = found.gradients.iter().zip(&fastest.gradients);
            let distance: f64 = pairs.map(|(x, y)| f64::from(x - y).powi(2)).sum();
            let length = fastest.gradients.iter().map(|&x| f64::from(x).powi(2));
            let relative = (distance / length.sum::<f64>()).sqrt();
            assert!(
                relative <= 1e-5,
                "{isa:?}: {relative:e} of the whole gradient"
            );
            let difference = (found.totals.loss - fastest.totals.loss).abs();
            assert!(difference <= 1e-5 * fastest.totals.loss);
        }
    }
}

#[test]
fn without_its_instructions_an_engine_falls_back_to_portable_ones() {
    let network = &networks()[0];
    let rows = Rows::new(network, 3, false, &mut Random::new([2]));
    let portable = engine_step(network, &rows, Isa::Portable, 1);
    for isa in [Isa::Avx2, Isa::Avx512] {
        let found = engine_step(network, &rows, isa, 1);
        // The bits of others differ, so equal ones tell that these were taken.
        assert_eq!(found == portable, !isa.is_available(), "{isa:?}");
    }
}

/// All numbers of a network after ten steps on so many threads.
fn trained(
    model: fn(&Device) -> crate::Result<Sequential>,
    shape: Shape,
    threads: usize,
) -> Vec<u32> {
    let mut random = Random::new([1]);
    let pixels = (0..64 * shape.elements()).map(|_| random.below(256) as u8);
    let labels = (0..64).map(|index| index % 10);
    let source = InMemory::new(shape, 10, pixels.collect(), labels.collect()).unwrap();
    let replicas = Replicas::cpu(1).unwrap().threads(threads).unwrap();
    let trainer = Trainer::new(model).replicas(replicas).progress(false);
    let trainer = trainer.batch_size(13).steps(10);
    let input = Input::new(Arc::new(source), Transform::new().scale());
    let model = trainer.fit(input, None).unwrap().model;
    let numbers = model.parameters().iter().flat_map(|own| {
        let flat = own.value.flatten_all().unwrap();
        flat.to_vec1::<f32>().unwrap()
    });
    numbers.map(f32::to_bits).collect()
}

#[test]
fn training_has_the_same_bits_on_any_number_of_threads() {
    let mnist = |device: &Device| models::mnist_cnn(0.5, 1, device);
    let cifar = |device: &Device| models::cifar_cnn(0.5, 1, device);
    for (model, shape) in [
        (mnist as fn(&Device) -> _, Shape::new(1, 28, 28)),
        (cifar, Shape::new(3, 24, 24)),
    ] {
        let one = trained(model, shape, 1);
        for threads in [2, 3, 8] {
            assert!(
                one == trained(model, shape, threads),
                "{threads} threads, {shape:?}"
            );
        }
    }
}
