//! Layers around which their input is led.

use std::sync::Arc;

use candle_core::{Result, Tensor, Var, bail};

use super::layer::{check_batch, name};
use super::{Layer, ParameterShape, Pass};

/// Layers one after the other, to whose output their input is added: `x + layers(x)`. They learn by how much to change
/// what comes in, and gradients have a way around them, so that deep networks train (He et al.: "Deep Residual Learning
/// for Image Recognition", 2015, [arXiv:1512.03385](https://arxiv.org/abs/1512.03385)).
///
/// What comes out of the last layer must have the shape of what goes into the first. Parameters are named after both
/// layers: `residual_1.conv2d_2.weight`.
///
/// ```
/// use candle_core::Device;
/// use feedline_trainer::nn::{
///     BatchNorm, Conv2d, Flatten, Linear, Model, Padding, Relu, Residual, Sequential,
/// };
///
/// let same = || Conv2d::new(16, 3).padding(Padding::Same);
/// let network = Sequential::builder([3, 32, 32])
///     .add(same())
///     .add(Residual::new().add(same()).add(BatchNorm::new()).add(Relu))
///     .add(Flatten)
///     .add(Linear::new(10))
///     .build(1, &Device::Cpu)?;
/// assert_eq!(network.parameters()[2].name, "residual_1.conv2d_1.weight");
/// assert!(network.engine().is_some());
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a layer does nothing until it is added to a network"]
pub struct Residual {
    layers: Vec<Arc<dyn Layer>>,
}

/// A layer inside, for an input of a given shape.
pub(crate) struct Inner<'a> {
    pub(crate) layer: &'a dyn Layer,
    name: String,
    pub(crate) input: Vec<usize>,
    output: Vec<usize>,
    parameters: Vec<ParameterShape>,
}

impl Inner<'_> {
    /// How many parameters it holds.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters.len()
    }
}

impl Residual {
    /// Without layers yet: at least one must be [added](Self::add).
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a layer at the end.
    #[expect(
        clippy::should_implement_trait,
        reason = "SequentialBuilder's name for it"
    )]
    pub fn add(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// The layers in their order for an input of this shape, or which of them does not fit, and why.
    pub(crate) fn layers(&self, input: &[usize]) -> std::result::Result<Vec<Inner<'_>>, String> {
        let mut shape = input.to_vec();
        let mut inner = Vec::<Inner<'_>>::new();
        for layer in &self.layers {
            let name = name(inner.iter().map(|own| own.layer.kind()), layer.kind());
            let output = match shape.contains(&0) {
                true => Err(format!("the input {shape:?} is empty")),
                false => layer.output_shape(&shape),
            };
            let output = output.map_err(|reason| format!("{name}: {reason}"))?;
            inner.push(Inner {
                layer: &**layer,
                name,
                parameters: layer.parameters(&shape),
                output: output.clone(),
                input: std::mem::replace(&mut shape, output),
            });
        }
        if inner.is_empty() {
            return Err("it must have at least one layer, it has none".into());
        }
        if shape == input {
            return Ok(inner);
        }
        // There is one, or the shapes would be the same.
        let changed = inner.iter().rfind(|own| own.input != own.output);
        let culprit = changed.map_or("", |own| &own.name);
        Err(format!(
            "{culprit}: what comes out must have the shape of the input, {input:?}, to which it is added; it is {shape:?}"
        ))
    }
}

