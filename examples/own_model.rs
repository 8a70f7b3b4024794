//! A residual network of one's own on Feedline's layers, trained by Feedline's trainer.
//!
//!     cargo run --release --example own_model
//!     cargo run --release --example own_model -- --data DIR --epochs 20
//!
//! A `Sequential` is a chain. Where a network branches, write a `Model`: hold the layers with their variables, and call
//! them in `forward` in whatever order, with any operation of candle's between them. Gradients come by candle's tape; the
//! layers bring fast convolutions, pools and normalizations to it.
//!
//! With the variable CANDLE_NUM_THREADS=1 in the environment it takes about half the time: candle then leaves each
//! replica's small operations to the replica, instead of sharing one helper thread out among all of them.

use std::process::ExitCode;

use candle_core::{Device, Tensor, Var};
use clap::Parser;
use feedline::data::GENERATED;
use feedline::recipe::Network;
use feedline::{Recipe, Training};
use feedline_pipeline::dataset::{Cifar10, Generated};
use feedline_pipeline::{Random, Transform};
use feedline_trainer::nn::{
    BatchNorm, Conv2d, Layer, Linear, Model, Padding, Parameter, Pass, Relu,
};
use feedline_trainer::{Error, Result};

/// Train a small residual network that is written here, on Feedline's layers
///
/// By default on ten classes of generated pictures, 3,000 of them in batches of 64, for 4 epochs; on CIFAR-10 with --data or
/// --download.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    training: Training,
}

fn main() -> ExitCode {
    feedline::report(run(&Arguments::parse().training))
}

fn run(training: &Training) -> feedline::Result<()> {
    let dataset = match (training.may_download()?, &training.data) {
        (true, _) => Cifar10::download(training.folder())?,
        (false, Some(folder)) => Cifar10::open(folder)?,
        (false, None) => Generated::open(GENERATED.0, GENERATED.1)?,
    };
    let values = |crop: Transform| {
        crop.scale()
            .normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION)
    };
    let augmented = values(Transform::new().random_crop(24, 24, 0).random_flip());
    let plain = values(Transform::new().center_crop(24, 24));
    let title = "a small residual network".into();
    let recipe = Recipe {
        epochs: 4,
        batch_size: 64,
        ..Recipe::new(Network::Own { title }, augmented, plain)
    };
    let seed = training.seed;
    // Each replica builds its own copy; the same seed makes the same one.
    let model = move |device: &Device| Residual::new(seed, device);
    let network = model(&Device::Cpu)?;
    let trained = network.parameters().iter().filter(|own| own.trainable);
    let numbers: usize = trained.map(|own| own.value.elem_count()).sum();
    feedline::print_once(format_args!(
        "A residual network of {numbers} numbers that are trained\n"
    ))?;
    training.run_model(&dataset, &recipe, model)
}

/// A layer, which only holds settings, and the variables that it computes with.
struct Part {
    layer: Box<dyn Layer>,
    variables: Vec<Var>,
}

impl Part {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        // A network with several Dropouts would give each a place of its own: `pass.in_layer(place)`.
        Ok(self.layer.forward(input, &self.variables, pass)?)
    }
}

/// Makes the parts of a network one after the other, and the list of their parameters.
struct Maker<'a> {
    seed: u64,
    device: &'a Device,
    parameters: Vec<Parameter>,
}

