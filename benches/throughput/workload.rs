//! What is loaded.

use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::dataset::{Cifar10, Mnist};
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Result, Shape, Source, Transform};

pub(crate) const BATCH_SIZE: usize = 128;

/// The type of a batch's values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    F32,
    F16,
    Bf16,
    U8,
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) transform: Transform,
    pub(crate) values: Values,
    /// The mean and deviation that `transform` normalizes with, if that is all that it does to values: what the limit
    /// does, too.
    pub(crate) normalize: Option<(Vec<f32>, Vec<f32>)>,
}

/// CIFAR-10's and MNIST's training sets, shuffled, in batches of 128.
pub(crate) fn all(data: Option<&Path>) -> Result<Vec<Workload>> {
    let cifar = match data {
        Some(folder) => Cifar10::open(folder)?.train,
        None => noise(Shape::new(3, 32, 32), 50_000)?,
    };
    let mnist = match data {
        Some(folder) => Mnist::open(folder)?.train,
        None => noise(Shape::new(1, 28, 28), 60_000)?,
    };
    let (mean, std) = (Cifar10::MEAN, Cifar10::STANDARD_DEVIATION);
    let normalize = |transform: Transform| transform.scale().normalize(mean, std);
    let crop_and_flip = || Transform::new().random_crop(32, 32, 4).random_flip();
    let lab = Transform::new()
        .random_crop(24, 24, 0)
        .random_flip()
        .scale()
        .random_brightness(63.0 / 255.0)
        .random_contrast(0.2, 1.8)
        .standardize();
    let like = Some((mean.to_vec(), std.to_vec()));
    let cifar = |name, transform, values, normalize| Workload {
        name,
        source: Arc::clone(&cifar),
        transform,
        values,
        normalize,
    };
    Ok(vec![
        cifar(
            "normalize",
            normalize(Transform::new()),
            Values::F32,
            like.clone(),
        ),
        cifar("augment", normalize(crop_and_flip()), Values::F32, None),
        cifar("lab", lab, Values::F32, None),
        cifar("u8", Transform::new(), Values::U8, None),
        cifar("u8 augment", crop_and_flip(), Values::U8, None),
        cifar("bf16", normalize(Transform::new()), Values::Bf16, None),
        cifar("f16", normalize(Transform::new()), Values::F16, None),
        Workload {
            name: "mnist",
            source: mnist,
            transform: Transform::new().scale().normalize([0.1307], [0.3081]),
            values: Values::F32,
            normalize: Some((vec![0.1307], vec![0.3081])),
        },
    ])
}

/// For machines without data.
fn noise(shape: Shape, samples: usize) -> Result<Arc<dyn Source>> {
    let mut random = Random::new([0]);
    let pixels = (0..samples * shape.elements()).map(|_| random.next_u64() as u8);
    let labels = (0..samples as u32).map(|index| index % 10);
    Ok(Arc::new(InMemory::new(
        shape,
        10,
        pixels.collect(),
        labels.collect(),
    )?))
}
