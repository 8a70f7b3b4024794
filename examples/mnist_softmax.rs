//! Softmax regression on MNIST: 7,850 parameters, seconds an epoch.
//!
//!     cargo run --release --example mnist_softmax -- --download
//!     cargo run --release --example mnist_softmax -- --data DIR

mod common;

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::Mnist;
use feedline_trainer::{Input, Result, models};

/// Train softmax regression on MNIST: 7,850 parameters, seconds an epoch
///
/// The simplest classifier: each class weighs every pixel. It reaches about 92.5 % on the test set; mnist_cnn shows
/// what convolutions add. MNIST must be in the folder, or --download fetches it (11 MB).
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: common::Training,
}

fn main() -> ExitCode {
    common::report(run(&Arguments::parse().training))
}

fn run(training: &common::Training) -> Result<()> {
    let mnist = if training.download {
        Mnist::download(training.folder())?
    } else {
        Mnist::open(training.folder())?
    };
    let seed = training.seed;
    let model = move |device: &Device| models::softmax(seed, device);
    println!("{}\n", model(&Device::Cpu)?.summary());

    let input = |source: &_| Input::new(std::sync::Arc::clone(source), Transform::new().scale());
    let (train, test) = (input(&mnist.train), input(&mnist.test));
    let defaults = common::Defaults {
        epochs: 5,
        batch_size: 32,
    };
    training.run(&mnist, train, test, &defaults, model)
}
