//! Checks that the number of replicas changes nothing, for replicas of any sort.
//!
//! Whoever adds a way to make replicas calls [`check`] with it.

use std::sync::Arc;

use candle_core::Device;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};

use super::Replicas;
use crate::collective::BucketSizes;
use crate::error::Result;
use crate::fit::{Fitted, Input, Metrics, Trainer};
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Model, Padding, Relu, Sequential, flat,
};
use crate::optim::{Adam, Optimizer, Sgd};

type Network = fn(&Device) -> Result<Sequential>;

const SHAPE: Shape = Shape::new(2, 12, 11);
const CLASSES: usize = 3;
const STEPS: u64 = 20;

/// How far a number may be off after all steps, as a share of the largest of its parameter.
const TOLERANCE: f32 = 1e-5;

/// The first is a multiple of each number of replicas, the others are not.
const BATCH_SIZES: [usize; 3] = [12, 13, 7];

const TINY: BucketSizes = BucketSizes {
    first: 0,
    others: 64,
};

fn softmax(device: &Device) -> Result<Sequential> {
    builder()
        .add(Flatten)
        .add(Linear::new(CLASSES))
        .build(1, device)
}

/// A small relative of `mnist_cnn`.
fn dropout(device: &Device) -> Result<Sequential> {
    builder()
        .add(Conv2d::new(5, 3))
        .add(Relu)
        .add(MaxPool2d::new(2, 2))
        .add(Conv2d::new(6, 3))
        .add(Relu)
        .add(Flatten)
        .add(Linear::new(16))
        .add(Relu)
        .add(Dropout::new(0.5))
        .add(Linear::new(CLASSES))
        .build(1, device)
}

/// A small relative of `cifar_cnn`.
fn synchronized(device: &Device) -> Result<Sequential> {
    let mut network = builder();
    for filters in [5, 17] {
        network = network
            .add(Conv2d::new(filters, 3).padding(Padding::Same))
            .add(Relu)
            .add(MaxPool2d::new(3, 2).padding(Padding::Same))
            .add(BatchNorm::new().synchronized(true));
    }
    network = network.add(Flatten).add(Linear::new(12)).add(Relu);
    network = network.add(Dropout::new(0.5));
    network.add(Linear::new(CLASSES)).build(1, device)
}

fn builder() -> crate::nn::SequentialBuilder {
    Sequential::builder([SHAPE.channels, SHAPE.height, SHAPE.width])
}

fn input(samples: usize) -> Input {
    let mut random = Random::new([samples as u64]);
    let pixels = (0..samples * SHAPE.elements()).map(|_| random.below(256) as u8);
    let labels = (0..samples).map(|index| (index % CLASSES) as u32);
    let source = InMemory::new(SHAPE, CLASSES, pixels.collect(), labels.collect());
    Input::new(Arc::new(source.unwrap()), Transform::new().scale())
}

/// What can be told about a run.
struct Run {
    model: Sequential,
    metrics: Vec<Metrics>,
}

impl Run {
    fn of(fitted: Fitted<Sequential>) -> Self {
        let epochs = fitted.history.epochs.iter();
        let metrics = epochs.flat_map(|own| [own.train, own.test.unwrap()]);
        Self {
            metrics: metrics.collect(),
            model: fitted.model,
        }
    }

    fn numbers(&self) -> Vec<f32> {
        flat::read(self.model.parameters()).unwrap()
    }

    fn assert_close(&self, one: &Self, what: &str) {
        for (own, one) in self.model.parameters().iter().zip(one.model.parameters()) {
            let numbers = [own, one].map(|own| flat::read(std::slice::from_ref(own)).unwrap());
            let [found, expected] = numbers;
            let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
            let worst = differences.fold(0.0, f32::max);
            assert!(
                worst <= TOLERANCE * largest,
                "{what}: {} differs by {worst}, where the largest number is {largest}",
                own.name
            );
        }
        assert_eq!(self.metrics.len(), one.metrics.len());
        for (found, expected) in self.metrics.iter().zip(&one.metrics) {
            assert_eq!(found.samples, expected.samples, "{what}");
            let difference = (found.loss - expected.loss).abs();
            assert!(
                difference <= 1e-4 * expected.loss,
                "{what}: loss differs by {difference}"
            );
        }
    }
}

