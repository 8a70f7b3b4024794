//! What an engine refuses, what it leaves to candle's tape, and what it must not hide.

use std::sync::Arc;

use candle_core::Var;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Shape, Transform};

use super::*;
use crate::error::Error;
use crate::nn::Layer;
use crate::{Input, Replicas, Trainer};

fn small() -> Sequential {
    let builder = Sequential::builder([2, 6, 5])
        .add(Conv2d::new(3, 3))
        .add(Relu);
    let builder = builder.add(MaxPool2d::new(2, 2)).add(BatchNorm::new());
    let builder = builder.add(Flatten).add(Linear::new(3));
    builder.build(1, &Device::Cpu).unwrap()
}

/// What an engine is called with.
struct Call {
    values: Vec<f32>,
    statistics: Vec<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
    gradients: Vec<f32>,
}

/// A valid call with one thing changed: the error's message.
fn message(change: impl FnOnce(&mut Call)) -> String {
    let network = small();
    let mut engine = Engine::new(&network).unwrap();
    let (values, statistics) = Engine::read(&network).unwrap();
    let mut call = Call {
        gradients: vec![0.0; values.len()],
        values,
        statistics,
        images: vec![0.5; 3 * 60],
        labels: vec![0, 1, 2],
    };
    change(&mut call);
    let batch = Batch {
        images: &call.images,
        labels: &call.labels,
    };
    let (pass, statistics) = (Pass::training(0, 0, 0), &mut call.statistics);
    let result = engine.gradients(
        &call.values,
        statistics,
        batch,
        1.0,
        &pass,
        &mut call.gradients,
    );
    result.unwrap_err().to_string()
}

#[test]
fn lengths_that_do_not_fit_are_named() {
    for (found, expected) in [
        (
            message(|call| call.values.truncate(5)),
            "number of parameters is 5, expected",
        ),
        (
            message(|call| call.statistics.push(0.0)),
            "number of statistics is 7, expected 6",
        ),
        (
            message(|call| call.images.truncate(179)),
            "numbers of the images is 179, expected 180",
        ),
        (
            message(|call| call.labels.push(0)),
            "numbers of the images is 180, expected 240",
        ),
        (
            message(|call| call.gradients.clear()),
            "number of gradients is 0, expected",
        ),
    ] {
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn a_label_that_is_no_class_is_named() {
    for label in [3, 10, u32::MAX] {
        let found = message(|call| call.labels[1] = label);
        let expected = format!("label is {label}, expected below 3, the number of logits");
        assert_eq!(found, expected);
    }
}

#[test]
fn a_batch_without_rows_is_an_error() {
    let found = message(|call| {
        call.images.clear();
        call.labels.clear();
    });
    assert_eq!(found, "number of rows is 0, expected at least 1");
    for network in [small(), models::softmax(1, &Device::Cpu).unwrap()] {
        let mut engine = Engine::new(&network).unwrap();
        let (values, statistics) = Engine::read(&network).unwrap();
        let batch = Batch {
            images: &[],
            labels: &[],
        };
        assert!(engine.evaluate(&values, &statistics, batch).is_err());
    }
}

#[test]
fn an_engine_works_on_after_an_error() {
    let network = small();
    let mut engine = Engine::new(&network).unwrap();
    let (values, statistics) = Engine::read(&network).unwrap();
    let images = vec![0.5; 3 * 60];
    let mut evaluate = |labels: &[u32]| {
        let images = &images[..labels.len() * 60];
        engine.evaluate(&values, &statistics, Batch { images, labels })
    };
    let before = evaluate(&[0, 1, 2]).unwrap();
    assert!(evaluate(&[0, 9, 2]).is_err());
    assert!(evaluate(&[]).is_err());
    assert_eq!(evaluate(&[0, 1, 2]).unwrap(), before);
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

fn source() -> Input {
    let mut random = Random::new([1]);
    let pixels = (0..24 * 60).map(|_| random.below(256) as u8).collect();
    let labels = (0..24).map(|index| index % 3).collect();
    let source = InMemory::new(Shape::new(2, 6, 5), 3, pixels, labels).unwrap();
    Input::new(Arc::new(source), Transform::new().scale())
}

#[test]
fn a_network_with_a_layer_of_the_users_own_is_trained_on_the_tape() {
    fn network(device: &Device) -> crate::Result<Sequential> {
        let builder = Sequential::builder([2, 6, 5]).add(Double);
        builder.add(Flatten).add(Linear::new(3)).build(1, device)
    }
    assert!(Engine::new(&network(&Device::Cpu).unwrap()).is_none());
    let trainer = Trainer::new(network).replicas(Replicas::cpu(1).unwrap());
    let trainer = trainer.batch_size(8).epochs(20).progress(false);
    let fitted = trainer.fit(source(), None).unwrap();
    let losses = fitted.history.epochs.iter().map(|epoch| epoch.train.loss);
    let losses: Vec<_> = losses.collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
}

#[test]
fn what_does_not_end_in_a_row_of_logits_has_no_engine() {
    let builder = Sequential::builder([2, 6, 5]).add(Conv2d::new(3, 3));
    assert!(Engine::new(&builder.build(1, &Device::Cpu).unwrap()).is_none());
    let builder = Sequential::builder([2, 6, 5]).add(Relu).add(Flatten);
    assert!(Engine::new(&builder.build(1, &Device::Cpu).unwrap()).is_none());
}

#[test]
fn a_window_whose_places_are_no_byte_is_left_to_the_tape() {
    for (window, found) in [(16, true), (17, false)] {
        let builder = Sequential::builder([1, 20, 20]).add(Conv2d::new(2, 1));
        let builder = builder.add(MaxPool2d::new(window, 3)).add(Flatten);
        let network = builder.add(Linear::new(3)).build(1, &Device::Cpu).unwrap();
        assert_eq!(Engine::new(&network).is_some(), found);
    }
}

#[test]
fn a_diverged_network_is_not_hidden() {
    let device = &Device::Cpu;
    for network in [
        small(),
        models::softmax(1, device).unwrap(),
        models::mnist_cnn(0.0, 1, device).unwrap(),
        models::cifar_cnn(0.0, 1, device).unwrap(),
    ] {
        let [_, height, width] = *network.input() else {
            unreachable!()
        };
        let mut rows = Rows::new(&network, 4, false, &mut Random::new([1]));
        // In the middle, where every window that is not left out sees it.
        rows.images[height / 2 * width + width / 2] = f32::NAN;
        for isa in Isa::available() {
            let found = engine_step(&network, &rows, isa, 1);
            assert!(
                !found.totals.loss.is_finite(),
                "{isa:?}: {:?}",
                found.totals
            );
        }
    }
}

#[test]
fn training_with_numbers_that_are_none_reports_it() {
    let network = |_: &Device| {
        let network = small();
        set(&network, |own| {
            (own.name == "conv2d_1.bias").then(|| vec![f32::NAN; 3])
        });
        assert!(Engine::new(&network).is_some());
        Ok(network)
    };
    let trainer = Trainer::new(network).replicas(Replicas::cpu(1).unwrap());
    let trainer = trainer.batch_size(8).epochs(1).progress(false);
    let error = trainer.fit(source(), None).unwrap_err();
    let Error::Diverged { epoch, step, loss } = error else {
        panic!("{error}")
    };
    assert_eq!((epoch, step, loss.is_finite()), (0, 0, false));
}
