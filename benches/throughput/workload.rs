//! What is loaded.

use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::dataset::{Cifar10, Mnist};
use feedline_pipeline::loader::{DEFAULT_MEMORY_BUDGET, LoaderBuilder};
use feedline_pipeline::source::{Decode, ImageFolder, InMemory};
use feedline_pipeline::{Loader, Random, Result, Shape, Source, Transform};

/// Samples in a batch, where nothing else is said; that of the other loaders, too.
pub(crate) const BATCH_SIZE: usize = 128;

/// The same for photographs.
const PHOTOGRAPHS_BATCH_SIZE: usize = 64;

/// The type of a batch's values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Values {
    F32,
    F16,
    Bf16,
    U8,
}

/// A training set.
#[derive(Clone, Copy)]
enum Data {
    Cifar,
    Mnist,
    /// JPEG files, which are generated.
    Photographs,
}

/// Where data are.
#[derive(Clone, Copy)]
pub(crate) struct Folders<'a> {
    /// CIFAR-10 and MNIST; `None` for noise.
    pub(crate) sets: Option<&'a Path>,
    pub(crate) photographs: Option<&'a Path>,
}

/// What the limit's plain loop does to values.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Copy,
    Normalize {
        mean: &'static [f32],
        std: &'static [f32],
    },
}

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// The workload in a few words.
    pub(crate) about: &'static str,
    data: Data,
    transform: Transform,
    pub(crate) values: Values,
    pub(crate) batch_size: usize,
    /// Bytes for the loader's batches.
    pub(crate) budget: usize,
    /// `None` where a plain loop would be no plain loop.
    pub(crate) plain: Option<Plain>,
}

/// CIFAR-10's and MNIST's training sets, and JPEG files; all shuffled.
pub(crate) fn all() -> Vec<Workload> {
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
    let plain = Plain::Normalize {
        mean: &Cifar10::MEAN,
        std: &Cifar10::STANDARD_DEVIATION,
    };
    let cifar = |name, about, transform, values| Workload {
        name,
        about,
        data: Data::Cifar,
        transform,
        values,
        batch_size: BATCH_SIZE,
        budget: DEFAULT_MEMORY_BUDGET,
        plain: None,
    };
    vec![
        Workload {
            plain: Some(plain),
            ..cifar(
                "normalize",
                "CIFAR-10, normalized",
                normalize(Transform::new()),
                Values::F32,
            )
        },
        // Each batch is 48 MiB, so that the workers fill it together.
        Workload {
            batch_size: 4096,
            budget: 256 << 20,
            plain: Some(plain),
            ..cifar(
                "normalize 4096",
                "CIFAR-10, normalized, in batches of 4096",
                normalize(Transform::new()),
                Values::F32,
            )
        },
        cifar(
            "augment",
            "CIFAR-10, cropped, flipped, normalized",
            normalize(crop_and_flip()),
            Values::F32,
        ),
        cifar(
            "lab",
            "CIFAR-10, cropped, flipped, brightness, contrast, standardized",
            lab,
            Values::F32,
        ),
        Workload {
            plain: Some(Plain::Copy),
            ..cifar(
                "u8",
                "CIFAR-10, bytes as they are",
                Transform::new(),
                Values::U8,
            )
        },
        cifar(
            "u8 augment",
            "CIFAR-10, bytes, cropped and flipped",
            crop_and_flip(),
            Values::U8,
        ),
        cifar(
            "bf16",
            "CIFAR-10, normalized, as bf16",
            normalize(Transform::new()),
            Values::Bf16,
        ),
        cifar(
            "f16",
            "CIFAR-10, normalized, as f16",
            normalize(Transform::new()),
            Values::F16,
        ),
        Workload {
            data: Data::Mnist,
            plain: Some(Plain::Normalize {
                mean: &[0.1307],
                std: &[0.3081],
            }),
            ..cifar(
                "mnist",
                "MNIST, normalized",
                Transform::new().scale().normalize([0.1307], [0.3081]),
                Values::F32,
            )
        },
        Workload {
            data: Data::Photographs,
            batch_size: PHOTOGRAPHS_BATCH_SIZE,
            budget: 256 << 20,
            ..cifar(
                "photographs",
                "JPEG files of 300 x 300, to 224 x 224, cropped, flipped, normalized",
                Transform::new()
                    .random_crop(224, 224, 8)
                    .random_flip()
                    .scale()
                    .normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
                Values::F32,
            )
        },
    ]
}

impl Workload {
    /// The samples: those in the folder, or noise of the same shape and number.
    pub(crate) fn source(&self, folders: Folders<'_>) -> Result<Arc<dyn Source>> {
        match (self.data, folders.sets) {
            (Data::Cifar, Some(folder)) => Ok(Cifar10::open(folder)?.train),
            (Data::Mnist, Some(folder)) => Ok(Mnist::open(folder)?.train),
            (Data::Cifar, None) => noise(Shape::new(3, 32, 32), 50_000),
            (Data::Mnist, None) => noise(Shape::new(1, 28, 28), 60_000),
            (Data::Photographs, _) => {
                let folder = folders.photographs.unwrap_or(Path::new("."));
                Ok(Arc::new(ImageFolder::open(folder, Decode::rgb(224, 224))?))
            }
        }
    }

    pub(crate) fn reads_photographs(&self) -> bool {
        matches!(self.data, Data::Photographs)
    }

    /// Whether other loaders are measured, too.
    pub(crate) fn has_peers(&self) -> bool {
        self.batch_size == BATCH_SIZE || self.reads_photographs()
    }

    /// A loader of `source`, as buffers of `f32`. Nothing is tuned, so that the limit's buffers are as many as its.
    pub(crate) fn loader(&self, source: &Arc<dyn Source>, workers: usize) -> LoaderBuilder {
        Loader::builder(Arc::clone(source))
            .batch_size(self.batch_size)
            .shuffle(true)
            .seed(1)
            .workers(workers)
            .prefetch(2 * workers)
            .memory_budget(self.budget)
            .transform(self.transform.clone())
    }
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
