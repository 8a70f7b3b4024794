//! Data-parallel training of a residual network with 1,649,482 parameters on CIFAR-10.
//!
//!     cargo run --release --example cifar_resnet
//!     cargo run --release --example cifar_resnet -- --download
//!     cargo run --release --example cifar_resnet -- --data DIR --epochs 10
//!
//! Without CIFAR-10 it trains on pictures that it draws itself.

#[path = "common/cifar.rs"]
mod cifar;
mod common;

use std::process::ExitCode;

use candle_core::Device;
use clap::{CommandFactory, FromArgMatches, Parser};
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::{Cifar10, Generated};
use feedline_trainer::{Input, Result, models};

/// Train a ResNet-9 on CIFAR-10, one replica per GPU, or per processor core
///
/// Pictures are padded by 4 pixels, cropped to 32×32 at random places, and half of them mirrored. Without CIFAR-10 in the
/// folder, ten classes of generated pictures take its place: 3,000 to train on, for 2 epochs instead of 12.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: common::Training,
    /// Use the generated pictures, even if CIFAR-10 is there
    #[arg(long, conflicts_with = "download")]
    generated: bool,
    /// Filters of the first layer; the last ones have eight times as many. Twice as wide takes four times as long
    #[arg(long, value_name = "N", default_value_t = 32)]
    width: usize,
}

impl Arguments {
    /// Those of the command line, with other defaults than the other examples have.
    fn of_command_line() -> Self {
        let command = Self::command()
            .mut_arg("learning_rate", |own| own.default_value("0.008"))
            .mut_arg("schedule", |own| own.default_value("one-cycle"));
        let matches = command.get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

fn main() -> ExitCode {
    common::report(run(&Arguments::of_command_line()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let training = &arguments.training;
    let (dataset, epochs) = match cifar::open(training, arguments.generated)? {
        Some(cifar) => (cifar, 12),
        // Small, for machines that just want to see it work.
        None => (Generated::open(3_000, 1_000)?, 2),
    };
    let defaults = common::Defaults {
        epochs,
        batch_size: 128,
    };
    let (seed, width) = (training.seed, arguments.width);
    let model = move |device: &Device| models::resnet9(width, seed, device);
    println!("{}\n", model(&Device::Cpu)?.summary());

    let normalize =
        |values: Transform| values.normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION);
    let augmented = Transform::new()
        .random_crop(32, 32, 4)
        .random_flip()
        .scale();
    let train = Input::new(dataset.train.clone(), normalize(augmented));
    let test = Input::new(dataset.test.clone(), normalize(Transform::new().scale()));
    training.run(&dataset, train, test, &defaults, model)
}
