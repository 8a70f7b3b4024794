//! Batches whose samples lie in the GPU's memory, all of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaSlice, CudaStream};

use super::exchange::Seek;
use super::produce::Produce;
use super::slot::Slot;
use super::staging::{Staging, sections};
use super::streaming::{u32_bytes, write_plans};
use super::transform::{DeviceTransform, Inputs, Outputs};
use super::{CudaElement, Gpu, Progress};
use crate::batch::BatchInfo;
use crate::error::{Error, Result};
use crate::loader::{Loader, LoaderBuilder};
use crate::order::{Draw, EpochOrder, GlobalBatches, Order, Shard, Tail};
use crate::sink::Host;
use crate::source::Source;
use crate::transform::{Program, SampleKey};

/// Stored bytes and labels of a whole source.
#[derive(Debug)]
pub(super) struct Samples {
    pixels: CudaSlice<u8>,
    /// Four bytes each.
    labels: CudaSlice<u8>,
}

impl Samples {
    /// The device's bytes of `source`'s samples.
    pub(super) fn gpu_bytes(source: &dyn Source) -> usize {
        let sample = source.shape().elements().saturating_add(size_of::<u32>());
        source.len().saturating_mul(sample)
    }
}

/// How samples get to the device.
#[derive(Debug, Clone)]
pub(super) struct Upload {
    /// Samples that go together.
    pub(super) rows: usize,
    /// Where their pixels and labels are in pinned memory.
    pub(super) sections: [Range<usize>; 2],
    /// The loader's budget.
    pub(super) budget: usize,
    pub(super) workers: Option<usize>,
    pub(super) patience: Duration,
    pub(super) progress: Option<Progress>,
}

/// Samples go to the device in pieces of about this many bytes, or of an eighth of the budget.
const PIECE_BYTES: usize = 8 << 20;

/// While one piece is copied the next one is written.
const PIECES: usize = 2;

impl Upload {
    /// Of `source`, in so many bytes of memory.
    pub(super) fn new(source: &dyn Source, budget: usize, patience: Duration) -> Self {
        let sample = source.shape().elements();
        let rows = PIECE_BYTES.min(budget / 8) / sample.max(1);
        let rows = rows.clamp(1, source.len().max(1));
        let sections = sections([rows * sample, rows * size_of::<u32>()]);
        Self {
            rows,
            budget: budget.saturating_sub(PIECES * sections[1].end),
            sections,
            workers: None,
            patience,
            progress: None,
        }
    }

    /// The loader that reads the samples.
    fn builder(&self, source: Arc<dyn Source>) -> LoaderBuilder<Host<u8>> {
        let builder = Loader::builder(source)
            .batch_size(self.rows)
            .tail(Tail::Pad);
        let builder = builder.element::<u8>().memory_budget(self.budget);
        let mut builder = builder.stall_timeout(self.patience);
        builder.workers = self.workers;
        builder
    }

    /// The host's bytes that it takes.
    pub(super) fn host_bytes(&self, source: &Arc<dyn Source>) -> Result<usize> {
        let loader = self.builder(Arc::clone(source)).plan()?.bytes();
        Ok(loader + PIECES * self.sections[1].end)
    }

