//! The GPU's transform and the host's.

use feedline_pipeline::cuda::{Gpu, Layout};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Loader, Random, Shape, Tail, Transform, bf16};
use proptest::prelude::*;

use crate::common::{augmentation, pictures};
use crate::{Bits, both, epochs, gpus, host_epochs};

/// Any built-in operations on samples with so many channels.
fn transforms(channels: usize) -> impl Strategy<Value = Transform> {
    let window = (0usize..5, 1usize..30, 1usize..40, 0usize..9);
    let values = prop::collection::vec((0usize..5, 0.1f32..2.0, -1.0f32..1.0), 0..6);
    (window, values).prop_map(move |((kind, height, width, padding), values)| {
        let new = Transform::new();
        let transform = match kind {
            0 => new,
            1 => new.random_crop(height, width, padding),
            2 => new.random_flip().random_crop(height, width, padding),
            3 => new.center_crop(height, width).random_flip(),
            _ => new.random_flip(),
        };
        values.into_iter().fold(transform, |all, (kind, a, b)| {
            let each = |value: f32| -> Vec<f32> {
                (0..channels).map(|c| value + 0.125 * c as f32).collect()
            };
            match kind {
                0 => all.scale(),
                1 => all.normalize(each(b), each(a)),
                2 => all.random_brightness(a),
                3 => all.random_contrast(0.5 * a, a),
                _ => all.standardize(),
            }
        })
    })
}

fn cases() -> impl Strategy<Value = (Shape, Transform)> {
    let shape = (1usize..6, 1usize..30, 1usize..40);
    shape.prop_flat_map(|(channels, height, width)| {
        let shape = Shape::new(channels, height, width);
        let fits = move |transform: &Transform| transform.output_shape(shape).is_ok();
        let transform = transforms(channels).prop_filter("does not fit", fits);
        (Just(shape), transform)
    })
}

fn random_source(shape: Shape, len: usize, seed: u64) -> InMemory {
    let mut random = Random::new([seed]);
    // Dark and bright pictures, too.
    let pixels = (0..len * shape.elements()).map(|i| {
        let most = [256, 3, 1][i / shape.elements() % 3];
        random.below(most) as u8
    });
    let pixels = pixels.collect();
    let labels = (0..len as u32).map(|label| label % 7).collect();
    InMemory::new(shape, 7, pixels, labels).unwrap()
}

fn agree<T: Bits>(gpu: &Gpu, shape: Shape, transform: &Transform, layout: Layout, seed: u64) {
    let builder = Loader::builder(random_source(shape, 11, seed))
        .batch_size(4)
        .tail(Tail::Pad)
        .workers(1)
        .shuffle(true)
        .seed(seed)
        .transform(transform.clone());
    let expected = host_epochs::<T>(&builder, 0..1);
    for mut loader in both(builder.cuda(gpu).element::<T>().layout(layout)) {
        assert_eq!(loader.plan().shape, transform.output_shape(shape).unwrap());
        assert!(loader.plan().transformed_on_gpu);
        assert_eq!(epochs(&mut loader, 0..1), expected, "{}", loader.plan());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_gpu_transforms_to_the_bit_as_the_host(
        (shape, transform) in cases(), nhwc: bool, half: bool, seed: u64,
    ) {
        let layout = if nhwc { Layout::Nhwc } else { Layout::Nchw };
        for gpu in gpus().iter().take(1) {
            if half {
                agree::<bf16>(gpu, shape, &transform, layout, seed);
            } else {
                agree::<f32>(gpu, shape, &transform, layout, seed);
            }
        }
    }
}

#[test]
fn as_many_channels_as_there_may_be_are_transformed_on_the_gpu() {
    let transform = Transform::new()
        .random_crop(5, 5, 2)
        .random_contrast(0.5, 2.0)
        .standardize();
    for gpu in gpus() {
        agree::<f32>(&gpu, Shape::new(64, 5, 7), &transform, Layout::Nhwc, 1);
    }
}

#[test]
fn what_only_the_host_can_do_is_done_there() {
    for gpu in gpus() {
        for layout in [Layout::Nchw, Layout::Nhwc] {
            let builder = Loader::builder(pictures(20))
                .batch_size(6)
                .tail(Tail::Pad)
                .shuffle(true);
            let builder = builder.transform(augmentation());
            let expected = host_epochs::<bf16>(&builder, 0..2);
            let builder = builder.cuda(&gpu).element::<bf16>().layout(layout);
            let mut loader = builder.clone().build().unwrap();
            assert!(!loader.plan().transformed_on_gpu);
            assert_eq!(epochs(&mut loader, 0..2), expected);
            let error = builder.resident(true).build().unwrap_err().to_string();
            assert!(error.contains("without map"), "{error}");
        }
    }
}
