//! What several test programs need.
#![allow(dead_code, reason = "each test program uses its own part")]

use feedline_pipeline::source::InMemory;
use feedline_pipeline::{HostBatch, Loader, Shape, Transform};

pub(crate) const SHAPE: Shape = Shape::new(3, 8, 8);

/// `len` pictures of pixels that differ, in ten classes.
pub(crate) fn pictures(len: usize) -> InMemory {
    let pixels = (0..len * SHAPE.elements()).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let labels = (0..len as u32).map(|i| i % 10);
    InMemory::new(SHAPE, 10, pixels.collect(), labels.collect()).unwrap()
}

/// Every operation that draws random numbers, and one of the user's.
pub(crate) fn augmentation() -> Transform {
    Transform::new()
        .random_crop(6, 7, 2)
        .random_flip()
        .scale()
        .random_brightness(0.3)
        .random_contrast(0.2, 1.8)
        .map(|mut sample| {
            sample.pixels[0] += sample.random.unit();
            Ok(())
        })
        .standardize()
}

/// A batch to the bit.
pub(crate) type Bits = (usize, Vec<u32>, Vec<u32>, Vec<usize>);

pub(crate) fn bits(batch: &HostBatch) -> Bits {
    let pixels = batch.pixels().iter().map(|value| value.to_bits()).collect();
    (
        batch.info().step,
        pixels,
        batch.labels().to_vec(),
        batch.indices().to_vec(),
    )
}

pub(crate) fn epoch_bits(loader: &mut Loader, epoch: u64) -> Vec<Bits> {
    loader
        .epoch(epoch)
        .map(|batch| bits(&batch.unwrap()))
        .collect()
}
