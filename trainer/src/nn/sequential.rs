//! A network of layers, one after the other.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use feedline_pipeline::Random;

use super::layer::name;
use super::summary::Row;
use super::{Layer, Model, Parameter, Pass, Summary};
use crate::error::{Error, Result};

/// A network of layers, one after the other; made by [`Sequential::builder`].
#[derive(Debug)]
pub struct Sequential {
    input: Vec<usize>,
    layers: Vec<Placed>,
    parameters: Vec<Parameter>,
    /// The parameters' values again: layers want them side by side.
    values: Vec<Var>,
}

/// A layer at its place in the network.
#[derive(Debug)]
struct Placed {
    name: String,
    layer: Arc<dyn Layer>,
    output: Vec<usize>,
    parameters: Range<usize>,
}

/// Describes a [`Sequential`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct SequentialBuilder {
    input: Vec<usize>,
    layers: Vec<Arc<dyn Layer>>,
}

impl Sequential {
    /// Begins a network for pictures of the shape `[channels, height, width]`.
    pub fn builder(input: [usize; 3]) -> SequentialBuilder {
        SequentialBuilder {
            input: input.to_vec(),
            layers: Vec::new(),
        }
    }

    /// The shape that goes in, without the batch.
    pub(crate) fn input(&self) -> &[usize] {
        &self.input
    }

    /// The shape that comes out, without the batch.
    pub(crate) fn output(&self) -> &[usize] {
        self.layers.last().map_or(&self.input, |last| &last.output)
    }

    /// The layers in their order, each with the places of its parameters among the network's.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (&dyn Layer, Range<usize>)> {
        let layers = self.layers.iter();
        layers.map(|placed| (&*placed.layer, placed.parameters.clone()))
    }

    /// The same network in `f64`: a reference for what is computed in `f32`.
    #[cfg(test)]
    pub(crate) fn to_f64(&self) -> Self {
        let parameters: Vec<_> = self
            .parameters
            .iter()
            .map(|own| {
                let value = own.value.to_dtype(candle_core::DType::F64).unwrap();
                let value = Var::from_tensor(&value).unwrap();
                Parameter {
                    value,
                    ..own.clone()
                }
            })
            .collect();
        let layers = self.layers.iter().map(|own| Placed {
            name: own.name.clone(),
            layer: Arc::clone(&own.layer),
            output: own.output.clone(),
            parameters: own.parameters.clone(),
        });
        Self {
            input: self.input.clone(),
            layers: layers.collect(),
            values: parameters.iter().map(|own| own.value.clone()).collect(),
            parameters,
        }
    }

    /// The layers with their shapes and numbers of parameters, as a table to print.
    pub fn summary(&self) -> Summary {
        let rows = self.layers.iter().map(|placed| {
            let own = &self.parameters[placed.parameters.clone()];
            let count = |trainable| {
                let own = own.iter().filter(|own| own.trainable == trainable);
                own.map(|own| own.value.elem_count()).sum()
            };
            Row {
                name: placed.name.clone(),
                output: placed.output.clone(),
                trainable: count(true),
                fixed: count(false),
            }
        });
        Summary::new(rows.collect())
    }
}

impl SequentialBuilder {
    /// Puts a layer at the end: one of [`nn`](super)'s, or one of your own, of which [`Layer`] has an example and says what
    /// it costs.
    #[expect(
        clippy::should_implement_trait,
        reason = "Keras' name for it, and nothing is summed"
    )]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Checks that the layers fit each other and makes their parameters. The same seed makes the same network, on
    /// every machine.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidModel`] names the layer that does not fit and why; [`Error::Candle`] if `device` can't hold it.
    pub fn build(self, seed: u64, device: &Device) -> Result<Sequential> {
        let mut shape = self.input.clone();
        let (mut layers, mut parameters) = (Vec::<Placed>::new(), Vec::<Parameter>::new());
        for layer in self.layers {
            let kind = layer.kind();
            let name = name(layers.iter().map(|placed| placed.layer.kind()), kind);
            let fits = match shape.contains(&0) {
                true => Err(format!("the input {shape:?} is empty")),
                false => layer.output_shape(&shape),
            };
            let output = fits.map_err(|reason| Error::InvalidModel {
                layer: name.clone(),
                reason,
            })?;
            let first = parameters.len();
            for own in layer.parameters(&shape) {
                let random = Random::new([seed, parameters.len() as u64]);
                parameters.push(Parameter {
                    name: format!("{name}.{}", own.name),
                    value: own.create(random, device)?,
                    trainable: own.trainable,
                });
            }
            shape.clone_from(&output);
            layers.push(Placed {
                name,
                layer,
                output,
                parameters: first..parameters.len(),
            });
        }
        let values = parameters.iter().map(|own| own.value.clone()).collect();
        Ok(Sequential {
            input: self.input,
            layers,
            parameters,
            values,
        })
    }
}

