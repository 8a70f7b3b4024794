//! How a worker fills a slot.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{BatchInfo, Slot};
use crate::error::{Error, Result};
use crate::order::{EpochOrder, GlobalBatches, Shard};
use crate::source::{Shape, Source};
use crate::transform::{Program, SampleKey};

/// All that a batch follows from, besides its epoch and step.
pub(crate) struct Recipe {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) program: Program,
    pub(crate) batches: GlobalBatches,
    pub(crate) shard: Shard,
    pub(crate) seed: u64,
}

impl Recipe {
    /// The shape of a row.
    pub(crate) fn shape(&self) -> Shape {
        self.program.output_shape()
    }

    /// What the batch of `step` will hold.
    pub(crate) fn info(&self, epoch: u64, step: usize) -> BatchInfo {
        let rows = self.batches.rows(step, self.shard);
        BatchInfo {
            epoch,
            step,
            rows: rows.rows,
            samples: rows.samples,
            global_samples: rows.global_samples,
            first_row: rows.first_row,
        }
    }

    /// Fills `slot` with the batch of `epoch` and `step`; stops early once `cancelled`. A panic in the source or
    /// in a user's `map` becomes an error.
    pub(crate) fn fill(
        &self,
        slot: &mut Slot,
        order: &EpochOrder,
        (epoch, step): (u64, usize),
        cancelled: &AtomicBool,
    ) -> Result<()> {
        let rows = self.batches.rows(step, self.shard);
        let elements = self.shape().elements();
        slot.pixels.resize(rows.rows * elements, 0.0);
        slot.labels.resize(rows.rows, 0);
        slot.indices.clear();
        for row in 0..rows.samples {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            let index = order.index(self.batches.position(&rows, row));
            let output = &mut slot.pixels[row * elements..(row + 1) * elements];
            let key = SampleKey {
                seed: self.seed,
                epoch,
                index,
            };
            // What a panic leaves half-written is written again before anybody reads it.
            let label = catch_unwind(AssertUnwindSafe(|| {
                self.read(key, &mut slot.scratch, output)
            }))
            .unwrap_or_else(|panic| {
                Err(Error::WorkerPanic {
                    index,
                    message: message(&*panic),
                })
            })?;
            slot.labels[row] = label;
            slot.indices.push(index);
        }
        slot.pixels[rows.samples * elements..].fill(0.0);
        slot.labels[rows.samples..].fill(0);
        Ok(())
    }

    /// Writes one transformed sample into `output` and returns its label.
    fn read(&self, key: SampleKey, scratch: &mut Vec<u8>, output: &mut [f32]) -> Result<u32> {
        let sample = self.source.sample(key.index, scratch)?;
        self.check(key.index, sample.pixels.len(), sample.label)?;
        self.program.apply(sample, key, output)?;
        Ok(sample.label)
    }

    /// A user's source may not keep what it promises.
    fn check(&self, index: usize, bytes: usize, label: u32) -> Result<()> {
        let (shape, classes) = (self.program.input_shape(), self.source.classes());
        let problem = if bytes != shape.elements() {
            format!(
                "it has {bytes} bytes, but the source's shape, {shape}, has {}",
                shape.elements()
            )
        } else if label as usize >= classes {
            format!("its label is {label}, but the source has {classes} classes")
        } else {
            return Ok(());
        };
        Err(Error::Sample {
            index,
            stage: "source",
            source: problem.into(),
        })
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no message)").to_owned()
}
