//! Photographs of wildlife in ten classes, and what a better input pipeline is worth.
//!
//!     cargo run --release --example photographs
//!     cargo run --release --example photographs -- --data DIR --epochs 20
//!
//! A university course gives its students a folder of JPEG files, 300×300 pixels each, with a sub-folder for each of ten
//! classes. A network is to learn them, and the input pipeline is to be made fast. The program one writes first opens,
//! decodes, shrinks and transforms picture after picture, in every epoch, while the network waits. Here it is in
//! `common/pipelines/naive.rs`, and in `optimised.rs` what takes its place:
//!
//! - `ImageFolder` finds the pictures, and decodes them when they are asked for;
//! - `Cached` has them decoded once, on all cores, into a file that later epochs, and later runs, map into memory;
//! - the loader transforms and batches ahead on threads of its own, and finds out by itself how many of them pay.
//!
//! Both train the same network on the same batches, and end with the same weights to the bit.

mod network;
#[path = "../common/pipelines/mod.rs"]
mod pipelines;
#[cfg(test)]
mod tests;
mod wildlife;

use std::fs;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use feedline_pipeline::source::{Decode, ImageFolder, split_stratified};
use feedline_pipeline::{BoxError, Source, Transform};

use network::{CROP, DECODED, network};
use pipelines::learner::Learner;
use pipelines::{Done, Task, compare, introduce, naive, optimised, record};

/// Learn to tell animals apart on photographs, behind a naive input pipeline and an optimised one
///
/// Prints what both took and how much the network has learnt, and draws when each stage was at work. Without --data it draws
/// its own photographs: ten animals in all kinds of landscape, 30 to 40 kB each.
#[derive(Parser)]
struct Arguments {
    /// Folder of JPEG or PNG files, with a sub-folder for each class [default: generated photographs]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Photographs to generate; a fifth of them is kept to test with
    #[arg(
        long,
        value_name = "N",
        default_value = "1000",
        conflicts_with = "data"
    )]
    photographs: NonZeroUsize,
    /// Leave the generated photographs in this folder, to be looked at, and for --data
    #[arg(long, value_name = "DIR", conflicts_with = "data")]
    keep: Option<PathBuf>,
    /// Folder for the timelines, as SVG and PNG
    #[arg(long, value_name = "DIR", default_value = "photographs")]
    output: PathBuf,
    /// How often the network sees each photograph
    #[arg(long, value_name = "N", default_value = "12")]
    epochs: NonZeroU64,
    /// Run each pipeline so often, in turn; the median runs are shown
    #[arg(long, value_name = "N", default_value = "1")]
    rounds: NonZeroUsize,
    /// What photographs, order, augmentation, weights and dropout follow from
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
    let scratch = tempfile::tempdir()?;
    let generated = scratch.path().join("photographs");
    let folder = match (&arguments.data, &arguments.keep) {
        (Some(data), _) => data,
        (None, keep) => {
            let folder = keep.as_ref().unwrap_or(&generated);
            if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
                let found = folder.display();
                return Err(format!(
                    "{found} is not empty: name a new folder to draw in, or train on what is there with --data {found}"
                )
                .into());
            }
            let start = Instant::now();
            wildlife::write(folder, arguments.photographs.get(), arguments.seed)?;
            println!(
                "Drawn in {:.1} s: {}\n",
                start.elapsed().as_secs_f64(),
                folder.display()
            );
            folder
        }
    };
    let photographs = open(folder)?;
    let classes = photographs.class_names().join(", ");
    println!("{} photographs of {classes}\n", photographs.len());
    fs::create_dir_all(&arguments.output)
        .map_err(|error| format!("can't make {}: {error}", arguments.output.display()))?;

    introduce();
    let task = task(arguments.epochs.get(), arguments.seed);
    let network = network(photographs.classes(), task.seed)?;
    let tested = split(Arc::new(photographs), task.seed)?[1].len();
    let cache = scratch.path().join("photographs.cache");
    let compared = compare(
        arguments.rounds.get(),
        &network,
        &task,
        &record(),
        |learner| train_naive(folder, &task, learner),
        |learner| train_optimised(folder, &cache, &task, learner),
    )?;
    compared.print(tested);
    let title = "300×300 JPEG photographs: loading takes the time";
    compared.draw(&arguments.output, "photographs", title, 2)?;
    println!("\nThe timelines are in {}", arguments.output.display());
    Ok(())
}

/// The photographs in a folder. They are decoded and shrunk when they are asked for, so this takes no time.
fn open(folder: &Path) -> feedline_pipeline::Result<ImageFolder> {
    ImageFolder::open(folder, Decode::rgb(DECODED, DECODED))
}

/// A fifth of the photographs is to test with.
fn split(photographs: Arc<dyn Source>, seed: u64) -> Result<[Arc<dyn Source>; 2], BoxError> {
    let parts = split_stratified(photographs, 0.2, seed)?;
    Ok([Arc::new(parts.train), Arc::new(parts.validation)])
}

/// Augmentation is what makes another picture of each photograph in each epoch. It is not cached.
fn task(epochs: u64, seed: u64) -> Task {
    let augmented = Transform::new()
        .random_crop(CROP, CROP, 0)
        .random_flip()
        .scale()
        .random_brightness(0.2)
        .random_contrast(0.7, 1.4);
    let plain = Transform::new().center_crop(CROP, CROP).scale();
    Task {
        epochs,
        batch_size: 32,
        seed,
        crop: CROP,
        transforms: [augmented, plain].map(Transform::standardize),
    }
}

/// As one writes it first.
fn train_naive(folder: &Path, task: &Task, learner: &mut Learner) -> Result<Done, BoxError> {
    let [train, test] = split(Arc::new(open(folder)?), task.seed)?;
    naive::run(task, [&*train, &*test], learner)
}

/// As Feedline does it: the photographs are decoded once, into the file `cache`.
fn train_optimised(
    folder: &Path,
    cache: &Path,
    task: &Task,
    learner: &mut Learner,
) -> Result<Done, BoxError> {
    let (cached, took) = optimised::cache(open(folder)?, cache)?;
    let sources = split(Arc::new(cached), task.seed)?;
    let mut done = optimised::run(task, sources, learner)?;
    done.cache = Some(took);
    // Every round makes its own, so that its time counts. Whoever keeps the file has saved that from the second run on.
    fs::remove_file(cache)?;
    Ok(done)
}