/// A run of [`STEPS`] steps over epochs of 50 samples, of which some batch sizes leave a rest. Of the 21 test samples the
/// last batch has fewer than there are replicas, so that some have none.
fn train<O: Optimizer>(
    replicas: Replicas,
    network: Network,
    optimizer: &O,
    batch_size: usize,
    change: impl FnOnce(Trainer<Network, O>) -> Trainer<Network, O>,
) -> Run {
    let trainer = Trainer::new(network).optimizer(optimizer.clone());
    let trainer = trainer.replicas(replicas).batch_size(batch_size);
    let trainer = change(trainer.steps(STEPS).seed(5).progress(false));
    Run::of(trainer.fit(input(50), Some(input(21))).unwrap())
}

/// Checks that as many of these replicas as it likes compute what one of them does at the same global batch size, and that
/// overlap changes no bit; nor, `with_any_buckets`, the size of buckets. That is so where sums are taken in the order of the
/// ranks, but not over NCCL, where the order depends on the place in the bucket.
pub(crate) fn check(replicas: impl Fn(usize) -> Replicas, with_any_buckets: bool) {
    check_some(replicas, with_any_buckets, &[2, 3, 4], &BATCH_SIZES);
}

/// As [`check`], for so many replicas and for batches of these sizes, where a run takes long.
pub(crate) fn check_some(
    replicas: impl Fn(usize) -> Replicas,
    with_any_buckets: bool,
    counts: &[usize],
    batch_sizes: &[usize],
) {
    // With larger steps rounding grows: a rectifier or a max-pool may come to choose something else.
    let sgd = Sgd::new(0.001).momentum(0.9);
    for network in [softmax as Network, dropout, synchronized] {
        compare(&replicas, network, &sgd, counts, batch_sizes);
        same_bits(&replicas, with_any_buckets, network, &sgd, counts[0]);
    }
    // Adam makes whole steps of the smallest gradients, and those of a bias in front of a batch normalization can be
    // nothing but rounding.
    for network in [softmax as Network, dropout] {
        let adam = Adam::default();
        compare(&replicas, network, &adam, counts, batch_sizes);
    }
}

fn compare(
    replicas: &impl Fn(usize) -> Replicas,
    network: Network,
    optimizer: &impl Optimizer,
    counts: &[usize],
    batch_sizes: &[usize],
) {
    for &batch_size in batch_sizes {
        let one = train(replicas(1), network, optimizer, batch_size, |own| own);
        let before = flat::read(network(&Device::Cpu).unwrap().parameters()).unwrap();
        let moved = before.iter().zip(one.numbers()).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f32::max) > 100.0 * TOLERANCE);
        for &count in counts {
            let several = train(replicas(count), network, optimizer, batch_size, |own| own);
            let what = format!("{count} replicas, batches of {batch_size}, {optimizer:?}");
            several.assert_close(&one, &what);
        }
    }
}

fn same_bits(
    replicas: &impl Fn(usize) -> Replicas,
    with_any_buckets: bool,
    network: Network,
    optimizer: &impl Optimizer,
    most: usize,
) {
    for count in [1, most] {
        let run = |overlap, sizes| {
            let run = train(replicas(count), network, optimizer, 13, |trainer| {
                trainer.overlap(overlap).bucket_sizes(sizes)
            });
            (run.numbers(), run.metrics)
        };
        let whole = run(false, BucketSizes::default());
        for sizes in [BucketSizes::default(), TINY] {
            let expected = run(false, sizes);
            if with_any_buckets || sizes == BucketSizes::default() {
                assert_eq!(expected, whole, "{count} replicas, {sizes:?}");
            }
            let found = run(true, sizes);
            assert_eq!(found, expected, "{count} replicas, overlap, {sizes:?}");
        }
    }
}

#[test]
fn the_number_of_cpu_replicas_changes_nothing() {
    check(
        |count| Replicas::cpu(count).unwrap().threads(1).unwrap(),
        true,
    );
}

#[test]
fn without_synchronization_batch_norm_sees_its_own_replicas_rows() {
    fn local(device: &Device) -> Result<Sequential> {
        let network = builder().add(BatchNorm::new()).add(Flatten);
        network.add(Linear::new(CLASSES)).build(1, device)
    }
    let sgd = Sgd::new(0.02);
    let on = |count| train(Replicas::cpu(count).unwrap(), local, &sgd, 12, |own| own);
    assert_ne!(on(2).numbers(), on(1).numbers());
}
