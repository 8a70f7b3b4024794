//! What a trained model says: predictions for pictures, and its weights for other frameworks.
//!
//! ```
//! use candle_core::Device;
//! use feedline_pipeline::Transform;
//! use feedline_pipeline::dataset::Generated;
//! use feedline_trainer::nn::{Flatten, Linear, Sequential};
//! use feedline_trainer::{Input, inference};
//!
//! let network = Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10));
//! let network = network.build(1, &Device::Cpu)?;
//! let data = Generated::open(100, 10)?;
//! let predictions = inference::predict(&network, Input::new(data.test, Transform::new().scale()))?;
//! assert_eq!(predictions.len(), 10);
//! println!("class {} by {:.0} %", predictions[0].class, 100.0 * predictions[0].probability());
//! # Ok::<(), feedline_trainer::Error>(())
//! ```

#[cfg(feature = "report")]
mod evaluate;
mod export;
mod picture;

#[cfg(feature = "report")]
pub use evaluate::evaluate;
pub use export::{Layout, export};
pub use picture::picture;

use candle_core::{D, Tensor};
use feedline_pipeline::{Loader, Tail};

use crate::error::{Error, Result};
use crate::fit::Input;
use crate::nn::{Model, Pass};

/// What a model says of a picture.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The class with the largest probability; the first of several.
    pub class: usize,
    /// The probability of each class. They sum to 1.
    pub probabilities: Vec<f32>,
}

impl Prediction {
    /// The probability of the predicted class, from 0 to 1.
    pub fn probability(&self) -> f32 {
        self.probabilities[self.class]
    }
}

/// Pictures to a batch.
const BATCH: usize = 128;

/// What the model says of each picture of `input`, in their order. Labels are not looked at.
///
/// # Errors
///
/// [`Pipeline`](Error::Pipeline) if a picture can't be read or transformed; [`InvalidModel`](Error::InvalidModel) if the
/// model does not take such pictures.
pub fn predict(model: &impl Model, input: Input) -> Result<Vec<Prediction>> {
    let predictions = predict_with_labels(model, input)?.into_iter();
    Ok(predictions.map(|(prediction, _)| prediction).collect())
}

/// The same, each with the picture's label.
fn predict_with_labels(model: &impl Model, input: Input) -> Result<Vec<(Prediction, u32)>> {
    let device = match model.parameters().first() {
        Some(own) => own.value.device().clone(),
        None => candle_core::Device::Cpu,
    };
    let (source, transform) = input.into_parts();
    let mut predictions = Vec::with_capacity(source.len());
    let batch_size = BATCH.min(source.len()).max(1);
    let loader = Loader::builder(source).transform(transform);
    let mut loader = loader.batch_size(batch_size).tail(Tail::Pad).build()?;
    for batch in loader.epoch(0) {
        let batch = batch?;
        let (rows, shape) = (batch.info().samples, batch.shape());
        let pixels = &batch.pixels()[..rows * shape.elements()];
        let images = (rows, shape.channels, shape.height, shape.width);
        let images = Tensor::from_slice(pixels, images, &device)?;
        let logits = model.forward(&images, &Pass::evaluation())?;
        let labels = batch.labels()[..rows].iter().copied();
        predictions.extend(of_logits(&logits, rows)?.zip(labels));
    }
    Ok(predictions)
}

/// Softmax, row by row.
fn of_logits(logits: &Tensor, rows: usize) -> Result<impl Iterator<Item = Prediction>> {
    if logits.dims().len() != 2 || logits.dims()[0] != rows || logits.dims()[1] == 0 {
        return Err(Error::InvalidModel {
            layer: "the model".into(),
            reason: format!(
                "{rows} pictures must give logits of [{rows}, classes]; they are {:?}",
                logits.dims()
            ),
        });
    }
    let largest = logits.max_keepdim(D::Minus1)?;
    let powers = logits.broadcast_sub(&largest)?.exp()?;
    let probabilities = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    let rows = probabilities.to_vec2::<f32>()?.into_iter();
    Ok(rows.map(|probabilities| {
        let mut class = 0;
        for (index, own) in probabilities.iter().enumerate() {
            if *own > probabilities[class] {
                class = index;
            }
        }
        Prediction {
            class,
            probabilities,
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Flatten, Linear, Sequential};
    use candle_core::Device;
    use feedline_pipeline::{Shape, Transform, source::InMemory};
    use std::sync::Arc;

    fn input(samples: usize) -> Input {
        let shape = Shape::new(1, 2, 2);
        let pixels = (0..samples * 4).map(|place| (place * 37 % 256) as u8);
        let source = InMemory::new(shape, 3, pixels.collect(), vec![0; samples]);
        Input::new(Arc::new(source.unwrap()), Transform::new().scale())
    }

    fn network(input: [usize; 3]) -> Sequential {
        let builder = Sequential::builder(input).add(Flatten).add(Linear::new(3));
        builder.build(7, &Device::Cpu).unwrap()
    }

    #[test]
    fn every_picture_is_predicted_once_and_in_order() {
        let network = network([1, 2, 2]);
        let all = predict(&network, input(BATCH + 3)).unwrap();
        assert_eq!(all.len(), BATCH + 3);
        // Alone as among others.
        assert_eq!(predict(&network, input(2)).unwrap(), all[..2]);
        for own in all {
            let sum: f32 = own.probabilities.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum}");
            assert!(
                own.probabilities
                    .iter()
                    .all(|&each| each <= own.probability())
            );
        }
    }

    #[test]
    fn pictures_of_another_shape_are_an_error() {
        let error = predict(&network([1, 3, 3]), input(2)).unwrap_err();
        assert!(error.to_string().contains("[2, 1, 2, 2]"), "{error}");
    }
}