    /// Copies all samples of `source`, in the order of `stream`, and waits until they are there.
    pub(super) fn run(
        &self,
        gpu: &Gpu,
        stream: &Arc<CudaStream>,
        source: Arc<dyn Source>,
    ) -> Result<Samples> {
        let failed = Error::cuda("set memory aside for the samples");
        let (len, sample) = (source.len(), source.shape().elements());
        // SAFETY: all of it is written below before anybody reads it.
        let pixels = unsafe { stream.alloc::<u8>(len * sample) };
        // SAFETY: as above.
        let labels = unsafe { stream.alloc::<u8>(len * size_of::<u32>()) };
        let mut samples = Samples {
            pixels: pixels.map_err(&failed)?,
            labels: labels.map_err(&failed)?,
        };
        let context = gpu.stream().context();
        let [pixels, labels] = &self.sections;
        let staging = || Staging::new(context, labels.end, self.patience);
        let mut stagings = [staging()?, staging()?];

        let mut loader = self.builder(source).build()?;
        let mut done = 0;
        for (batch, number) in loader.epoch(0).zip(0..) {
            let batch = batch?;
            let rows = batch.info().samples;
            let staging = &mut stagings[number % PIECES];
            let bytes = staging.bytes()?;
            bytes[pixels.clone()].copy_from_slice(batch.pixels());
            u32_bytes(batch.labels(), &mut bytes[labels.clone()]);
            let of =
                |section: &Range<usize>, bytes: usize| section.start..section.start + rows * bytes;
            let mut to = samples
                .pixels
                .slice_mut(done * sample..(done + rows) * sample);
            staging.copy(stream, of(pixels, sample), &mut to)?;
            let mut to = samples.labels.slice_mut(4 * done..4 * (done + rows));
            staging.copy(stream, of(labels, 4), &mut to)?;
            done += rows;
            if let Some(progress) = &self.progress {
                progress.call(done, len);
            }
        }
        let arrived = stream.synchronize();
        arrived.map_err(Error::cuda("copy the samples"))?;
        Ok(samples)
    }
}

/// Has the device gather and transform samples that it has.
#[derive(Debug)]
pub(super) struct Resident<T: CudaElement> {
    pub(super) samples: Samples,
    pub(super) program: Program<T>,
    pub(super) transform: DeviceTransform<T>,
    pub(super) order: Order,
    pub(super) batches: GlobalBatches,
    pub(super) shard: Shard,
    pub(super) seed: u64,
    pub(super) next: Next,
}

/// The batch that comes next.
#[derive(Debug)]
pub(super) struct Next {
    epoch: u64,
    step: usize,
    order: EpochOrder,
    draws: Vec<Draw>,
}

impl Next {
    pub(super) fn new(order: &Order, rows: usize) -> Self {
        Self {
            epoch: 0,
            step: 0,
            order: order.epoch(0),
            draws: Vec::with_capacity(rows),
        }
    }
}

impl<T: CudaElement> Produce<T> for Resident<T> {
    fn seek(&mut self, seek: Seek) -> Result<()> {
        self.next.order = self.order.epoch(seek.epoch);
        (self.next.epoch, self.next.step) = (seek.epoch, seek.step);
        Ok(())
    }

    fn fill(&mut self, slot: &mut Slot<T>) -> Result<()> {
        let Next { epoch, step, .. } = self.next;
        let all = self.batches.rows(step, self.shard);
        let draws = &mut self.next.draws;
        self.batches
            .draw(&self.next.order, &all, 0..all.samples, draws);
        slot.info = BatchInfo::new(&all, epoch, step);
        slot.indices.clear();
        slot.indices.extend(draws.iter().map(|draw| draw.index));
        let seed = self.seed;
        let samples = draws.iter().map(|draw| {
            let Draw { index, repeat } = *draw;
            // There are fewer samples than can be counted in 32 bits.
            (
                index as u32,
                SampleKey {
                    seed,
                    epoch,
                    index,
                    repeat,
                },
            )
        });
        let write = |bytes: &mut [u8]| write_plans(&self.program, bytes, samples);
        slot.fill(write, |stream, slot| {
            let inputs = Inputs {
                plans: slot.input.as_view(),
                pixels: self.samples.pixels.as_view(),
                labels: self.samples.labels.as_view(),
            };
            let mut outputs = Outputs {
                lines: &mut slot.lines,
                images: &mut slot.images,
                labels: &mut slot.labels,
            };
            self.transform
                .apply(stream, all.rows, &inputs, &mut outputs)
        })?;
        self.next.step += 1;
        if self.next.step == self.batches.steps() {
            let epoch = epoch.wrapping_add(1);
            self.seek(Seek {
                epoch,
                step: 0,
                failed: 0,
            })?;
        }
        Ok(())
    }
}
