//! A convolutional network on MNIST: 93,322 parameters.
//!
//!     cargo run --release --example mnist_cnn -- --download
//!     cargo run --release --example mnist_cnn -- --data DIR

mod common;

use std::process::ExitCode;

use candle_core::Device;
use clap::Parser;
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::Mnist;
use feedline_trainer::fit::Input;
use feedline_trainer::{Result, models};

/// A convolutional network on MNIST
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
    let model = |device: &Device| models::mnist_cnn(0.5, seed, device);
    println!("{}\n", model(&Device::Cpu)?.summary());

    let input = |source: &_| Input::new(std::sync::Arc::clone(source), Transform::new().scale());
    let inputs = [input(&mnist.train), input(&mnist.test)];
    training.run(&mnist, inputs, [5, 32], model)?;
    Ok(())
}
