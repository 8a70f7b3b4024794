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

use std::process::ExitCode;

use clap::Parser;
use feedline::data::GENERATED;
use feedline::recipe::CifarCnn;
use feedline::{Recipe, Result, Training};
use feedline_pipeline::dataset::Generated;

/// Train a CNN on CIFAR-10, one replica per GPU, or per processor core
///
/// Every replica computes the gradients of its shard of each batch; they are summed, and all make the same step. The
/// number of replicas changes the speed, not the batches. Without CIFAR-10 in the folder, ten classes of generated
/// pictures take its place: 3,000 to train on, in batches of 64 instead of 128. Both train 4 epochs by default.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: Training,
    /// Use the generated pictures, even if CIFAR-10 is there
    #[arg(long, conflicts_with = "download")]
    generated: bool,
    #[command(flatten)]
    network: CifarCnn,
}

fn main() -> ExitCode {
    feedline::report(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let training = &arguments.training;
    let recipe = Recipe::cifar_cnn(&arguments.network);
    match cifar::open(training, arguments.generated)? {
        Some(cifar) => training.run(&cifar, &recipe),
        None => {
            let (train, test) = GENERATED;
            training.run(&Generated::open(train, test)?, &recipe.for_generated())
        }
    }
}
