//! What several test programs need.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::io::Write;
use std::ops::Range;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::source::{InMemory, RecordFormat};
use feedline_pipeline::{HostBatch, Loader, Shape, Shard, Source, Transform};

pub(crate) const SHAPE: Shape = Shape::new(3, 8, 8);

/// `len` pictures of pixels that differ, in ten classes.
pub(crate) fn pictures(len: usize) -> InMemory {
    let pixels = (0..len * SHAPE.elements()).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8);
    let labels = (0..len as u32).map(|i| i % 10);
    InMemory::new(SHAPE, 10, pixels.collect(), labels.collect()).unwrap()
}

/// [`pictures`] in a file: a label byte, then the pixels.
pub(crate) const RECORDS: RecordFormat = RecordFormat {
    shape: SHAPE,
    classes: 10,
    record_length: 1 + SHAPE.elements(),
    label_offset: 0,
    pixel_offset: 1,
};

/// Some of a source's samples in a file of [`RECORDS`].
pub(crate) fn written(source: &dyn Source, samples: Range<usize>) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut scratch = Vec::new();
    for index in samples {
        let sample = source.sample(index, &mut scratch).unwrap();
        file.write_all(&[sample.label as u8]).unwrap();
        file.write_all(sample.pixels).unwrap();
    }
    file
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

/// What all replicas of a world together read of an epoch, batch by batch.
pub(crate) fn gathered(builder: &LoaderBuilder, world_size: usize, epoch: u64) -> Vec<Bits> {
    let shards = (0..world_size).map(|rank| {
        let shard = Shard::new(rank, world_size).unwrap();
        let mut loader = builder.clone().shard(shard).build().unwrap();
        epoch_bits(&mut loader, epoch)
    });
    joined(shards.collect())
}

/// Global batches from the batches of each shard.
pub(crate) fn joined(shards: Vec<Vec<Bits>>) -> Vec<Bits> {
    let mut shards = shards.into_iter();
    let mut global = shards.next().unwrap();
    for shard in shards {
        assert_eq!(shard.len(), global.len(), "ranks differ in their steps");
        for (global, part) in global.iter_mut().zip(shard) {
            assert_eq!(global.0, part.0);
            global.1.extend(part.1);
            global.2.extend(part.2);
            global.3.extend(part.3);
        }
    }
    global
}
