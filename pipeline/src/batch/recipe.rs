//! How a worker fills its part of a slot.

use std::sync::Arc;

use tracing::trace_span;

use super::foreign::{guarded, panicked, verify};
use super::{Activity, BatchInfo, Failure, OnError, Part, StageTimer};
use crate::error::{Error, Result};
use crate::order::{Draw, EpochOrder, GlobalBatches, Rows, Shard};
use crate::random::Random;
use crate::source::{Shape, Source};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::transform::{Element, Program, SampleKey, Scratch};

/// How many samples are drawn at a time: one draw is a long chain of operations, many overlap.
const DRAWS: usize = 64;

/// How many other samples are tried in the place of one that failed.
const REPLACEMENTS: usize = 8;

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
    /// Of the source, asked once.
    pub(crate) classes: usize,
}

/// Which batch.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) epoch: u64,
    pub(crate) step: usize,
    pub(crate) order: EpochOrder,
    /// Whether this is where the stream begins, anew or in another epoch, rather than where it goes on.
    pub(crate) fresh: bool,
}

/// A worker's own memory.
pub(crate) struct WorkerMemory {
    /// For sources that decode.
    bytes: Vec<u8>,
    draws: Vec<Draw>,
    scratch: Scratch,
    pub(crate) timer: StageTimer,
    /// Shared with those who wait for the worker.
    pub(crate) activity: Arc<Activity>,
}

impl<T: Element> Recipe<T> {
    /// The shape of a row.
    pub(crate) fn shape(&self) -> Shape {
        self.program.output_shape()
    }

    /// What the batch of `step` will hold.
    pub(crate) fn info(&self, epoch: u64, step: usize) -> BatchInfo {
        BatchInfo::new(&self.batches.rows(step, self.shard), epoch, step)
    }

    pub(crate) fn worker_memory(&self, activity: Arc<Activity>) -> WorkerMemory {
        WorkerMemory {
            bytes: Vec::with_capacity(self.source.scratch_bytes()),
            draws: Vec::with_capacity(DRAWS),
            scratch: self.program.scratch(),
            timer: StageTimer::new(),
            activity,
        }
    }