impl Layer for Residual {
    fn kind(&self) -> &'static str {
        "residual"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        self.layers(input).map(|_| input.to_vec())
    }

    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let inner = self.layers(input).unwrap_or_default().into_iter();
        let renamed = inner.flat_map(
            |Inner {
                 name, parameters, ..
             }| {
                parameters.into_iter().map(move |own| ParameterShape {
                    name: format!("{name}.{}", own.name).into(),
                    ..own
                })
            },
        );
        renamed.collect()
    }

    fn forward(&self, input: &Tensor, parameters: &[Var], pass: &Pass) -> Result<Tensor> {
        check_batch(self, input)?;
        let inner = match self.layers(&input.dims()[1..]) {
            Ok(inner) => inner,
            Err(reason) => bail!("residual: {reason}"),
        };
        let expected: usize = inner.iter().map(Inner::parameters).sum();
        if parameters.len() != expected {
            let found = parameters.len();
            bail!("this residual has {expected} parameters, not {found}");
        }
        let (mut output, mut rest) = (input.clone(), parameters);
        for (place, own) in inner.iter().enumerate() {
            let (parameters, others) = rest.split_at(own.parameters());
            let pass = pass.in_layer(pass.place_inside(place));
            output = own.layer.forward(&output, parameters, &pass)?;
            rest = others;
        }
        input + output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{BatchNorm, Conv2d, Dropout, Flatten, MaxPool2d, Model, Padding, Relu};
    use crate::nn::{Linear, Sequential};
    use candle_core::{DType, Device};

    fn same(filters: usize) -> Conv2d {
        Conv2d::new(filters, 3).padding(Padding::Same)
    }

    fn refusal(residual: Residual) -> String {
        let builder = Sequential::builder([3, 8, 8]).add(same(4)).add(residual);
        builder.build(1, &Device::Cpu).unwrap_err().to_string()
    }

    #[test]
    fn layers_that_do_not_fit_are_named_when_it_is_built() {
        let error = refusal(Residual::new().add(same(4)).add(same(5)).add(Relu));
        assert!(error.contains("residual_1"), "{error}");
        assert!(error.contains("conv2d_2: what comes out"), "{error}");
        assert!(
            error.contains("[4, 8, 8], to which it is added; it is [5, 8, 8]"),
            "{error}"
        );
        let error = refusal(Residual::new().add(MaxPool2d::new(9, 1)).add(same(4)));
        assert!(error.contains("max_pool2d_1: "), "{error}");
        let error = refusal(Residual::new().add(Residual::new().add(Flatten)));
        assert!(error.contains("residual_1: flatten_1: "), "{error}");
        let error = refusal(Residual::new());
        assert!(error.contains("it has none"), "{error}");
    }

    #[test]
    fn parameters_are_named_after_both_layers_and_begin_as_those_outside() {
        let inner = Residual::new().add(same(4)).add(BatchNorm::new());
        let inner = inner.add(Residual::new().add(same(4)));
        let builder = Sequential::builder([4, 8, 8]).add(inner).add(Flatten);
        let network = builder.add(Linear::new(3)).build(1, &Device::Cpu).unwrap();
        let names: Vec<_> = network.parameters().iter().map(|own| &*own.name).collect();
        let expected = [
            "residual_1.conv2d_1.weight",
            "residual_1.conv2d_1.bias",
            "residual_1.batch_norm_1.scale",
            "residual_1.batch_norm_1.shift",
            "residual_1.batch_norm_1.running_mean",
            "residual_1.batch_norm_1.running_variance",
            "residual_1.residual_1.conv2d_1.weight",
            "residual_1.residual_1.conv2d_1.bias",
            "linear_1.weight",
            "linear_1.bias",
        ];
        assert_eq!(names, expected);
        let plain = Sequential::builder([4, 8, 8]).add(same(4));
        let plain = plain.build(1, &Device::Cpu).unwrap();
        let first = |network: &Sequential| network.parameters()[0].value.flatten_all().unwrap();
        let [own, expected] = [&network, &plain].map(|own| first(own).to_vec1::<f32>().unwrap());
        assert_eq!(own, expected);
    }

    #[test]
    fn dropouts_inside_and_outside_drop_other_things() {
        let ones = Tensor::ones((1, 1000), DType::F32, &Device::Cpu).unwrap();
        let drop = || Dropout::new(0.5);
        let run = |residual: Residual, place: usize| {
            let pass = Pass::training(7, 3, 0).in_layer(place);
            let output = residual.forward(&ones, &[], &pass).unwrap();
            (output - 1.0).unwrap().to_vec2::<f32>().unwrap().concat()
        };
        let outside = |place: usize| {
            let pass = Pass::training(7, 3, 0).in_layer(place);
            let output = drop().forward(&ones, &[], &pass).unwrap();
            output.to_vec2::<f32>().unwrap().concat()
        };
        let inside = |place| run(Residual::new().add(drop()), place);
        let second = run(Residual::new().add(Relu).add(drop()), 0);
        let nested = Residual::new().add(Residual::new().add(drop()));
        let all = [
            inside(0),
            inside(1),
            second,
            outside(0),
            outside(1),
            run(nested, 0),
        ];
        for (index, own) in all.iter().enumerate() {
            assert!(!all[..index].contains(own), "{index}");
        }
    }

    #[test]
    fn parameters_of_another_number_are_an_error() {
        let images = Tensor::ones((2, 4, 8, 8), DType::F32, &Device::Cpu).unwrap();
        let residual = Residual::new().add(same(4));
        let error = residual.forward(&images, &[], &Pass::evaluation());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("2 parameters, not 0"), "{error}");
    }
}
