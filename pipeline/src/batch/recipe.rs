//! How a worker fills its part of a slot.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::{BatchInfo, Failure, OnError, Part};
use crate::error::{Error, Result};
use crate::order::{Draw, EpochOrder, GlobalBatches, Rows, Shard};
use crate::random::Random;
use crate::source::{Shape, Source};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::transform::{Element, Program, SampleKey, Scratch};

/// How many other samples are tried in the place of one that failed.
const REPLACEMENTS: u64 = 8;

/// Keeps the choice of replacements apart from all other random choices.
const REPLACE: u64 = 0x7265_706c_6163_6521;

/// All that a batch follows from, besides its epoch and step.
pub(crate) struct Recipe<T: Element> {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) program: Program<T>,
    pub(crate) batches: GlobalBatches,
    pub(crate) shard: Shard,
    pub(crate) seed: u64,
    pub(crate) on_error: OnError,
}

/// Which batch.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) step: usize,
    pub(crate) order: EpochOrder,
}

/// A worker's own memory.
pub(crate) struct WorkerMemory {
    /// For sources that decode.
    bytes: Vec<u8>,
    scratch: Scratch,
}

impl<T: Element> Recipe<T> {
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

    pub(crate) fn worker_memory(&self) -> WorkerMemory {
        WorkerMemory {
            bytes: Vec::with_capacity(self.program.input_shape().elements()),
            scratch: self.program.scratch(),
        }
    }

    /// The bytes of a [`worker_memory`](Self::worker_memory).
    pub(crate) fn worker_bytes(program: &Program<T>) -> usize {
        program.input_shape().elements() + program.scratch_bytes()
    }

    /// Fills `part` with its rows of the batch at `place`; stops early once `cancelled`. What failed and was let pass is
    /// added to `failures`.
    pub(crate) fn fill(
        &self,
        part: &mut Part<'_, T>,
        place: &Place,
        memory: &mut WorkerMemory,
        cancelled: &AtomicBool,
        failures: &mut Vec<Failure>,
    ) -> Result<()> {
        let rows = self.batches.rows(place.step, self.shard);
        if part.rows.start == 0 {
            // Foreign code, too. The batch's first sample stands for it.
            let first = || place.order.index(self.batches.position(&rows, 0));
            catch_unwind(AssertUnwindSafe(|| self.look_ahead(place, &rows)))
                .unwrap_or_else(|panic| Err(panicked(first(), &*panic)))?;
        }
        let elements = self.shape().elements();
        let samples = rows.samples.clamp(part.rows.start, part.rows.end) - part.rows.start;
        for row in 0..samples {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            let position = self.batches.position(&rows, part.rows.start + row);
            let draw = place.order.draw(position);
            let output = &mut part.pixels[row * elements..(row + 1) * elements];
            let (index, label) = match self.read(draw, place.epoch, memory, output) {
                Ok(label) => (draw.index, label),
                Err(error) if self.on_error == OnError::Stop => return Err(error),
                Err(error) => {
                    failures.push(Failure {
                        epoch: place.epoch,
                        step: place.step,
                        row: part.rows.start + row,
                        index: draw.index,
                        error,
                    });
                    match self.on_error {
                        OnError::Replace { .. } => {
                            self.replace(draw, place.epoch, memory, output)?
                        }
                        // The row becomes padding when all parts are done.
                        _ => continue,
                    }
                }
            };
            part.labels[row] = label;
            part.indices[row] = index;
        }
        part.pixels[samples * elements..].fill(T::default());
        part.labels[samples..].fill(0);
        Ok(())
    }

    /// At an epoch's start, has the source make sure that it is still what it was. Where the order goes through windows,
    /// tells the source at the start of each which samples come next and which are done with.
    fn look_ahead(&self, place: &Place, rows: &Rows) -> Result<()> {
        if place.step == 0 {
            self.source.verify()?;
        }
        let first = self.batches.position(rows, 0);
        let order = &place.order;
        let Some(window) = order.window_of(first) else {
            return Ok(());
        };
        // The batch before this one belongs to the window before, or there is none.
        let begins = place.step == 0
            || order.window_of(first.saturating_sub(self.batches.batch_size())) != Some(window);
        if !begins {
            return Ok(());
        }
        if place.step == 0 {
            order
                .window_ranges(window)
                .for_each(|range| self.source.will_need(range));
        }
        if window + 1 < order.windows() {
            order
                .window_ranges(window + 1)
                .for_each(|range| self.source.will_need(range));
        }
        // Other workers may still be at the end of the window before this one.
        if window >= 2 {
            order
                .window_ranges(window - 2)
                .for_each(|range| self.source.done_with(range));
        }
        Ok(())
    }

    /// Writes a sample in the place of one that failed, and returns its index and label.
    fn replace(
        &self,
        failed: Draw,
        epoch: u64,
        memory: &mut WorkerMemory,
        output: &mut [T],
    ) -> Result<(usize, u32)> {
        let mut random = Random::new([
            REPLACE,
            self.seed,
            epoch,
            failed.index as u64,
            failed.repeat,
        ]);
        let mut attempt = || {
            let draw = Draw {
                index: random.below(self.source.len() as u64) as usize,
                repeat: random.next_u64(),
            };
            let label = self.read(draw, epoch, memory, output)?;
            Ok((draw.index, label))
        };
        let mut last = attempt();
        for _ in 1..REPLACEMENTS {
            if last.is_ok() {
                break;
            }
            last = attempt();
        }
        last
    }

    /// Writes one transformed sample into `output` and returns its label. A panic in the source or in a user's `map`
    /// becomes an error.
    fn read(
        &self,
        draw: Draw,
        epoch: u64,
        memory: &mut WorkerMemory,
        output: &mut [T],
    ) -> Result<u32> {
        let key = SampleKey {
            seed: self.seed,
            epoch,
            index: draw.index,
            repeat: draw.repeat,
        };
        // What a panic leaves half-written is written again before anybody reads it.
        catch_unwind(AssertUnwindSafe(|| {
            let sample = self.source.sample(draw.index, &mut memory.bytes)?;
            self.check(draw.index, sample.pixels.len(), sample.label)?;
            self.program
                .apply(sample, key, &mut memory.scratch, output)?;
            Ok(sample.label)
        }))
        .unwrap_or_else(|panic| Err(panicked(draw.index, &*panic)))
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

fn panicked(index: usize, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let message = text.unwrap_or("(no message)").to_owned();
    Error::WorkerPanic { index, message }
}
