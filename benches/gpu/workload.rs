//! What is trained and what is loaded.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use clap::ValueEnum;
use feedline_pipeline::dataset::Cifar10;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Source, Transform};
use feedline_trainer::models;
use feedline_trainer::nn::Sequential;

use crate::loaders::{Element, Kind};

const DROPOUT: f32 = 0.5;
pub(crate) const CLASSES: usize = 10;
/// As many as CIFAR-10 has to train on.
const SAMPLES: usize = 50_000;

/// One of the trainer's models, and the numbers it computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(crate) struct Step {
    pub(crate) network: Network,
    pub(crate) precision: Precision,
    pub(crate) batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Network {
    MnistCnn,
    CifarCnn,
}

/// How products are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Precision {
    /// f32 throughout
    F32,
    /// f32 whose products take 10 bits of the fraction
    Tf32,
    /// bf16, with values to update in f32
    Bf16,
}

/// What becomes of CIFAR-10's pictures on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pictures {
    /// Less the mean, over the deviation
    Normalize,
    /// Random crop after 4 pixels of padding, random flip, then as normalize
    Augment,
    /// Random 24x24 crop, flip, brightness and contrast, each picture standardized: what `cifar_cnn` trains on
    Color,
}

impl Network {
    pub(crate) fn build(self, device: &Device) -> feedline_trainer::Result<Sequential> {
        match self {
            Self::MnistCnn => models::mnist_cnn(DROPOUT, 1, device),
            Self::CifarCnn => models::cifar_cnn(DROPOUT, 1, device),
        }
    }

    pub(crate) fn shape(self) -> Shape {
        match self {
            Self::MnistCnn => Shape::new(1, 28, 28),
            Self::CifarCnn => Shape::new(3, 24, 24),
        }
    }
}

impl Pictures {
    pub(crate) fn transform(self) -> Transform {
        let normalize = |transform: Transform| {
            let scaled = transform.scale();
            scaled.normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION)
        };
        match self {
            Self::Normalize => normalize(Transform::new()),
            Self::Augment => normalize(Transform::new().random_crop(32, 32, 4).random_flip()),
            Self::Color => Transform::new()
                .random_crop(24, 24, 0)
                .random_flip()
                .scale()
                .random_brightness(63.0 / 255.0)
                .random_contrast(0.2, 1.8)
                .standardize(),
        }
    }

    /// Those to test on.
    pub(crate) fn plain() -> Transform {
        Transform::new().center_crop(24, 24).scale().standardize()
    }
}

/// CIFAR-10's training set from a folder, or noise of its size.
pub(crate) fn pictures(data: Option<&Path>) -> feedline_pipeline::Result<Arc<dyn Source>> {
    if let Some(folder) = data {
        return Ok(Cifar10::open(folder)?.train);
    }
    let (mut random, shape) = (Random::new([1]), Shape::new(3, 32, 32));
    let pixels = (0..SAMPLES * shape.elements()).map(|_| random.next_u64() as u8);
    let labels = (0..SAMPLES as u32).map(|sample| sample % CLASSES as u32);
    let noise = InMemory::new(shape, CLASSES, pixels.collect(), labels.collect())?;
    Ok(Arc::new(noise))
}

/// As on the command line.
macro_rules! named_as_value {
    ($($type:ty),*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let value = self.to_possible_value();
                f.write_str(value.as_ref().map_or("", |value| value.get_name()))
            }
        }
    )*};
}
named_as_value!(Network, Precision, Pictures, Kind, Element);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            network,
            precision,
            batch,
        } = self;
        write!(f, "{network} {precision} {batch}")
    }
}
