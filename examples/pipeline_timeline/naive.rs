//! A training loop as one writes it first: one thread does everything in turn, and begins anew in every epoch.

use feedline_pipeline::order::Order;
use feedline_pipeline::transform::PreparedTransform;
use feedline_pipeline::{BoxError, Sample};

use crate::learner::Learner;
use crate::recorder::{Recorder, Stage};
use crate::storage::Files;
use crate::task::{History, Task};

pub(crate) fn run(
    task: &Task,
    train: &mut dyn Files,
    test: &mut dyn Files,
    learner: &mut Learner,
    recorder: &Recorder,
) -> Result<History, BoxError> {
    let [augmented, plain] = task.transforms();
    let mut augmented = augmented.prepare(train.shape(), task.seed)?;
    let mut plain = plain.prepare(test.shape(), task.seed)?;
    // The loader's order, so that only the pipeline differs.
    let order = Order::shuffled(train.count(), task.seed);
    let mut history = History::default();
    for epoch in 0..task.epochs {
        train.open()?;
        let order = order.epoch(epoch);
        let mut loss = 0.0;
        for step in 0..train.count() / task.batch_size {
            let positions = step * task.batch_size..(step + 1) * task.batch_size;
            let indices: Vec<_> = positions.map(|position| order.index(position)).collect();
            let (images, labels) = load(train, &indices, epoch, &mut augmented, recorder)?;
            loss += recorder.time(Stage::Train, || learner.train(&images, &labels))?;
        }
        test.open()?;
        let mut correct = 0;
        let indices: Vec<_> = (0..test.count()).collect();
        for indices in indices.chunks(task.batch_size) {
            let (images, labels) = load(test, indices, 0, &mut plain, recorder)?;
            correct += recorder.time(Stage::Evaluate, || learner.evaluate(&images, &labels))?;
        }
        history.epoch(loss, correct);
    }
    Ok(history)
}

/// Reads and transforms samples and puts them side by side.
pub(crate) fn load(
    files: &mut dyn Files,
    indices: &[usize],
    epoch: u64,
    transform: &mut PreparedTransform,
    recorder: &Recorder,
) -> Result<(Vec<f32>, Vec<u32>), BoxError> {
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for &index in indices {
        let (bytes, label) = files.read(index)?;
        let sample = Sample {
            pixels: &bytes,
            label,
        };
        let mut values = vec![0.0; transform.output_shape().elements()];
        recorder.time(Stage::Transform, || {
            transform.apply(sample, epoch, index, &mut values)
        })?;
        recorder.time(Stage::Copy, || images.extend_from_slice(&values));
        labels.push(label);
    }
    Ok((images, labels))
}
