//! Element types differ in their rounding and in nothing else.

mod common;

use common::{SHAPE, pictures};
use feedline_pipeline::{Element, Loader, Source, Transform};
use half::{bf16, f16};
use proptest::prelude::*;

const SAMPLES: usize = 24;

fn values<T: Element>(transform: &Transform, seed: u64) -> Vec<T> {
    let builder = Loader::builder(pictures(SAMPLES))
        .batch_size(8)
        .shuffle(true)
        .seed(seed);
    let mut loader = builder
        .transform(transform.clone())
        .element::<T>()
        .build()
        .unwrap();
    assert_eq!(loader.plan().element, T::NAME);
    let row = size_of::<T>() * loader.plan().shape.elements() + 4 + 16;
    assert_eq!(loader.plan().slot_bytes, 8 * row);
    let batches = loader
        .epoch(2)
        .map(|batch| batch.unwrap().pixels().to_vec());
    batches.collect::<Vec<_>>().concat()
}

/// Crops and flips in any order.
fn windows() -> impl Strategy<Value = Transform> {
    let crop = (1usize..10, 1usize..10, 1usize..4);
    (0usize..5, crop).prop_map(|(kind, (height, width, padding))| {
        let new = Transform::new;
        match kind {
            0 => new(),
            1 => new().random_crop(height, width, padding),
            2 => new().random_flip().random_crop(height, width, padding),
            3 => new().center_crop(height.min(8), width.min(8)).random_flip(),
            _ => new().random_flip(),
        }
    })
}

fn values_after(windows: Transform, operations: &[u8]) -> Transform {
    operations
        .iter()
        .fold(windows, |transform, operation| match operation {
            0 => transform.scale(),
            1 => transform.normalize([0.5, -3.0, 100.0], [0.25, 2.0, 50.0]),
            2 => transform.random_brightness(0.7),
            3 => transform.random_contrast(0.3, 1.9),
            4 => transform.standardize(),
            _ => transform.map(|mut sample| {
                let shift = sample.random.uniform(-2.0, 2.0);
                sample
                    .pixels
                    .iter_mut()
                    .for_each(|value| *value = *value * 0.3 + shift);
                Ok(())
            }),
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn half_precision_is_single_precision_rounded_once(
        windows in windows(), operations in prop::collection::vec(0u8..6, 0..5), seed: u64,
    ) {
        let transform = values_after(windows, &operations);
        let single = values::<f32>(&transform, seed);
        let expected: Vec<u16> = single.iter().map(|&value| f16::from_f32(value).to_bits()).collect();
        let found: Vec<u16> = values::<f16>(&transform, seed).into_iter().map(f16::to_bits).collect();
        prop_assert_eq!(found, expected);
        let expected: Vec<u16> = single.iter().map(|&value| bf16::from_f32(value).to_bits()).collect();
        let found: Vec<u16> = values::<bf16>(&transform, seed).into_iter().map(bf16::to_bits).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn bytes_are_cropped_and_flipped_as_numbers_are(windows in windows(), seed: u64) {
        let bytes = values::<u8>(&windows, seed);
        let numbers = values::<f32>(&windows, seed);
        prop_assert!(bytes.into_iter().map(f32::from).eq(numbers));
    }

    #[test]
    fn bytes_without_operations_are_those_of_the_source(seed: u64) {
        let source = pictures(SAMPLES);
        let mut loader = Loader::builder(pictures(SAMPLES))
            .batch_size(8).shuffle(true).seed(seed).element::<u8>().build().unwrap();
        for batch in loader.epoch(0) {
            let batch = batch.unwrap();
            for (row, &index) in batch.pixels().chunks(SHAPE.elements()).zip(batch.indices()) {
                let mut scratch = Vec::new();
                prop_assert_eq!(row, source.sample(index, &mut scratch).unwrap().pixels);
            }
        }
    }
}

#[test]
fn bytes_take_no_operation_on_values() {
    for operation in 0..6 {
        let transform = values_after(Transform::new().random_flip(), &[operation]);
        let builder = Loader::builder(pictures(SAMPLES))
            .batch_size(8)
            .transform(transform);
        let error = builder.element::<u8>().build().unwrap_err().to_string();
        let expected = "into u8, expected crops and flips alone, or another element type";
        assert!(error.contains(expected), "{error}");
    }
}
