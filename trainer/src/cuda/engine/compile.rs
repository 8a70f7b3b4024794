//! From a network's layers to stages.

use std::any::Any;

use super::batch_norm::BatchNormStage;
#[cfg(feature = "cudnn")]
use super::convolution::ConvolutionStage;
use super::flat::Flat;
use super::linear::LinearStage;
use super::simple::{DropoutStage, FlattenStage, PoolStage, RectifierStage};
use super::stage::{Places, Stage};
use crate::cuda::Real;
use crate::cuda::context::Context;
use crate::cuda::ops::shape::{Picture, Pool};
#[cfg(not(feature = "cudnn"))]
use crate::error::Error;
use crate::error::Result;
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Model, Parameter, Relu, Sequential,
};

/// A network as stages.
#[derive(Debug)]
pub(super) struct Compiled<T> {
    pub(super) input: Picture,
    pub(super) stages: Vec<Box<dyn Stage<T>>>,
    /// How many numbers of a row go into each stage.
    pub(super) inputs: Vec<usize>,
    /// How many numbers of a row come out at last.
    pub(super) logits: usize,
    /// The most numbers of a row that have gradients.
    pub(super) widest: usize,
    /// The first stage that has parameters: none before it needs a way back.
    pub(super) first_trained: usize,
    /// The numbers that are trained, and those that are not.
    pub(super) values: Flat,
    pub(super) statistics: Flat,
}

/// Fuses what can be fused. `None` if there is a layer that has no stage.
pub(super) fn compile<T: Real>(
    network: &Sequential,
    context: &Context,
) -> Result<Option<Compiled<T>>> {
    let &[channels, height, width] = network.input() else {
        return Ok(None);
    };
    let input = Picture::new(height, width, channels);
    let mut builder = Builder {
        context,
        shape: input,
        stages: Vec::new(),
        pending: Pending::None,
        first_trained: None,
        values: Flat::default(),
        statistics: Flat::default(),
    };
    for (place, (layer, parameters)) in network.layers().enumerate() {
        let parameters = &network.parameters()[parameters];
        if !builder.add(place, layer, parameters)? {
            return Ok(None);
        }
    }
    builder.finish_pending();
    // Logits are rows of features.
    let Some(first_trained) = builder
        .first_trained
        .filter(|_| network.output().len() == 1)
    else {
        return Ok(None);
    };
    let lengths = builder.stages.iter().map(|stage| stage.output().len());
    let mut inputs = vec![input.len()];
    inputs.extend(lengths);
    let widest = inputs[first_trained + 1..].iter().copied().max();
    Ok(Some(Compiled {
        input,
        logits: inputs.pop().unwrap_or(0),
        widest: widest.unwrap_or(0),
        inputs,
        stages: builder.stages,
        first_trained,
        values: builder.values,
        statistics: builder.statistics,
    }))
}

/// A stage that the next layer may be fused with.
enum Pending<T> {
    None,
    #[cfg(feature = "cudnn")]
    Convolution(Box<ConvolutionStage<T>>),
    Linear(LinearStage),
    BatchNorm(Box<BatchNormStage>),
    #[cfg(not(feature = "cudnn"))]
    #[expect(dead_code, reason = "for the type")]
    Nothing(std::marker::PhantomData<T>),
}

struct Builder<'a, T> {
    context: &'a Context,
    /// What comes out so far.
    shape: Picture,
    stages: Vec<Box<dyn Stage<T>>>,
    pending: Pending<T>,
    first_trained: Option<usize>,
    values: Flat,
    statistics: Flat,
}

