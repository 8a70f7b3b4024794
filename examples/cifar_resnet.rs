//! Data-parallel training of a residual network with 1,649,482 parameters on CIFAR-10.
//!
//!     cargo run --release --example cifar_resnet
//!     cargo run --release --example cifar_resnet -- --download
//!     cargo run --release --example cifar_resnet -- --data DIR --epochs 10
//!
//! Without CIFAR-10 it trains on pictures that it draws itself.

#[path = "common/cifar.rs"]
mod cifar;

use std::process::ExitCode;

use clap::Parser;
use feedline::data::GENERATED;
use feedline::recipe::Resnet9;
use feedline::{Recipe, Result, Training};
use feedline_pipeline::dataset::Generated;

/// Train a ResNet-9 on CIFAR-10, one replica per GPU, or per processor core
///
/// Pictures are padded by 4 pixels, cropped to 32×32 at random places, and half of them mirrored. The learning rate is 0.008
/// and the schedule one-cycle unless told otherwise. Without CIFAR-10 in the folder, ten classes of generated pictures take
/// its place: 3,000 to train on, for 2 epochs instead of 12.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: Training,
    /// Use the generated pictures, even if CIFAR-10 is there
    #[arg(long, conflicts_with = "download")]
    generated: bool,
    #[command(flatten)]
    network: Resnet9,
}

fn main() -> ExitCode {
    feedline::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let training = &arguments.training;
    let recipe = Recipe::resnet9(&arguments.network);
    match cifar::open(training, arguments.generated)? {
        Some(cifar) => training.run(&cifar, &recipe),
        None => {
            let (train, test) = GENERATED;
            training.run(&Generated::open(train, test)?, &recipe.for_generated())
        }
    }
}
