//! Data-parallel training of a convolutional network with 1,068,810 parameters on CIFAR-10.
//!
//!     cargo run --release --example cifar_multi_gpu
//!     cargo run --release --example cifar_multi_gpu -- --download
//!     cargo run --release --example cifar_multi_gpu -- --data DIR --epochs 10
//!
//!     cargo run --release --example cifar_multi_gpu --features nccl -- --precision bf16 --resident
//!
//! Without CIFAR-10 it trains on pictures that it draws itself. Built with the feature `nccl` it trains on all GPUs that it
//! sees; without it, or without GPUs, replicas are threads on the CPU.

#[path = "common/cifar.rs"]
mod cifar;
mod common;

use std::process::ExitCode;

use candle_core::Device;
use clap::{Parser, ValueEnum};
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::{Cifar10, Generated};
use feedline_trainer::{Input, Result, models};

/// Train a CNN on CIFAR-10, one replica per GPU, or per processor core
///
/// Every replica computes the gradients of its shard of each batch; they are summed, and all make the same step. The
/// number of replicas changes the speed, not the batches. Without CIFAR-10 in the folder, ten classes of generated
/// pictures take its place: 3,000 to train on, in batches of 64 instead of 128. Both train 4 epochs by default.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: common::Training,
    /// Use the generated pictures, even if CIFAR-10 is there
    #[arg(long, conflicts_with = "download")]
    generated: bool,
    /// How training pictures are changed, each time in another way
    #[arg(long, value_enum, default_value_t)]
    augmentation: Augmentation,
    /// Share of features that each dropout drops in training, from 0 to below 1; against learning pictures by heart
    #[arg(long, value_name = "RATE", default_value_t = 0.5)]
    dropout: f32,
}

/// Ways to change pictures, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Default)]
enum Augmentation {
    /// Crops of 24×24 pixels, half of them mirrored
    #[default]
    Flip,
    /// The same with other brightness and contrast, each picture then standardized: that of TensorFlow's CIFAR-10 tutorial
    Color,
}

impl Augmentation {
    /// What is done to pictures to train on, and to those to test on.
    fn transforms(self) -> [Transform; 2] {
        let train = Transform::new()
            .random_crop(24, 24, 0)
            .random_flip()
            .scale();
        let test = Transform::new().center_crop(24, 24).scale();
        match self {
            Self::Flip => [train, test]
                .map(|values| values.normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION)),
            Self::Color => {
                let train = train
                    .random_brightness(63.0 / 255.0)
                    .random_contrast(0.2, 1.8);
                [train, test].map(Transform::standardize)
            }
        }
    }
}

fn main() -> ExitCode {
    common::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let training = &arguments.training;
    let (dataset, batch_size) = match cifar::open(training, arguments.generated)? {
        Some(cifar) => (cifar, 128),
        // Small, for machines that just want to see it work.
        None => (Generated::open(3_000, 1_000)?, 64),
    };
    let defaults = common::Defaults {
        epochs: 4,
        batch_size,
    };
    let (seed, dropout) = (training.seed, arguments.dropout);
    let model = move |device: &Device| models::cifar_cnn(dropout, seed, device);
    println!("{}\n", model(&Device::Cpu)?.summary());

    let [augmented, plain] = arguments.augmentation.transforms();
    let train = Input::new(dataset.train.clone(), augmented);
    let test = Input::new(dataset.test.clone(), plain);
    training.run(&dataset, train, test, &defaults, model)
}
