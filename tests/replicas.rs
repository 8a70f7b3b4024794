//! The number of replicas changes the speed and nothing else.

use feedline_pipeline::Transform;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape};
use feedline_trainer::fit::{Input, Trainer};
use feedline_trainer::models;
use feedline_trainer::nn::Model;
use feedline_trainer::parallel::Replicas;
use std::sync::Arc;

/// `mnist_cnn`'s weights after 20 steps of 16 on these many replicas, without dropout.
fn weights(replicas: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new([1]);
    let labels: Vec<u32> = (0..200).map(|i| i % 10).collect();
    let pixels = labels
        .iter()
        .flat_map(|&label| (0..784).map(move |place| (label, place)))
        .map(|(label, place)| {
            if place % 10 == label {
                255
            } else {
                random.below(200) as u8
            }
        })
        .collect();
    let source = InMemory::new(Shape::new(1, 28, 28), 10, pixels, labels).unwrap();
    let fitted = Trainer::new(|device| models::mnist_cnn(0.0, 3, device))
        .replicas(Replicas::cpu(replicas).unwrap())
        .steps(20)
        .batch_size(16)
        .seed(5)
        .progress(false)
        .fit(Input::new(Arc::new(source), Transform::new().scale()), None)
        .unwrap();
    let values = fitted
        .model
        .parameters()
        .iter()
        .map(|own| own.value.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    values.collect()
}

#[test]
fn two_three_and_four_replicas_end_with_the_weights_of_one() {
    let one = weights(1);
    for replicas in [2, 3, 4] {
        for (expected, found) in one.iter().zip(weights(replicas)) {
            let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
            let difference: Vec<f32> = expected.iter().zip(&found).map(|(a, b)| a - b).collect();
            let relative = norm(&difference) / norm(expected);
            assert!(relative < 1e-5, "{replicas} replicas: {relative}");
        }
    }
}

#[test]
fn the_same_run_twice_is_identical_to_the_bit() {
    assert_eq!(weights(2), weights(2));
}