impl Maker<'_> {
    /// `shape` is what goes in, without the batch, and becomes what comes out.
    fn part(
        &mut self,
        name: &str,
        layer: impl Layer + 'static,
        shape: &mut Vec<usize>,
    ) -> Result<Part> {
        let output = layer.output_shape(shape).map_err(|reason| {
            let layer = name.to_owned();
            Error::InvalidModel { layer, reason }
        })?;
        let mut variables = Vec::new();
        for own in layer.parameters(shape) {
            let random = Random::new([self.seed, self.parameters.len() as u64]);
            let value = own.create(random, self.device)?;
            variables.push(value.clone());
            self.parameters.push(Parameter {
                name: format!("{name}.{}", own.name),
                value,
                trainable: own.trainable,
            });
        }
        *shape = output;
        let layer = Box::new(layer);
        Ok(Part { layer, variables })
    }

    /// A convolution of 3×3 pixels with a normalization behind it.
    fn convolution(
        &mut self,
        name: &str,
        filters: usize,
        stride: usize,
        shape: &mut Vec<usize>,
    ) -> Result<[Part; 2]> {
        let layer = Conv2d::new(filters, 3)
            .stride(stride)
            .padding(Padding::Same);
        Ok([
            self.part(&format!("{name}.conv2d"), layer, shape)?,
            self.part(&format!("{name}.batch_norm"), BatchNorm::new(), shape)?,
        ])
    }
}

/// Two convolutions, and a way around them (He et al.: "Deep Residual Learning for Image Recognition", 2015).
struct Block {
    first: [Part; 2],
    second: [Part; 2],
    /// Where the shape changes, the way around has a convolution of 1×1 pixels, which changes it too.
    around: Option<Part>,
}

impl Block {
    fn new(
        maker: &mut Maker<'_>,
        name: &str,
        filters: usize,
        stride: usize,
        shape: &mut Vec<usize>,
    ) -> Result<Self> {
        let mut before = shape.clone();
        let first = maker.convolution(&format!("{name}.first"), filters, stride, shape)?;
        let second = maker.convolution(&format!("{name}.second"), filters, 1, shape)?;
        let around = if before == *shape {
            None
        } else {
            let layer = Conv2d::new(filters, 1)
                .stride(stride)
                .padding(Padding::Same);
            Some(maker.part(&format!("{name}.around"), layer, &mut before)?)
        };
        Ok(Self {
            first,
            second,
            around,
        })
    }

    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor> {
        let inner = rectify(&chain(&self.first, input, pass)?, pass)?;
        let inner = chain(&self.second, &inner, pass)?;
        let around = match &self.around {
            Some(part) => part.forward(input, pass)?,
            None => input.clone(),
        };
        // Here is what a chain can't do.
        rectify(&(inner + around)?, pass)
    }
}

/// A convolution, three blocks, the mean of every channel, and a fully connected layer from these to the logits.
struct Residual {
    entry: [Part; 2],
    blocks: Vec<Block>,
    answer: Part,
    parameters: Vec<Parameter>,
}

impl Residual {
    fn new(seed: u64, device: &Device) -> Result<Self> {
        let mut maker = Maker {
            seed,
            device,
            parameters: Vec::new(),
        };
        let mut shape = vec![3, 24, 24];
        let entry = maker.convolution("entry", 16, 1, &mut shape)?;
        let mut blocks = Vec::new();
        for (index, (filters, stride)) in [(16, 1), (32, 2), (64, 2)].into_iter().enumerate() {
            let name = format!("block_{}", index + 1);
            blocks.push(Block::new(&mut maker, &name, filters, stride, &mut shape)?);
        }
        // The mean of a channel is one number.
        shape.truncate(1);
        let answer = maker.part("answer", Linear::new(10), &mut shape)?;
        Ok(Self {
            entry,
            blocks,
            answer,
            parameters: maker.parameters,
        })
    }
}

impl Model for Residual {
    fn forward(&self, images: &Tensor, pass: &Pass) -> Result<Tensor> {
        let mut features = rectify(&chain(&self.entry, images, pass)?, pass)?;
        for block in &self.blocks {
            features = block.forward(&features, pass)?;
        }
        self.answer.forward(&features.mean((2, 3))?, pass)
    }

    /// The order is that in which they were made: the same on every replica.
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

fn chain(parts: &[Part], input: &Tensor, pass: &Pass) -> Result<Tensor> {
    let mut output = input.clone();
    for part in parts {
        output = part.forward(&output, pass)?;
    }
    Ok(output)
}

fn rectify(input: &Tensor, pass: &Pass) -> Result<Tensor> {
    Ok(Relu.forward(input, &[], pass)?)
}
