//! A naive input pipeline against Feedline's: where time goes, in numbers and pictures.
//!
//!     cargo run --release --example pipeline_timeline
//!     cargo run --release --example pipeline_timeline -- --data DIR --epochs 4 --rounds 3
//!
//! A university course has its students compare a naive `tf.data` pipeline (one thread, no prefetch, no cache) with an
//! optimised one on CIFAR-10: 785 s against 732 s, as training was what took the time. This is that experiment, and a second
//! one in which loading takes the time.

mod experiment;
mod pictures;
#[path = "../common/pipelines/mod.rs"]
mod pipelines;
#[cfg(test)]
mod tests;

use std::fs;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use feedline_pipeline::dataset::{Cifar10, Generated};
use feedline_pipeline::{BoxError, Source};

use experiment::task;
use pipelines::{introduce, record};

/// Compare a naive input pipeline with Feedline's, and draw what each did when
///
/// Two experiments, each with the same training behind both pipelines. In the first, small pictures lie ready in a file, and
/// training takes nearly all the time. In the second, pictures are PNG files that take longer to decode than to train on:
/// the naive pipeline decodes each in every epoch; the optimised one decodes all once, which counts, into a file that is
/// mapped from then on. Without --data it uses generated pictures.
#[derive(Parser)]
struct Arguments {
    /// Folder with CIFAR-10, extracted or as its authors' archive [default: generated pictures]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder for the timelines, as SVG and PNG
    #[arg(long, value_name = "DIR", default_value = "pipeline_timeline")]
    output: PathBuf,
    /// Epochs of the first experiment
    #[arg(long, value_name = "N", default_value = "2")]
    epochs: NonZeroU64,
    /// Epochs of the second experiment
    #[arg(long, value_name = "N", default_value = "16")]
    picture_epochs: NonZeroU64,
    /// PNG files to train on in the second experiment
    #[arg(long, value_name = "N", default_value = "384")]
    pictures: NonZeroUsize,
    /// Pixels of each side of a PNG file
    #[arg(long, value_name = "N", default_value = "512")]
    side: NonZeroU32,
    /// Run each pipeline so often, in turn; medians are shown
    #[arg(long, value_name = "N", default_value = "1")]
    rounds: NonZeroUsize,
    /// What order, augmentation, weights and dropout follow from
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BoxError> {
    let dataset = match &arguments.data {
        Some(folder) => Cifar10::open(folder)?,
        None => Generated::open(10_000, 1_000)?,
    };
    fs::create_dir_all(&arguments.output)
        .map_err(|error| format!("can't make {}: {error}", arguments.output.display()))?;
    let scratch = tempfile::tempdir()?;
    let recorder = record();
    let rounds = arguments.rounds.get();
    introduce();

    let first = task(arguments.epochs.get(), 128, arguments.seed);
    println!(
        "\nTraining takes the time: {}, {} in mapped files, epochs: {}, batches of {}",
        dataset.name,
        dataset.train.len(),
        first.epochs,
        first.batch_size
    );
    let compared = experiment::training_bound(&dataset, rounds, &first, &recorder)?;
    compared.print(dataset.test.len());
    let title = "Small pictures: training takes the time";
    compared.draw(&arguments.output, "training-bound", title, 4)?;

    let second = task(arguments.picture_epochs.get(), 64, arguments.seed);
    let (count, side) = (arguments.pictures.get(), arguments.side.get());
    let write = |name: &str, source: &dyn Source, count| {
        pictures::write(&scratch.path().join(name), source, count, side)
    };
    let count = count.min(dataset.train.len());
    let tested = count.div_ceil(6).min(dataset.test.len());
    let bytes = write("train", &*dataset.train, count)?;
    write("test", &*dataset.test, tested)?;
    println!(
        "\nLoading takes the time: {count} of the pictures as PNG files of {side}×{side} pixels, {:.0} kB each, epochs: {}, batches of {}",
        bytes as f64 / count as f64 / 1e3,
        second.epochs,
        second.batch_size
    );
    let compared = experiment::loading_bound(scratch.path(), rounds, &second, &recorder)?;
    compared.print(tested);
    let title = "Pictures in PNG files: loading takes the time";
    compared.draw(&arguments.output, "loading-bound", title, 2)?;
    println!("\nThe timelines are in {}", arguments.output.display());
    Ok(())
}
