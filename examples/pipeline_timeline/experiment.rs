//! The two experiments: one in which training takes the time, and one in which loading does.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use feedline_pipeline::dataset::Dataset;
use feedline_pipeline::{BoxError, Source};
use feedline_trainer::models;
use feedline_trainer::nn::Sequential;

use crate::learner::Learner;
use crate::measured::{Done, Measured, median};
use crate::recorder::Recorder;
use crate::storage::{Files, PictureFolder, RecordsInTurn, record_format, write_records};
use crate::task::Task;
use crate::{fed, naive};

/// The network: its dropout is that of the course.
fn network(seed: u64) -> Result<Sequential, BoxError> {
    Ok(models::cifar_cnn(0.5, seed, &Device::Cpu)?)
}

/// Medians of the same training behind both pipelines.
pub(crate) struct Compared {
    pub(crate) naive: Measured,
    pub(crate) fed: Measured,
}

/// Runs both in turn.
fn compare(
    rounds: usize,
    recorder: &Recorder,
    task: &Task,
    mut naive: impl FnMut(&mut Learner) -> Result<Done, BoxError>,
    mut fed: impl FnMut(&mut Learner) -> Result<Done, BoxError>,
) -> Result<Compared, BoxError> {
    let network = network(task.seed)?;
    // The first step touches memory for the first time: that is to be nobody's time.
    let row = 3 * task.crop * task.crop;
    let (images, labels) = (vec![0.0; task.batch_size * row], vec![0; task.batch_size]);
    Learner::new(&network, 0)?.train(&images, &labels)?;
    let (mut naive_runs, mut fed_runs) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let measure = |name: &str, run: &mut dyn FnMut(&mut Learner) -> _| {
            let mut learner = Learner::new(&network, task.seed)?;
            let measured = Measured::of(recorder, || run(&mut learner))?;
            let wall = measured.wall.as_secs_f64();
            eprintln!("  round {} of {rounds}, {name}: {wall:.2} s", round + 1);
            Ok::<_, BoxError>(measured)
        };
        naive_runs.push(measure("naive", &mut naive)?);
        fed_runs.push(measure("Feedline", &mut fed)?);
    }
    let mut all = naive_runs.iter().chain(&fed_runs);
    let same = all.next().is_none_or(|first| {
        all.all(|run| (run.fingerprint, &run.history) == (first.fingerprint, &first.history))
    });
    if !same {
        return Err("the pipelines did not train to the same weights: please report this".into());
    }
    match (median(naive_runs), median(fed_runs)) {
        (Some(naive), Some(fed)) => Ok(Compared { naive, fed }),
        _ => Err("there must be a round".into()),
    }
}

/// Small pictures as they are: they are read and transformed in no time.
pub(crate) fn training_bound(
    dataset: &Dataset,
    folder: &Path,
    rounds: usize,
    task: &Task,
    recorder: &Arc<Recorder>,
) -> Result<Compared, BoxError> {
    let paths = ["train.bin", "test.bin"].map(|name| folder.join(name));
    let (shape, classes) = (dataset.train.shape(), dataset.train.classes());
    write_records(&paths[0], dataset.train.clone(), recorder)?;
    write_records(&paths[1], dataset.test.clone(), recorder)?;
    let naive = |learner: &mut Learner| {
        let mut train = RecordsInTurn::new(&paths[0], shape, recorder)?;
        let mut test = RecordsInTurn::new(&paths[1], shape, recorder)?;
        let history = naive::run(task, &mut train, &mut test, learner, recorder)?;
        Ok(Done::new(history, learner))
    };
    let fed = |learner: &mut Learner| {
        let paths = [&*paths[0], &*paths[1]];
        let history = fed::run(
            task,
            paths,
            record_format(shape, classes),
            learner,
            recorder,
        )?;
        Ok(Done::new(history, learner))
    };
    compare(rounds, recorder, task, naive, fed)
}

/// Pictures in PNG files, as photographs lie on a disk: to unpack one takes longer than to train on it.
pub(crate) fn loading_bound(
    pictures: &[PictureFolder; 2],
    folder: &Path,
    rounds: usize,
    task: &Task,
    recorder: &Arc<Recorder>,
) -> Result<Compared, BoxError> {
    let [train, test] = pictures;
    let format = record_format(Files::shape(train), train.classes());
    let naive = |learner: &mut Learner| {
        let (mut train, mut test) = (train.clone(), test.clone());
        let history = naive::run(task, &mut train, &mut test, learner, recorder)?;
        Ok(Done::new(history, learner))
    };
    let fed = |learner: &mut Learner| {
        let start = Instant::now();
        let paths = ["cached-train.bin", "cached-test.bin"].map(|name| folder.join(name));
        for (path, pictures) in paths.iter().zip(pictures) {
            write_records(path, Arc::new(pictures.clone()), recorder)?;
        }
        let cache = start.elapsed();
        let files = [&*paths[0], &*paths[1]];
        let history = fed::run(task, files, format, learner, recorder)?;
        // The next round makes its own.
        paths.iter().try_for_each(fs::remove_file)?;
        Ok(Done {
            cache: Some(cache),
            ..Done::new(history, learner)
        })
    };
    compare(rounds, recorder, task, naive, fed)
}
