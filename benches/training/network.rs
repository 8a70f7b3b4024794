//! What is trained: networks, and batches for them.

use std::fmt;

use candle_core::Device;
use clap::ValueEnum;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape};
use feedline_trainer::nn::Sequential;
use feedline_trainer::{Result, models};

pub(crate) const CLASSES: usize = 10;
const DROPOUT: f32 = 0.5;

/// One of [`models`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Network {
    Softmax,
    MnistCnn,
    CifarCnn,
}

impl Network {
    pub(crate) const ALL: [Self; 3] = [Self::Softmax, Self::MnistCnn, Self::CifarCnn];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::MnistCnn => "mnist_cnn",
            Self::CifarCnn => "cifar_cnn",
        }
    }

    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Softmax => "7,850 parameters",
            Self::MnistCnn => "3 convolutions, 93,322 parameters",
            Self::CifarCnn => "2 convolutions, 1,068,810 parameters",
        }
    }

    pub(crate) fn build(self, device: &Device) -> Result<Sequential> {
        match self {
            Self::Softmax => models::softmax(1, device),
            Self::MnistCnn => models::mnist_cnn(DROPOUT, 1, device),
            Self::CifarCnn => models::cifar_cnn(DROPOUT, 1, device),
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::Softmax | Self::MnistCnn => Shape::new(1, 28, 28),
            Self::CifarCnn => Shape::new(3, 24, 24),
        }
    }

    /// Multiply-adds of each layer for one picture, forward, as its definition has them: numbers in a filter, times
    /// filters, times places.
    fn multiply_adds(self) -> Vec<usize> {
        let convolution = |kernel: usize, [channels, filters]: [usize; 2], side: usize| {
            kernel * kernel * channels * filters * side * side
        };
        match self {
            Self::Softmax => vec![784 * CLASSES],
            Self::MnistCnn => vec![
                convolution(3, [1, 32], 26),
                convolution(3, [32, 64], 11),
                convolution(3, [64, 64], 3),
                576 * 64,
                64 * CLASSES,
            ],
            Self::CifarCnn => vec![
                convolution(5, [3, 64], 24),
                convolution(5, [64, 64], 12),
                2304 * 384,
                384 * 192,
                192 * CLASSES,
            ],
        }
    }

    /// Floating-point operations of a training step for one picture: forward, the weights' gradients and, but for the
    /// first layer, the inputs' gradients take as many multiply-adds each, and each of these is two operations.
    pub(crate) fn operations(self) -> f64 {
        let layers = self.multiply_adds();
        let first = layers.first().copied().unwrap_or_default();
        let sum: usize = layers.iter().sum();
        (2 * (3 * sum - first)) as f64
    }
}

/// A network, and how many pictures it sees in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) network: Network,
    pub(crate) batch: usize,
}

/// Pictures as the engine takes them: noise from -1 to 1.
pub(crate) fn images(workload: Workload) -> Vec<f32> {
    let mut random = Random::new([1]);
    let number = || random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    let numbers = workload.batch * workload.network.shape().elements();
    std::iter::repeat_with(number).take(numbers).collect()
}

pub(crate) fn labels(rows: usize) -> Vec<u32> {
    (0..rows as u32).map(|row| row % CLASSES as u32).collect()
}

/// Pictures as the trainer takes them.
pub(crate) fn source(network: Network, samples: usize) -> Result<InMemory> {
    let mut random = Random::new([1]);
    let shape = network.shape();
    let pixels = (0..samples * shape.elements()).map(|_| random.next_u64() as u8);
    let source = InMemory::new(shape, CLASSES, pixels.collect(), labels(samples));
    Ok(source?)
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
