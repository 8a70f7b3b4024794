//! Batches whose samples the host reads, one batch after the other.

use std::ops::Range;

use super::CudaElement;
use super::exchange::Seek;
use super::produce::Produce;
use super::slot::Slot;
use super::staging::sections;
use super::transform::{Arrange, DeviceTransform, Inputs, Outputs};
use crate::batch::{BatchInfo, HostBatch};
use crate::error::Result;
use crate::loader::Loader;
use crate::sink::Host;
use crate::source::Shape;
use crate::transform::lowered::PADDING;
use crate::transform::{Element, Program, SampleKey};

/// Has the host read samples as they are stored, and the device transform them.
#[derive(Debug)]
pub(super) struct StreamedBytes<T: CudaElement> {
    pub(super) loader: Loader<Host<u8>>,
    pub(super) program: Program<T>,
    pub(super) transform: DeviceTransform<T>,
}

/// Where in a slot's staging memory plans, labels and pixels are, for samples of `shape`.
pub(super) fn bytes_sections(rows: usize, plan_words: usize, shape: Shape) -> [Range<usize>; 3] {
    let row = size_of::<u32>();
    sections([rows * plan_words * row, rows * row, rows * shape.elements()])
}

impl<T: CudaElement> Produce<T> for StreamedBytes<T> {
    fn seek(&mut self, seek: Seek) -> Result<()> {
        self.loader.go_to((seek.epoch, seek.step), seek.failed)
    }

    fn fill(&mut self, slot: &mut Slot<T>) -> Result<()> {
        let mut batch = self.loader.next_batch()?;
        slot.describe(&mut batch);
        let BatchInfo { rows, epoch, .. } = batch.info();
        let words = self.program.plan_words();
        let [plans, labels, pixels] = bytes_sections(rows, words, self.program.input_shape());
        let seed = self.loader.seed();
        let draws = batch.indices().iter().zip(batch.repeats());
        let keys = draws.map(|(&index, &repeat)| SampleKey {
            seed,
            epoch,
            index,
            repeat,
        });
        let write = |bytes: &mut [u8]| {
            write_plans(&self.program, &mut bytes[plans.clone()], (0..).zip(keys));
            u32_bytes(batch.labels(), &mut bytes[labels.clone()]);
            bytes[pixels.clone()].copy_from_slice(batch.pixels());
        };
        slot.fill(write, |stream, slot| {
            let inputs = Inputs {
                plans: slot.input.slice(plans.clone()),
                pixels: slot.input.slice(pixels.clone()),
                labels: slot.input.slice(labels.clone()),
            };
            let mut outputs = Outputs {
                lines: &mut slot.lines,
                images: &mut slot.images,
                labels: &mut slot.labels,
            };
            self.transform.apply(stream, rows, &inputs, &mut outputs)
        })
    }
}

/// Has the host read and transform samples: what a function of the user's needs.
#[derive(Debug)]
pub(super) struct StreamedValues<T: CudaElement> {
    pub(super) loader: Loader<Host<T>>,
    pub(super) arrange: Arrange<T>,
}

/// Where in a slot's staging memory labels and values are, for rows of `shape`.
pub(super) fn values_sections<T: Element>(rows: usize, shape: Shape) -> [Range<usize>; 2] {
    let values = rows * shape.elements() * size_of::<T>();
    sections([rows * size_of::<u32>(), values])
}

impl<T: CudaElement> Produce<T> for StreamedValues<T> {
    fn seek(&mut self, seek: Seek) -> Result<()> {
        self.loader.go_to((seek.epoch, seek.step), seek.failed)
    }

    fn fill(&mut self, slot: &mut Slot<T>) -> Result<()> {
        let mut batch = self.loader.next_batch()?;
        slot.describe(&mut batch);
        let rows = batch.info().rows;
        let [labels, values] = values_sections::<T>(rows, batch.shape());
        let write = |bytes: &mut [u8]| {
            u32_bytes(batch.labels(), &mut bytes[labels.clone()]);
            T::store(batch.pixels(), &mut bytes[values.clone()]);
        };
        slot.fill(write, |stream, slot| {
            let values = slot.input.slice(values.clone());
            let labels = slot.input.slice(labels.clone());
            let inputs = (&values, &labels);
            let Slot { images, labels, .. } = slot;
            self.arrange.apply(stream, rows, inputs, images, labels)
        })
    }
}

impl<T: CudaElement> Slot<T> {
    /// Takes over what is known of a batch of the host's.
    fn describe<U: Element>(&mut self, batch: &mut HostBatch<U>) {
        self.info = batch.info();
        self.failures = batch.take_failures();
        self.indices.clear();
        self.indices.extend_from_slice(batch.indices());
    }
}

/// Writes the plans of rows of samples, and makes the other rows of `bytes` padding.
pub(super) fn write_plans<T: CudaElement>(
    program: &Program<T>,
    bytes: &mut [u8],
    samples: impl Iterator<Item = (u32, SampleKey)>,
) {
    let (words, _) = bytes.as_chunks_mut::<4>();
    let mut rows = words.chunks_exact_mut(program.plan_words());
    for ((sample, key), row) in samples.zip(&mut rows) {
        for (bytes, word) in row.iter_mut().zip(program.plan(key, sample)) {
            *bytes = word.to_ne_bytes();
        }
    }
    for row in rows {
        row[0] = PADDING.to_ne_bytes();
    }
}

/// Writes `numbers` into `bytes`, as they lie in memory.
pub(super) fn u32_bytes(numbers: &[u32], bytes: &mut [u8]) {
    let (all, _) = bytes.as_chunks_mut::<4>();
    for (bytes, number) in all.iter_mut().zip(numbers) {
        *bytes = number.to_ne_bytes();
    }
}
