//! Batches in the device's memory, as fast as they come.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;
use feedline_pipeline::cuda::{CudaElement, Gpu, Layout};
use feedline_pipeline::{Loader, bf16};

use crate::clock::Length;
use crate::common::machine::cpu_time;
use crate::figures::Figure;
use crate::machine::peak_memory;
use crate::report::RATE;
use crate::workload::{self, Pictures};

/// Bytes of one of CIFAR-10's pictures as it is stored.
pub(crate) const PICTURE: usize = 3072;
/// Batches to take before any is counted, and at least to count.
const LEAST: usize = 20;

/// Where the pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// In files or the host's memory
    Streaming,
    /// In the GPU's memory
    Resident,
}

/// The type of a batch's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Element {
    F32,
    Bf16,
}

/// What is loaded, and how.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Loading {
    pub(crate) kind: Kind,
    pub(crate) pictures: Pictures,
    pub(crate) element: Element,
    pub(crate) batch: usize,
}

impl Loading {
    /// In tables: what is done to a batch of so many, whoever does it.
    pub(crate) fn work(batch: usize) -> String {
        format!("batch {batch}")
    }

    pub(crate) fn system(self) -> String {
        let Self { kind, pictures, .. } = self;
        format!("{kind}, {pictures}, {}", self.element)
    }

    /// Loads batches and drops them, and says how fast.
    pub(crate) fn measure(
        self,
        gpu: &Gpu,
        data: Option<&Path>,
        length: Length,
    ) -> Result<Vec<Figure>, Box<dyn Error>> {
        match self.element {
            Element::F32 => self.measure_as::<f32>(gpu, data, length),
            Element::Bf16 => self.measure_as::<bf16>(gpu, data, length),
        }
    }

    fn measure_as<T: CudaElement>(
        self,
        gpu: &Gpu,
        data: Option<&Path>,
        length: Length,
    ) -> Result<Vec<Figure>, Box<dyn Error>> {
        let mut loader = Loader::builder(workload::pictures(data)?)
            .batch_size(self.batch)
            .shuffle(true)
            .seed(1)
            .transform(self.pictures.transform())
            .cuda(gpu)
            .element::<T>()
            .layout(Layout::Nhwc)
            .resident(self.kind == Kind::Resident)
            .build()?;
        let mut batches = loader.epochs(0..u64::MAX);
        let mut take = |least: usize, seconds: f64| -> Result<(usize, f64), Box<dyn Error>> {
            let (start, mut taken, mut rows) = (Instant::now(), 0, 0);
            while taken < least || start.elapsed().as_secs_f64() < seconds {
                let batch = batches.next().ok_or("an epoch without batches")??;
                rows += batch.info().rows;
                taken += 1;
            }
            gpu.synchronize()?;
            Ok((rows, start.elapsed().as_secs_f64()))
        };
        let (least, seconds) = match length.steps {
            Some(steps) => (steps, 0.0),
            None => (LEAST, length.seconds),
        };
        take(least.min(LEAST), seconds / 5.0)?;
        let cpu = cpu_time();
        let (rows, seconds) = take(least, seconds)?;
        let (rate, cpu) = (rows as f64 / seconds, cpu_time() - cpu);

        let (work, system) = (Self::work(self.batch), self.system());
        let figure = |name, value| Figure::new(&work, &system, name, value);
        let mut figures = vec![figure(RATE, rate)];
        if self.kind == Kind::Streaming {
            figures.push(figure("GB/s on the bus", rate * PICTURE as f64 / 1e9));
        }
        figures.push(figure("host us/image", cpu * 1e6 / rows as f64));
        if let Some(bytes) = peak_memory(gpu) {
            figures.push(figure("peak MiB", bytes as f64 / f64::from(1 << 20)));
        }
        Ok(figures)
    }
}
