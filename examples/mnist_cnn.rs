//! A convolutional network on MNIST: 93,322 parameters.
//!
//!     cargo run --release --example mnist_cnn -- --download
//!     cargo run --release --example mnist_cnn -- --data DIR

use std::process::ExitCode;

use clap::Parser;
use feedline::{Recipe, Result, Training};
use feedline_pipeline::dataset::Mnist;

/// Train a convolutional network on MNIST: 93,322 parameters, about 99 % on the test set
///
/// Three convolutions find strokes and shapes wherever they are, two fully connected layers weigh them. MNIST must be
/// in the folder, or --download fetches it (11 MB).
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: Training,
}

fn main() -> ExitCode {
    feedline::report(run(&Arguments::parse().training))
}

fn run(training: &Training) -> Result<()> {
    let mnist = if training.may_download()? {
        Mnist::download(training.folder())?
    } else {
        Mnist::open(training.folder())?
    };
    training.run(&mnist, &Recipe::mnist_cnn(0.5))
}
