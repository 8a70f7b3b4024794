//! The same training behind Feedline's loader: mapped files, workers that prepare batches ahead, rows written in place.

use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::{RecordFile, RecordFormat};
use feedline_pipeline::{BoxError, Loader, Result, Sample, Shape, Source, Tail, Transform};

use crate::learner::Learner;
use crate::recorder::{Recorder, Stage};
use crate::task::{History, Task};

/// Trains on one record file, and tests on another.
pub(crate) fn run(
    task: &Task,
    [train, test]: [&Path; 2],
    format: RecordFormat,
    learner: &mut Learner,
    recorder: &Arc<Recorder>,
) -> Result<History, BoxError> {
    let [augmented, plain] = task.transforms();
    let train = loader(task, train, format, augmented, recorder)?;
    let mut train = train.shuffle(true).build()?;
    let test = loader(task, test, format, plain, recorder)?;
    let mut test = test.tail(Tail::Pad).build()?;
    let mut history = History::default();
    for epoch in 0..task.epochs {
        let mut loss = 0.0;
        let mut batches = train.epoch(epoch);
        while let Some(batch) = recorder.time(Stage::Wait, || batches.next()) {
            let batch = batch?;
            let learn = || learner.train(batch.pixels(), batch.labels());
            loss += recorder.time(Stage::Train, learn)?;
        }
        let mut correct = 0;
        let mut batches = test.epoch(epoch);
        while let Some(batch) = recorder.time(Stage::Wait, || batches.next()) {
            let batch = batch?;
            // The last batch is padded: only its first rows are samples.
            let samples = batch.info().samples;
            let images = &batch.pixels()[..samples * batch.shape().elements()];
            let evaluate = || learner.evaluate(images, &batch.labels()[..samples]);
            correct += recorder.time(Stage::Evaluate, evaluate)?;
        }
        history.epoch(loss, correct);
    }
    Ok(history)
}

/// A loader that is watched from outside: the source notes what is read, and a `map` that does nothing ends the transform.
pub(crate) fn loader(
    task: &Task,
    path: &Path,
    format: RecordFormat,
    transform: Transform,
    recorder: &Arc<Recorder>,
) -> Result<LoaderBuilder> {
    let source = Watched {
        source: recorder.time(Stage::Open, || RecordFile::open(path, format))?,
        recorder: recorder.clone(),
    };
    let recorder = recorder.clone();
    let transform = transform.map(move |_| {
        recorder.end(Stage::Transform);
        Ok(())
    });
    Ok(Loader::builder(source)
        .batch_size(task.batch_size)
        .seed(task.seed)
        .transform(transform))
}

/// A record file that notes when it is asked for samples. As it is mapped, it lends them where they lie: bytes that are not
/// in memory yet come when the transform touches them.
struct Watched {
    source: RecordFile,
    recorder: Arc<Recorder>,
}

impl Source for Watched {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn shape(&self) -> Shape {
        self.source.shape()
    }

    fn classes(&self) -> usize {
        self.source.classes()
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let sample = self
            .recorder
            .time(Stage::Read, || self.source.sample(index, scratch));
        self.recorder.begin();
        sample
    }

    fn scratch_bytes(&self) -> usize {
        self.source.scratch_bytes()
    }

    fn verify(&self) -> Result<()> {
        self.source.verify()
    }

    fn prefetch(&self, index: usize) {
        self.source.prefetch(index);
    }
}
