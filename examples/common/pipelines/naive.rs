//! A training loop as one writes it first: one thread does everything in turn, and begins anew in every epoch.

use std::time::Instant;

use feedline_pipeline::order::Order;
use feedline_pipeline::transform::PreparedTransform;
use feedline_pipeline::{BoxError, Source};
use tracing::trace_span;

use super::learner::Learner;
use super::{Done, TARGET, Task};

/// Trains on one source, and tests on another.
pub(crate) fn run(
    task: &Task,
    [train, test]: [&dyn Source; 2],
    learner: &mut Learner,
) -> Result<Done, BoxError> {
    let [augmented, plain] = &task.transforms;
    let mut augmented = augmented.prepare(train.shape(), task.seed)?;
    let mut plain = plain.prepare(test.shape(), task.seed)?;
    // The loader's order, so that only the pipeline differs.
    let order = Order::shuffled(train.len(), task.seed);
    let mut done = Done::default();
    for epoch in 0..task.epochs {
        let start = Instant::now();
        let order = order.epoch(epoch);
        let indices: Vec<_> = (0..train.len()).map(|place| order.index(place)).collect();
        let mut loss = 0.0;
        for indices in indices.chunks_exact(task.batch_size) {
            let (images, labels) = load(train, indices, epoch, &mut augmented)?;
            loss += learner.train(&images, &labels)?;
        }
        let mut correct = 0;
        let indices: Vec<_> = (0..test.len()).collect();
        for indices in indices.chunks(task.batch_size) {
            let (images, labels) = load(test, indices, epoch, &mut plain)?;
            correct += learner.evaluate(&images, &labels)?;
        }
        done.epoch(loss, correct, start.elapsed());
    }
    Ok(done)
}

/// Reads and transforms samples and puts them side by side.
pub(crate) fn load(
    source: &dyn Source,
    indices: &[usize],
    epoch: u64,
    transform: &mut PreparedTransform,
) -> Result<(Vec<f32>, Vec<u32>), BoxError> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for &index in indices {
        let mut bytes = Vec::new();
        let sample =
            trace_span!(target: TARGET, "read").in_scope(|| source.sample(index, &mut bytes))?;
        labels.push(sample.label);
        let mut values = vec![0.0; transform.output_shape().elements()];
        trace_span!(target: TARGET, "transform")
            .in_scope(|| transform.apply(sample, epoch, index, &mut values))?;
        trace_span!(target: TARGET, "copy").in_scope(|| images.extend_from_slice(&values));
    }
    Ok((images, labels))
}
