//! The same training behind Feedline's loader: workers prepare batches ahead, as many as pay, and write rows where they are
//! trained on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::Cached;
use feedline_pipeline::{BoxError, Loader, Source, Tail, Transform};
use tracing::trace_span;

use super::learner::Learner;
use super::{Done, TARGET, Task};

/// Trains on one source, and tests on another.
pub(crate) fn run(
    task: &Task,
    [train, test]: [Arc<dyn Source>; 2],
    learner: &mut Learner,
) -> Result<Done, BoxError> {
    let [augmented, plain] = &task.transforms;
    let mut train = loader(task, train, augmented).shuffle(true).build()?;
    let mut test = loader(task, test, plain).tail(Tail::Pad).build()?;
    let mut done = Done::default();
    for epoch in 0..task.epochs {
        let start = Instant::now();
        let mut loss = 0.0;
        for batch in train.epoch(epoch) {
            let batch = batch?;
            loss += learner.train(batch.pixels(), batch.labels())?;
        }
        let mut correct = 0;
        for batch in test.epoch(epoch) {
            let batch = batch?;
            // The last batch is padded: only its first rows are samples.
            let samples = batch.info().samples;
            let images = &batch.pixels()[..samples * batch.shape().elements()];
            correct += learner.evaluate(images, &batch.labels()[..samples])?;
        }
        done.epoch(loss, correct, start.elapsed());
    }
    done.stats = Some(train.stats());
    Ok(done)
}

/// A loader that is left to find out itself how many workers and batches ahead pay.
pub(crate) fn loader(task: &Task, source: Arc<dyn Source>, transform: &Transform) -> LoaderBuilder {
    Loader::builder(source)
        .batch_size(task.batch_size)
        .seed(task.seed)
        .transform(transform.clone())
}

/// Decodes all samples once, into a file that is mapped from then on. Says how long that took.
pub(crate) fn cache<S: Source>(source: S, path: &Path) -> Result<(Cached<S>, Duration), BoxError> {
    let start = Instant::now();
    let cached = trace_span!(target: TARGET, "cache").in_scope(|| Cached::open(source, path))?;
    Ok((cached, start.elapsed()))
}