impl Model for Sequential {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        if images.dims().get(1..) != Some(&self.input) {
            return Err(Error::InvalidModel {
                layer: "input".into(),
                reason: format!(
                    "the network takes batches of {:?}, this one is {:?}, the first being the rows",
                    self.input,
                    images.dims()
                ),
            });
        }
        let mut output = images.clone();
        for (
            place,
            Placed {
                layer, parameters, ..
            },
        ) in self.layers.iter().enumerate()
        {
            let own = &self.values[parameters.clone()];
            output = layer.forward(&output, own, &pass.in_layer(place))?;
        }
        Ok(output)
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn sequential(&self) -> Option<&Sequential> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Conv2d, Flatten, Linear, MaxPool2d};

    fn weights(seed: u64) -> Vec<f32> {
        let builder = Sequential::builder([1, 6, 6]).add(Conv2d::new(4, 3));
        let network = builder.add(Flatten).add(Linear::new(5));
        let network = network.build(seed, &Device::Cpu).unwrap();
        let values = network.parameters.iter().map(|own| {
            let flat = own.value.flatten_all().unwrap();
            flat.to_vec1::<f32>().unwrap()
        });
        values.collect::<Vec<_>>().concat()
    }

    #[test]
    fn the_same_seed_makes_the_same_network() {
        assert_eq!(weights(3), weights(3));
        assert_ne!(weights(3), weights(4));
    }

    #[test]
    fn weights_begin_within_glorots_limits() {
        let weights = weights(3);
        let limit = (6.0f32 / (9.0 + 36.0)).sqrt();
        let (filters, rest) = weights.split_at(36);
        assert!(filters.iter().all(|w| w.abs() < limit));
        assert!(filters.iter().any(|w| w.abs() > 0.8 * limit));
        assert!(rest[..4].iter().all(|&bias| bias == 0.0));
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named() {
        let builder = Sequential::builder([1, 6, 6]).add(Conv2d::new(4, 3));
        for (builder, name) in [
            (builder.clone().add(Conv2d::new(4, 5)), "conv2d_2"),
            (builder.clone().add(Linear::new(5)), "linear_1"),
            (
                builder
                    .clone()
                    .add(Flatten)
                    .add(Linear::new(usize::MAX / 2)),
                "linear_1",
            ),
            (
                builder.clone().add(Conv2d::new(usize::MAX / 2, 3)),
                "conv2d_2",
            ),
            (
                builder
                    .clone()
                    .add(Conv2d::new(2, usize::MAX / 2).padding(crate::nn::Padding::Same)),
                "conv2d_2",
            ),
            (builder.clone().add(MaxPool2d::new(2, 0)), "max_pool2d_1"),
        ] {
            let error = builder.build(0, &Device::Cpu).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_batch_of_another_shape_is_an_error() {
        let builder = Sequential::builder([1, 6, 6]).add(Flatten);
        let network = builder.build(0, &Device::Cpu).unwrap();
        let images = Tensor::zeros((2, 3, 6, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = network.forward(&images, &Pass::evaluation()).unwrap_err();
        assert!(error.to_string().contains("[2, 3, 6, 6]"), "{error}");
    }
}