impl<T: Real> Builder<'_, T> {
    /// Whether the layer has a stage.
    fn add(&mut self, place: usize, layer: &dyn Any, parameters: &[Parameter]) -> Result<bool> {
        if layer.is::<Relu>() {
            self.rectify();
        } else if let Some(layer) = layer.downcast_ref::<MaxPool2d>() {
            return self.pool(layer);
        } else if let Some(layer) = layer.downcast_ref::<Conv2d>() {
            self.finish_pending();
            self.convolution(layer, parameters)?;
        } else if let Some(layer) = layer.downcast_ref::<Linear>() {
            self.finish_pending();
            let places = self.places(parameters, None);
            let stage = LinearStage::new(self.shape.channels, layer.outputs(), places);
            self.wait(stage.output(), Pending::Linear(stage));
        } else if let Some(&layer) = layer.downcast_ref::<BatchNorm>() {
            self.finish_pending();
            let (trained, others) = parameters.split_at(2);
            let places = self.places(trained, None);
            let running = Places {
                weight: self.statistics.add(len(&others[0]), None),
                bias: self.statistics.add(len(&others[1]), None),
            };
            let stage = BatchNormStage::new(self.context, layer, self.shape, places, running)?;
            self.wait(stage.output(), Pending::BatchNorm(Box::new(stage)));
        } else if let Some(layer) = layer.downcast_ref::<Dropout>() {
            if layer.rate() > 0.0 {
                self.finish_pending();
                self.push(DropoutStage {
                    rate: layer.rate(),
                    shape: self.shape,
                    layer: place,
                });
            }
        } else if layer.is::<Flatten>() {
            let Picture { channels, .. } = self.shape;
            if self.shape.pixels() > 1 && channels > 1 {
                self.finish_pending();
                self.push(FlattenStage(self.shape));
            }
            self.shape = Picture::new(1, 1, self.shape.len());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn rectify(&mut self) {
        match &mut self.pending {
            #[cfg(feature = "cudnn")]
            Pending::Convolution(stage) => stage.rectify(),
            Pending::Linear(stage) => stage.rectify(),
            Pending::BatchNorm(stage) => stage.rectify(),
            _ => self.push(RectifierStage(self.shape)),
        }
    }

    fn pool(&mut self, layer: &MaxPool2d) -> Result<bool> {
        let sides = layer.sides(self.shape.height, self.shape.width);
        if sides[0].window > Pool::WIDEST {
            return Ok(false);
        }
        let pool = Pool::new(self.shape, &sides)?;
        match &mut self.pending {
            #[cfg(feature = "cudnn")]
            Pending::Convolution(stage) if !stage.is_pooled() => {
                self.shape = pool.output;
                stage.pool(pool);
            }
            _ => {
                self.finish_pending();
                self.push(PoolStage::new(pool));
            }
        }
        Ok(true)
    }

    #[cfg(feature = "cudnn")]
    fn convolution(&mut self, layer: &Conv2d, parameters: &[Parameter]) -> Result<()> {
        let sides = layer.sides(self.shape.height, self.shape.width);
        let channels = self.shape.channels;
        let area = sides[0].window * sides[0].window;
        let filters = len(&parameters[0]) / (channels * area);
        let places = self.places(parameters, Some([filters, channels, area]));
        let stage = ConvolutionStage::new(self.shape, filters, &sides, places);
        self.wait(stage.output(), Pending::Convolution(Box::new(stage)));
        Ok(())
    }

    #[cfg(not(feature = "cudnn"))]
    fn convolution(&mut self, _: &Conv2d, _: &[Parameter]) -> Result<()> {
        Err(Error::Unavailable {
            what: "a convolution on a GPU",
            feature: "cudnn",
        })
    }

    /// Gives two parameters that are trained their places.
    fn places(&mut self, parameters: &[Parameter], filters: Option<[usize; 3]>) -> Places {
        let mut place = |own: &Parameter, filters| self.values.add(len(own), filters);
        Places {
            weight: place(&parameters[0], filters),
            bias: place(&parameters[1], None),
        }
    }

    fn wait(&mut self, output: Picture, pending: Pending<T>) {
        self.first_trained.get_or_insert(self.stages.len());
        self.shape = output;
        self.pending = pending;
    }

    fn finish_pending(&mut self) {
        match std::mem::replace(&mut self.pending, Pending::None) {
            #[cfg(feature = "cudnn")]
            Pending::Convolution(stage) => self.stages.push(stage),
            Pending::Linear(stage) => self.stages.push(Box::new(stage)),
            Pending::BatchNorm(stage) => self.stages.push(stage),
            _ => {}
        }
    }

    fn push(&mut self, stage: impl Stage<T> + 'static) {
        self.shape = stage.output();
        self.stages.push(Box::new(stage));
    }
}

fn len(parameter: &Parameter) -> usize {
    parameter.value.elem_count()
}
