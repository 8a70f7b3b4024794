//! Softmax regression on MNIST: 7,850 parameters, seconds an epoch.
//!
//!     cargo run --release --example mnist_softmax -- --download
//!     cargo run --release --example mnist_softmax -- --data DIR

use std::process::ExitCode;

use clap::Parser;
use feedline::{Recipe, Result, Training};
use feedline_pipeline::dataset::Mnist;

/// Train softmax regression on MNIST: 7,850 parameters, seconds an epoch
///
/// The simplest classifier: each class weighs every pixel. It reaches about 92.5 % on the test set; mnist_cnn shows
/// what convolutions add. MNIST must be in the folder, or --download fetches it (11 MB).
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
    training.run(&mnist, &Recipe::softmax())
}
