//! What is loaded, and what makes that slow.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::sink::Host;
use feedline_pipeline::source::{Access, InMemory};
use feedline_pipeline::{Loader, Result, Sample, Shape, Source, Transform};

use crate::cold::ColdFile;

const SHAPE: Shape = Shape::new(3, 32, 32);
const CLASSES: usize = 10;
/// Samples of the inputs that are not in a file.
const SAMPLES: usize = 8192;

/// Rows of a batch.
pub(crate) const BATCH_SIZE: usize = 32;

pub(crate) enum Input {
    /// In memory, with a transform that computes for so many turns.
    Computed { turns: u64 },
    /// In a store that lets each sample wait.
    Distant { delay: Duration },
    /// In a file that the system has forgotten: in order, or so many in a random order.
    File {
        samples: Option<usize>,
        access: Access,
    },
}

impl Input {
    /// A loader that is not set yet, and the file that is to be forgotten before each epoch.
    pub(crate) fn open(&self, path: &Path) -> Result<(LoaderBuilder<Host>, Option<ColdFile>)> {
        let mut cold = None;
        let builder = match *self {
            Self::Computed { turns } => {
                let pixels = vec![0; SAMPLES * SHAPE.elements()];
                let source = InMemory::new(SHAPE, CLASSES, pixels, vec![0; SAMPLES])?;
                let compute = Transform::new().map(move |_| {
                    compute(turns);
                    Ok(())
                });
                Loader::builder(source).shuffle(true).transform(compute)
            }
            Self::Distant { delay } => Loader::builder(Distant { delay }).shuffle(true),
            Self::File { samples, access } => {
                let file = cold.insert(ColdFile::open(path, access)?);
                let builder = Loader::builder(Arc::clone(&file.source));
                match samples {
                    Some(samples) => builder.shuffle(true).take(samples),
                    None => builder,
                }
            }
        };
        Ok((builder.batch_size(BATCH_SIZE), cold))
    }
}

/// Work that takes about 1.5 ns a turn, whatever else there is to do.
pub(crate) fn compute(turns: u64) {
    let mut value = 1u64;
    for turn in 0..turns {
        value = value.wrapping_mul(6_364_136_223_846_793_005) ^ turn;
    }
    black_box(value);
}

/// Samples that are far away.
struct Distant {
    delay: Duration,
}

impl Source for Distant {
    fn len(&self) -> usize {
        SAMPLES
    }

    fn shape(&self) -> Shape {
        SHAPE
    }

    fn classes(&self) -> usize {
        CLASSES
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        thread::sleep(self.delay);
        scratch.clear();
        scratch.resize(SHAPE.elements(), index as u8);
        Ok(Sample {
            pixels: scratch,
            label: (index % CLASSES) as u32,
        })
    }
}
