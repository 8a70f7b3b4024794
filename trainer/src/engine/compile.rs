//! From a network's layers to stages.

use std::any::Any;
use std::ops::Range;

use super::batch_norm::BatchNormStage;
use super::convolution::ConvolutionStage;
use super::linear::LinearStage;
use super::residual::ResidualStage;
use super::simple::{DropoutStage, FlattenStage, PoolStage, RectifierStage};
use super::stage::{Places, Stage};
use crate::kernel::BLOCK;
use crate::kernel::border::Border;
use crate::kernel::shape::Picture;
use crate::nn::pass::place_inside;
use crate::nn::pooling;
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Model, Relu, Residual,
    Sequential,
};

/// A network as stages.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) input: Picture,
    pub(super) stages: Vec<Box<dyn Stage>>,
    /// The first stage that has parameters: none before it needs a way back.
    pub(super) first_trained: usize,
    /// How many numbers are trained, and how many are not.
    pub(super) values: usize,
    pub(super) statistics: usize,
}

/// Fuses what can be fused. `None` if there is a layer that has no stage.
pub(super) fn compile(network: &Sequential) -> Option<Compiled> {
    let &[channels, height, width] = network.input() else {
        return None;
    };
    let mut input = Picture::new(height, width, channels);
    let first = network.layers().next()?.0 as &dyn Any;
    if first.is::<Conv2d>() && channels < BLOCK {
        // A convolution has no need of padding here, and fewer products without it.
        input.stride = channels;
    }
    let mut builder = Builder::new(input);
    let flat = FlatPlaces::new(network);
    let mut shape = network.input().to_vec();
    for (place, (layer, parameters)) in network.layers().enumerate() {
        builder.add(place, layer, &shape, parameters, &flat)?;
        shape = layer.output_shape(&shape).ok()?;
    }
    builder.finish_pending();
    // Logits are rows of features.
    (network.output().len() == 1).then_some(Compiled {
        input,
        stages: builder.stages,
        first_trained: builder.first_trained?,
        values: flat.values,
        statistics: flat.statistics,
    })
}

/// Where each parameter is among those that are trained, or among those that are not.
struct FlatPlaces {
    ranges: Vec<Range<usize>>,
    values: usize,
    statistics: usize,
}

impl FlatPlaces {
    fn new(network: &Sequential) -> Self {
        let (mut values, mut statistics) = (0, 0);
        let mut place = |parameter: &crate::nn::Parameter| {
            let end = match parameter.trainable {
                true => &mut values,
                false => &mut statistics,
            };
            let start = *end;
            *end += parameter.value.elem_count();
            start..*end
        };
        Self {
            ranges: network.parameters().iter().map(&mut place).collect(),
            values,
            statistics,
        }
    }

    /// The places of two parameters of which the second is right behind the first.
    fn pair(&self, parameters: &Range<usize>, first: usize) -> Option<Places> {
        let own = self.ranges.get(parameters.clone())?;
        let (weight, bias) = (own.get(first)?.clone(), own.get(first + 1)?.clone());
        (weight.end == bias.start).then_some(Places { weight, bias })
    }
}

/// A stage that the next layer may be fused with.
enum Pending {
    None,
    Convolution(Box<ConvolutionStage>),
    Linear(LinearStage),
}

struct Builder {
    /// What comes out so far.
    shape: Picture,
    stages: Vec<Box<dyn Stage>>,
    pending: Pending,
    first_trained: Option<usize>,
}

impl Builder {
    fn new(input: Picture) -> Self {
        Self {
            shape: input,
            stages: Vec::new(),
            pending: Pending::None,
            first_trained: None,
        }
    }