    /// The bytes of a [`worker_memory`](Self::worker_memory).
    pub(crate) fn worker_bytes(source: &dyn Source, program: &Program<T>) -> usize {
        let own = DRAWS * size_of::<Draw>() + program.scratch_bytes();
        source.scratch_bytes().saturating_add(own)
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
            if place.fresh {
                verify(&*self.source)?;
            }
            self.look_ahead(place, &rows)?;
        }
        let elements = self.shape().elements();
        let samples = rows.samples.clamp(part.rows.start, part.rows.end) - part.rows.start;
        for row in 0..samples {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(());
            }
            if row % DRAWS == 0 {
                let ahead = row..samples.min(row + DRAWS);
                let ahead = part.rows.start + ahead.start..part.rows.start + ahead.end;
                let order = &place.order;
                self.batches.draw(order, &rows, ahead, &mut memory.draws);
            }
            let draw = memory.draws[row % DRAWS];
            let output = &mut part.pixels[row * elements..(row + 1) * elements];
            let mut used = draw;
            let ahead = memory.draws.get(row % DRAWS + 1).map(|draw| draw.index);
            let mut result = self.read(draw, ahead, place.epoch, memory, output);
            if let Err(error) = result {
                if self.on_error == OnError::Stop {
                    return Err(error);
                }
                failures.push(Failure {
                    epoch: place.epoch,
                    step: place.step,
                    row: part.rows.start + row,
                    index: draw.index,
                    error,
                });
                if failures.len() > self.on_error.at_most() {
                    // The consumer will not take this batch.
                    return Ok(());
                }
                if let OnError::Skip { .. } = self.on_error {
                    // The row becomes padding when all parts are done.
                    continue;
                }
                (used, result) = self.replace(draw, place, memory, output);
            }
            part.labels[row] = result?;
            part.indices[row] = used.index;
            part.repeats[row] = used.repeat;
        }
        part.pixels[samples * elements..].fill(T::default());
        part.labels[samples..].fill(0);
        Ok(())
    }

    /// Where the order goes through windows, tells the source which samples come next and which are done with.
    fn look_ahead(&self, place: &Place, rows: &Rows) -> Result<()> {
        let order = &place.order;
        let [first, last] =
            [0, rows.samples.saturating_sub(1)].map(|row| self.batches.position(rows, row));
        let (Some(begin), Some(end)) = (order.window_of(first), order.window_of(last)) else {
            return Ok(());
        };
        // Windows may be shorter than batches, so that several begin at once.
        let (next, done) = if place.fresh {
            (begin..end + 2, 0..0)
        } else {
            // Of this replica's rows of the batch before.
            let before = |position: usize| {
                let before = position.saturating_sub(self.batches.batch_size());
                order.window_of(before).unwrap_or(begin)
            };
            // Other workers may still be at the end of the window before this one.
            let done = before(first).saturating_sub(1)..begin.saturating_sub(1);
            (before(last) + 2..end + 2, done)
        };
        guarded(|| {
            if place.fresh {
                // What was read before, in another place.
                self.source.done_with(0..self.source.len());
            }
            next.take_while(|&window| window < order.windows())
                .flat_map(|window| order.window_ranges(window))
                .for_each(|range| self.source.will_need(range));
            done.flat_map(|window| order.window_ranges(window))
                .for_each(|range| self.source.done_with(range));
        })
        .map_err(panicked("will_need or done_with"))
    }

    /// Writes another sample of the epoch in the place of one that failed, and returns which, and its label.
    fn replace(
        &self,
        failed: Draw,
        place: &Place,
        memory: &mut WorkerMemory,
        output: &mut [T],
    ) -> (Draw, Result<u32>) {
        let mut random = Random::new([
            REPLACE,
            self.seed,
            place.epoch,
            failed.index as u64,
            failed.repeat,
        ]);
        let mut attempts = 0;
        loop {
            attempts += 1;
            // Never from outside the epoch: what is skipped or has no weight stays out.
            let position = random.below(place.order.len() as u64) as usize;
            let draw = Draw {
                repeat: random.next_u64(),
                ..place.order.draw(position)
            };
            let label = self.read(draw, None, place.epoch, memory, output);
            if label.is_ok() || attempts == REPLACEMENTS {
                return (draw, label);
            }
        }
    }

    /// Writes one transformed sample into `output` and returns its label. `ahead` is the index of the sample that comes
    /// next. A panic in the source or in a user's `map` becomes an error.
    fn read(
        &self,
        draw: Draw,
        ahead: Option<usize>,
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
        if let Some(index) = ahead {
            // A hint: if it panics, so will the sample itself, when its turn comes.
            let _ = guarded(|| self.source.prefetch(index));
        }
        memory.activity.read(draw.index);
        let mut timing = memory.timer.begin();
        // What a panic leaves half-written is written again before anybody reads it.
        let label = guarded(|| {
            let sample = trace_span!("read", sample = draw.index)
                .in_scope(|| self.source.sample(draw.index, &mut memory.bytes))?;
            self.check(draw.index, sample.pixels.len(), sample.label)?;
            if let Some(timing) = &mut timing {
                timing.read(sample.pixels);
            }
            memory.activity.transform();
            trace_span!("transform", sample = draw.index)
                .in_scope(|| self.program.apply(sample, key, &mut memory.scratch, output))?;
            Ok(sample.label)
        });
        memory.timer.end(timing);
        label.unwrap_or_else(|message| {
            Err(Error::WorkerPanic {
                index: draw.index,
                message,
            })
        })
    }

    /// A user's source may not keep what it promises.
    fn check(&self, index: usize, bytes: usize, label: u32) -> Result<()> {
        let (shape, classes) = (self.program.input_shape(), self.classes);
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
