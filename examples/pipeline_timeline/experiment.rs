//! The two experiments: one in which training takes the time, and one in which loading does.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use candle_core::Device;
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::source::{Decode, ImageFolder};
use feedline_pipeline::{BoxError, Source, Transform};
use feedline_trainer::models;
use feedline_trainer::nn::Sequential;
use feedline_trainer::run::SpanRecorder;

use crate::pipelines::{Compared, Task, compare, naive, optimised};

/// Pixels of each side that a picture is decoded to, and of what is cropped from it: those of CIFAR-10 and of TensorFlow's
/// tutorial.
const DECODED: usize = 32;
const CROP: usize = 24;

/// What is done to pictures is what that tutorial does.
pub(crate) fn task(epochs: u64, batch_size: usize, seed: u64) -> Task {
    let train = Transform::new()
        .random_crop(CROP, CROP, 0)
        .random_flip()
        .scale()
        .random_brightness(63.0 / 255.0)
        .random_contrast(0.2, 1.8);
    let test = Transform::new().center_crop(CROP, CROP).scale();
    Task {
        epochs,
        batch_size,
        seed,
        crop: CROP,
        transforms: [train, test].map(Transform::standardize),
    }
}

/// The network: its dropout is that of the course.
fn network(seed: u64) -> Result<Sequential, BoxError> {
    Ok(models::cifar_cnn(0.5, seed, &Device::Cpu)?)
}

/// Small pictures as they are, in a mapped file: they are read and transformed in no time.
pub(crate) fn training_bound(
    dataset: &Dataset,
    rounds: usize,
    task: &Task,
    recorder: &SpanRecorder,
) -> Result<Compared, BoxError> {
    let (train, test) = (&dataset.train, &dataset.test);
    let naive = |learner: &mut _| naive::run(task, [&**train, &**test], learner);
    let optimised = |learner: &mut _| {
        let sources = [train.clone(), test.clone()];
        optimised::run(task, sources, learner)
    };
    compare(
        rounds,
        &network(task.seed)?,
        task,
        recorder,
        naive,
        optimised,
    )
}

/// Pictures in the folders `train` and `test`, as photographs lie on a disk: to decode one takes longer than to train on it.
pub(crate) fn loading_bound(
    folder: &Path,
    rounds: usize,
    task: &Task,
    recorder: &SpanRecorder,
) -> Result<Compared, BoxError> {
    let naive = |learner: &mut _| {
        let [train, test] = open(folder)?;
        naive::run(task, [&train, &test], learner)
    };
    let optimised = |learner: &mut _| {
        let (mut sources, mut took) = (Vec::new(), Duration::ZERO);
        let paths = ["train.cache", "test.cache"].map(|name| folder.join(name));
        for (pictures, path) in open(folder)?.into_iter().zip(&paths) {
            let (cached, time) = optimised::cache(pictures, path)?;
            sources.push(Arc::new(cached) as Arc<dyn Source>);
            took += time;
        }
        let sources = [sources[0].clone(), sources[1].clone()];
        let mut done = optimised::run(task, sources, learner)?;
        done.cache = Some(took);
        // The next round makes its own.
        paths.iter().try_for_each(fs::remove_file)?;
        Ok(done)
    };
    compare(
        rounds,
        &network(task.seed)?,
        task,
        recorder,
        naive,
        optimised,
    )
}

/// What is to be trained on, and what to be tested on.
pub(crate) fn open(folder: &Path) -> Result<[ImageFolder; 2], BoxError> {
    let decode = Decode::rgb(DECODED, DECODED);
    let train = ImageFolder::open(folder.join("train"), decode)?;
    let test = ImageFolder::open_with_classes(folder.join("test"), decode, train.class_names())?;
    Ok([train, test])
}
