//! What an engine refuses.

use super::*;
use crate::error::invalid;
use crate::nn::Layer;
use crate::optim::{Adam, Optimizer, Sgd};
use candle_core::{Tensor, Var};

/// A valid call but for the numbers of pictures, labels and rows: the error's message.
fn message(gpu: &Gpu, images: usize, labels: usize, rows: usize) -> String {
    let network = small();
    let mut engine = engine::<f32>(&network, gpu);
    let images = gpu.stream().alloc_zeros::<f32>(images).unwrap();
    let labels = gpu.stream().alloc_zeros::<u32>(labels).unwrap();
    let (images, labels) = (images.as_view(), labels.as_view());
    let pass = Pass::training(0, 0, 0);
    let result = engine.gradients(&images, &labels, rows, 1.0, &pass, &mut ());
    assert!(engine.evaluate(&images, &labels, rows).is_err());
    result.unwrap_err().to_string()
}

#[test]
fn batches_that_are_too_short_are_named() {
    let Some(gpu) = gpu() else { return };
    for (found, expected) in [
        (
            message(&gpu, 84, 1, 0),
            "number of rows is 0, expected at least 1",
        ),
        (
            message(&gpu, 167, 2, 2),
            "numbers of the images is 167, expected at least 168, for 2 rows",
        ),
        (
            message(&gpu, 168, 1, 2),
            "number of labels is 1, expected at least 2, the number of rows",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_batch_on_another_gpu_is_refused() {
    let Some(gpu) = gpu() else { return };
    if Gpu::count().unwrap() < 2 {
        return eprintln!("skipped: this takes two GPUs");
    }
    let other = Gpu::new(1).unwrap();
    let images = other.stream().alloc_zeros::<f32>(168).unwrap();
    let labels = gpu.stream().alloc_zeros::<u32>(2).unwrap();
    let mut engine = engine::<f32>(&small(), &gpu);
    let result = engine.evaluate(&images.as_view(), &labels.as_view(), 2);
    assert_eq!(
        result.unwrap_err().to_string(),
        "images is memory of GPU 1, expected memory of the engine's, 0"
    );
}

#[test]
fn parameters_that_do_not_fit_are_named() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let (values, statistics) = engine.download().unwrap();
    for (values, statistics, expected) in [
        (&values[1..], &statistics[..], "number of parameters"),
        (&values[..], &statistics[1..], "number of statistics"),
    ] {
        let error = engine.upload(values, statistics).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_label_that_is_no_class_has_no_loss_and_does_no_harm() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let good = rows(&network, 5, 1);
    let before = step_of(&mut engine, &network, &good);
    for label in [3, u32::MAX] {
        let mut bad = rows(&network, 5, 1);
        bad.labels[2] = label;
        let batch = OnDevice::<f32>::new(&gpu, &network, &bad);
        batch.gradients(&mut engine, 5, SHARE, &bad.pass);
        assert!(engine.totals_later().unwrap().wait().unwrap().loss.is_nan());
        let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
        engine.evaluate(&images, &labels, 5).unwrap();
        assert!(engine.read_totals().unwrap().loss.is_nan());
    }
    let (values, statistics) = engine::Engine::read(&network).unwrap();
    engine.upload(&values, &statistics).unwrap();
    assert_eq!(step_of(&mut engine, &network, &good), before);
}

#[test]
fn another_kind_of_rule_is_refused() {
    let Some(gpu) = gpu() else { return };
    let mut engine = engine::<f32>(&small(), &gpu);
    engine.step(&Adam::default().rule().unwrap(), 1.0).unwrap();
    let error = engine.step(&Sgd::new(0.1).rule().unwrap(), 1.0);
    assert!(error.unwrap_err().to_string().starts_with("rule is Sgd"));
}

/// A layer of the user's own.
#[derive(Debug)]
struct Double;

impl Layer for Double {
    fn kind(&self) -> &'static str {
        "double"
    }

    fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>, String> {
        Ok(input.to_vec())
    }

    fn forward(&self, input: &Tensor, _: &[Var], _: &Pass) -> candle_core::Result<Tensor> {
        input * 2.0
    }
}

#[test]
fn what_the_engine_does_not_know_has_none() {
    let Some(gpu) = gpu() else { return };
    let builder = || Sequential::builder([1, 300, 300]);
    let end = |builder: crate::nn::SequentialBuilder| builder.add(Flatten).add(Linear::new(3));
    for builder in [
        end(builder().add(Double)),
        end(builder().add(MaxPool2d::new(257, 1))),
        builder().add(Flatten),
        builder().add(Conv2d::new(1, 300)),
    ] {
        let network = builder.build(1, &Device::Cpu).unwrap();
        assert!(Engine::<f32>::new(&network, &gpu).unwrap().is_none());
    }
}

/// Fails when it is called for the second time.
struct Second(usize);

impl Exchange for Second {
    fn ready(&mut self, _: &mut CudaSlice<f32>, _: usize) -> Result<()> {
        self.0 += 1;
        match self.0 {
            2 => Err(invalid("second call", "made", "none")),
            _ => Ok(()),
        }
    }

    fn sum(&mut self, _: &mut CudaSlice<f32>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn an_exchange_that_fails_ends_the_step() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let rows = rows(&network, 5, 1);
    let batch = OnDevice::new(&gpu, &network, &rows);
    let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
    let result = engine.gradients(&images, &labels, 5, 1.0, &rows.pass, &mut Second(0));
    assert_eq!(
        result.unwrap_err().to_string(),
        "second call is made, expected none"
    );
}
