//! Tests on a GPU, or a simulated one: the engine against the CPU's. Without a device they say so, and pass.

mod errors;
mod models;
mod random;
mod reuse;
mod steps;

use candle_core::Device;
use feedline_pipeline::Random;
use half::bf16;

use super::*;
use crate::cuda::tests::gpus;
use crate::engine::tests::{Rows, SHARE, Step, engine_step, worst};
use crate::kernel::Isa;
use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Padding, Relu};

/// A device, unless there is none.
fn gpu() -> Option<Gpu> {
    gpus().then(|| Gpu::new(0).unwrap())
}

/// Pictures as the device has them: pixel after pixel.
fn by_pixel<T: Real>(network: &Sequential, images: &[f32]) -> Vec<T> {
    let &[channels, height, width] = network.input() else {
        panic!("pictures have three dimensions")
    };
    let area = height * width;
    let pictures = images.chunks_exact(channels * area);
    let number = |picture: &[f32], place: usize| {
        T::from_f32(picture[place % channels * area + place / channels])
    };
    pictures
        .flat_map(|picture| (0..channels * area).map(move |place| number(picture, place)))
        .collect()
}

/// A batch on the device.
struct OnDevice<T> {
    images: CudaSlice<T>,
    labels: CudaSlice<u32>,
}

impl<T: Real> OnDevice<T> {
    fn new(gpu: &Gpu, network: &Sequential, rows: &Rows) -> Self {
        let images = by_pixel(network, &rows.images);
        Self {
            images: gpu.stream().clone_htod(&images).unwrap(),
            labels: gpu.stream().clone_htod(&rows.labels).unwrap(),
        }
    }

    fn gradients(&self, engine: &mut Engine<T>, rows: usize, share: f32, pass: &Pass) {
        let (images, labels) = (self.images.as_view(), self.labels.as_view());
        engine
            .gradients(&images, &labels, rows, share, pass, &mut ())
            .unwrap();
    }
}

/// The gradients as the host has them.
fn gradients<T: Real>(engine: &Engine<T>) -> Vec<f32> {
    let sums = engine
        .context
        .gpu
        .stream()
        .clone_dtoh(&engine.sums)
        .unwrap();
    engine.network.values.to_host(&sums)
}

fn step_of<T: Real>(engine: &mut Engine<T>, network: &Sequential, rows: &Rows) -> Step {
    let gpu = engine.context.gpu.clone();
    let batch = OnDevice::new(&gpu, network, rows);
    batch.gradients(engine, rows.labels.len(), SHARE, &rows.pass);
    let totals = engine.totals_later().unwrap();
    Step {
        gradients: gradients(engine),
        statistics: engine.download().unwrap().1,
        totals: totals.wait().unwrap(),
    }
}

fn engine<T: Real>(network: &Sequential, gpu: &Gpu) -> Engine<T> {
    Engine::new(network, gpu).unwrap().unwrap()
}

/// What is wrong with a step, if something is.
fn difference(
    network: &Sequential,
    step: &Step,
    expected: &Step,
    tolerance: f64,
) -> Result<(), String> {
    let (error, place) = worst(network, &step.gradients, &expected.gradients, 0.1);
    if error.is_nan() || error > tolerance {
        return Err(format!("{error:e}: {place}"));
    }
    let near =
        |found: f64, expected: f64| (found - expected).abs() <= tolerance * (1.0 + expected.abs());
    let statistics = step.statistics.iter().zip(&expected.statistics);
    let mut statistics = statistics.map(|(&found, &expected)| (found.into(), expected.into()));
    if !near(step.totals.loss, expected.totals.loss)
        || !statistics.all(|(found, expected)| near(found, expected))
    {
        return Err(format!("{step:?}, expected {expected:?}"));
    }
    Ok(())
}

fn assert_near(network: &Sequential, step: &Step, expected: &Step, tolerance: f64) {
    if let Err(difference) = difference(network, step, expected, tolerance) {
        panic!("{difference}");
    }
}

/// One of each layer.
fn small() -> Sequential {
    Sequential::builder([2, 7, 6])
        .add(Conv2d::new(5, 3).padding(Padding::Same))
        .add(Relu)
        .add(MaxPool2d::new(2, 2))
        .add(BatchNorm::new())
        .add(Conv2d::new(4, 2).padding(Padding::Same))
        .add(Dropout::new(0.3))
        .add(Flatten)
        .add(Linear::new(6))
        .add(Relu)
        .add(Linear::new(3))
        .build(1, &Device::Cpu)
        .unwrap()
}

fn rows(network: &Sequential, count: usize, seed: u64) -> Rows {
    Rows::new(network, count, false, &mut Random::new([seed]))
}
