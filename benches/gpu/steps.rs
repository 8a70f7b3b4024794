//! Training steps: forward, backward and Adam on one batch of noise over and over.

use std::error::Error;

use candle_core::Device;
use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::{Random, bf16};
use feedline_trainer::cuda::{Algorithms, Engine, Real};
use feedline_trainer::nn::Pass;
use feedline_trainer::optim::{Adam, Optimizer};

use crate::clock::{self, Length};
use crate::figures::Figure;
use crate::machine::peak_memory;
use crate::report::RATE;
use crate::workload::{CLASSES, Precision, Step};

/// In tables.
pub(crate) const OURS: &str = "feedline";
const MEASURED: &str = "feedline, measured";

/// Times steps with algorithms by rules of thumb, or by measuring, as PyTorch is told to.
pub(crate) fn measure(
    gpu: &Gpu,
    step: Step,
    measured: bool,
    length: Length,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    match step.precision {
        Precision::Bf16 => measure_as(gpu, step, measured, length, bf16::from_f32),
        Precision::F32 | Precision::Tf32 => measure_as(gpu, step, measured, length, |own| own),
    }
}

fn measure_as<T: Real>(
    gpu: &Gpu,
    step: Step,
    measured: bool,
    length: Length,
    convert: impl Fn(f32) -> T,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let network = step.network.build(&Device::Cpu)?;
    let engine = Engine::<T>::new(&network, gpu)?.ok_or("the network has no engine")?;
    let (algorithms, system) = match measured {
        true => (Algorithms::Measured, MEASURED),
        false => (Algorithms::Heuristic, OURS),
    };
    let tf32 = step.precision == Precision::Tf32;
    let mut engine = engine.tf32(tf32).algorithms(algorithms);

    let mut random = Random::new([1]);
    let number = || convert(random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0);
    let numbers = step.batch * step.network.shape().elements();
    let images: Vec<T> = std::iter::repeat_with(number).take(numbers).collect();
    let labels: Vec<u32> = (0..step.batch).map(|row| (row % CLASSES) as u32).collect();
    let stream = gpu.stream();
    let (images, labels) = (stream.clone_htod(&images)?, stream.clone_htod(&labels)?);
    let rule = Adam::new(0.001).rule().ok_or("Adam has no rule")?;

    let (rows, mut number) = (step.batch, 0..);
    let milliseconds = clock::milliseconds(gpu, length, || {
        let pass = Pass::training(0, number.next().unwrap_or_default(), 0);
        let mean = 1.0 / rows as f32;
        let (images, labels) = (images.as_view(), labels.as_view());
        engine.gradients(&images, &labels, rows, mean, &pass, &mut ())?;
        engine.step(&rule, 1.0)?;
        Ok(())
    })?;
    let (values, _) = engine.download()?;
    if let Some(wrong) = values.iter().find(|value| !value.is_finite()) {
        return Err(format!("a parameter is {wrong} after training on noise").into());
    }
    let work = step.to_string();
    let figure = |name, value| Figure::new(&work, system, name, value);
    let mut figures = vec![
        figure(RATE, rows as f64 * 1e3 / milliseconds),
        figure("ms/step", milliseconds),
    ];
    if let Some(bytes) = peak_memory(gpu) {
        figures.push(figure("peak MiB", bytes as f64 / f64::from(1 << 20)));
    }
    Ok(figures)
}