    /// `input` is the shape that goes in, as layers see it.
    fn add(
        &mut self,
        place: usize,
        layer: &dyn Layer,
        input: &[usize],
        parameters: Range<usize>,
        flat: &FlatPlaces,
    ) -> Option<()> {
        let layer = layer as &dyn Any;
        if let Some(layer) = layer.downcast_ref::<Residual>() {
            self.finish_pending();
            let inner = Self::inside(self.shape, place, layer, input, parameters.start, flat)?;
            // The way back ends in it if nothing before it is trained.
            let end = inner.first_trained.filter(|_| self.first_trained.is_none());
            if inner.first_trained.is_some() {
                self.first_trained.get_or_insert(self.stages.len());
            }
            self.push(ResidualStage::new(self.shape, inner.stages, end));
        } else if layer.is::<Relu>() {
            self.rectify();
        } else if let Some(layer) = layer.downcast_ref::<MaxPool2d>() {
            self.pool(layer)?;
        } else if let Some(layer) = layer.downcast_ref::<Conv2d>() {
            self.finish_pending();
            let stage = self.convolution(layer, flat.pair(&parameters, 0)?);
            self.wait(stage.output(), Pending::Convolution(Box::new(stage)));
        } else if let Some(layer) = layer.downcast_ref::<Linear>() {
            self.finish_pending();
            let places = flat.pair(&parameters, 0)?;
            let stage = LinearStage::new(self.shape.channels, layer.outputs(), places);
            self.wait(stage.output(), Pending::Linear(stage));
        } else if let Some(&layer) = layer.downcast_ref::<BatchNorm>() {
            self.finish_pending();
            let (places, running) = (flat.pair(&parameters, 0)?, flat.pair(&parameters, 2)?);
            self.first_trained.get_or_insert(self.stages.len());
            self.push(BatchNormStage::new(layer, self.shape, places, running));
        } else if let Some(layer) = layer.downcast_ref::<Dropout>() {
            if layer.rate() > 0.0 {
                self.finish_pending();
                self.push(DropoutStage::new(layer.rate(), self.shape, place));
            }
        } else if layer.is::<Flatten>() {
            if self.shape.pixels() > 1 {
                self.finish_pending();
                self.push(FlattenStage(self.shape));
            }
        } else {
            return None;
        }
        Some(())
    }

    /// The layers inside of one, the first of whose parameters is at place `first`.
    fn inside(
        shape: Picture,
        place: usize,
        layer: &Residual,
        input: &[usize],
        mut first: usize,
        flat: &FlatPlaces,
    ) -> Option<Self> {
        let mut builder = Self::new(shape);
        for (inner, own) in layer.layers(input).ok()?.into_iter().enumerate() {
            let parameters = first..first + own.parameters();
            first = parameters.end;
            let place = place_inside(place, inner);
            builder.add(place, own.layer, &own.input, parameters, flat)?;
        }
        builder.finish_pending();
        Some(builder)
    }

    fn rectify(&mut self) {
        match &mut self.pending {
            Pending::Convolution(stage) => stage.rectify(),
            Pending::Linear(stage) => stage.rectify(),
            Pending::None => self.push(RectifierStage(self.shape)),
        }
    }

    fn pool(&mut self, layer: &MaxPool2d) -> Option<()> {
        let sides = layer.sides(self.shape.height, self.shape.width);
        let pool = pooling::shape(self.shape, &sides)?;
        match &mut self.pending {
            Pending::Convolution(stage) if stage.takes(&pool) => {
                self.shape = pool.output;
                stage.pool(pool);
            }
            _ => {
                self.finish_pending();
                self.push(PoolStage::new(pool));
            }
        }
        Some(())
    }

    fn convolution(&self, layer: &Conv2d, places: Places) -> ConvolutionStage {
        let (shape, corner) = layer.convolution(self.shape);
        let border = Border {
            inner: self.shape,
            outer: shape.input,
            corner,
        };
        ConvolutionStage::new(border, shape, places)
    }

    fn wait(&mut self, output: Picture, pending: Pending) {
        self.first_trained.get_or_insert(self.stages.len());
        self.shape = output;
        self.pending = pending;
    }

    fn finish_pending(&mut self) {
        match std::mem::replace(&mut self.pending, Pending::None) {
            Pending::None => {}
            Pending::Convolution(stage) => self.stages.push(stage),
            Pending::Linear(stage) => self.stages.push(Box::new(stage)),
        }
    }

    fn push(&mut self, stage: impl Stage + 'static) {
        self.shape = stage.output();
        self.stages.push(Box::new(stage));
    }
}
