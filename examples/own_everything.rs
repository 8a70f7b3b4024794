//! Everything of one's own: data, model and loss, trained by Feedline's trainer.
//!
//!     cargo run --release --example own_everything
//!
//! Three arms of a spiral are to be told apart by a small network, written with candle alone, that learns with a hinge loss.
//! Each of the three is a trait with one to four methods: `Source`, `Model` and `Loss`. Shuffling, batches, replicas, the
//! progress line and evaluation are there for them as for all others.

use std::f32::consts::TAU;
use std::num::{NonZeroU64, NonZeroUsize};
use std::process::ExitCode;
use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use clap::Parser;
use feedline_pipeline::{Random, Sample, Shape, Source, Transform};
use feedline_trainer::nn::{Loss, Model, Parameter, Pass};
use feedline_trainer::optim::{Adam, Schedule};
use feedline_trainer::{Input, Replicas, Result, Trainer};

/// Tell the arms of a spiral apart, with data, a model and a loss that are written here
///
/// Prints loss and accuracy of each epoch, on points to train on and on others, and in the end what the network makes of the
/// plane.
#[derive(Parser)]
struct Arguments {
    /// How often each of the 3,000 points is seen
    #[arg(long, value_name = "N", default_value = "30")]
    epochs: NonZeroU64,
    /// Train on this many CPU replicas; they change the speed and, rounding aside, nothing else
    #[arg(long, value_name = "N", default_value = "2")]
    replicas: NonZeroUsize,
    /// How far the right answer must be ahead of all others before a point costs nothing
    #[arg(long, default_value_t = 1.0)]
    margin: f64,
    /// What the points and the first weights follow from
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

const ARMS: usize = 3;

/// Points of a plane on the arms of a spiral. A sample has bytes, here two: a column and a row.
struct Spiral {
    points: usize,
    seed: u64,
}

impl Source for Spiral {
    fn len(&self) -> usize {
        self.points
    }

    fn shape(&self) -> Shape {
        Shape::new(2, 1, 1)
    }

    fn classes(&self) -> usize {
        ARMS
    }

    fn sample<'a>(
        &'a self,
        index: usize,
        scratch: &'a mut Vec<u8>,
    ) -> feedline_pipeline::Result<Sample<'a>> {
        let mut random = Random::new([self.seed, index as u64]);
        let arm = index % ARMS;
        let outwards = random.uniform(0.1, 1.0);
        let turn = arm as f32 / ARMS as f32 + outwards + random.uniform(-0.06, 0.06);
        let (sine, cosine) = (turn * TAU).sin_cos();
        let byte = |x: f32| ((x * outwards + 1.0) * 127.5) as u8;
        scratch.clear();
        scratch.extend([byte(cosine), byte(sine)]);
        Ok(Sample {
            pixels: scratch,
            label: arm as u32,
        })
    }
}

/// Fully connected layers with tanh between them.
struct Network {
    parameters: Vec<Parameter>,
}

impl Network {
    fn new(widths: &[usize], seed: u64, device: &Device) -> Result<Self> {
        let mut parameters = Vec::new();
        for (layer, pair) in widths.windows(2).enumerate() {
            let (input, output) = (pair[0], pair[1]);
            let mut random = Random::new([seed, layer as u64]);
            let limit = (6.0 / (input + output) as f32).sqrt();
            let weight: Vec<_> = (0..input * output)
                .map(|_| random.uniform(-limit, limit))
                .collect();
            let weight = Var::from_vec(weight, (input, output), device)?;
            let bias = Var::from_vec(vec![0f32; output], output, device)?;
            parameters.push(Parameter::new(format!("{layer}.weight"), weight));
            parameters.push(Parameter::new(format!("{layer}.bias"), bias));
        }
        Ok(Self { parameters })
    }
}

impl Model for Network {
    fn forward(&self, points: &Tensor, _pass: &Pass) -> Result<Tensor> {
        let mut output = points.flatten_from(1)?;
        for (layer, pair) in self.parameters.chunks(2).enumerate() {
            let input = match layer {
                0 => output,
                _ => output.tanh()?,
            };
            let (weight, bias) = (pair[0].value.as_tensor(), pair[1].value.as_tensor());
            output = input.matmul(weight)?.broadcast_add(bias)?;
        }
        Ok(output)
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }
}

/// The hinge loss: by how much each other answer comes too near to the right one, added up.
#[derive(Debug)]
struct Hinge {
    margin: f64,
}

impl Loss for Hinge {
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let right = logits.gather(&labels.unsqueeze(1)?, 1)?;
        let too_near = (logits.broadcast_sub(&right)? + self.margin)?.relu()?;
        // The right answer comes as near to itself as can be: by the margin.
        Ok((too_near.sum(1)? - self.margin)?)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed;
    let points = |points, seed| {
        // From bytes to -1 to 1.
        let transform = Transform::new().scale().normalize([0.5, 0.5], [0.5, 0.5]);
        Input::new(Arc::new(Spiral { points, seed }), transform)
    };
    let fitted = Trainer::new(move |device| Network::new(&[2, 32, 32, ARMS], seed, device))
        .loss(Hinge {
            margin: arguments.margin,
        })
        .optimizer(Adam::new(0.02))
        .schedule(Schedule::cosine(0.01))
        .epochs(arguments.epochs.get())
        .batch_size(50)
        .replicas(Replicas::cpu(arguments.replicas.get())?)
        .seed(seed)
        .fit(points(3_000, seed), Some(points(1_000, seed + 1)))?;
    if let Some(test) = fitted.history.last_test() {
        let percent = 100.0 * test.accuracy;
        println!(
            "{percent:.2} % of {} other points are told apart\n",
            test.samples
        );
    }
    draw(&fitted.model)
}

/// Prints which arm the network takes each place of the plane for.
fn draw(model: &Network) -> Result<()> {
    const WIDTH: usize = 64;
    const HEIGHT: usize = 28;
    let place = |at: usize, of: usize| 2.0 * at as f32 / (of - 1) as f32 - 1.0;
    let places = (0..HEIGHT).flat_map(|row| {
        (0..WIDTH).flat_map(move |column| [place(column, WIDTH), place(row, HEIGHT)])
    });
    let places: Vec<f32> = places.collect();
    let places = Tensor::from_vec(places, (WIDTH * HEIGHT, 2), &Device::Cpu)?;
    let answers = model.forward(&places, &Pass::evaluation())?.argmax(1)?;
    for row in answers.reshape((HEIGHT, WIDTH))?.to_vec2::<u32>()? {
        let line: String = row
            .iter()
            .map(|&arm| ['.', 'o', '#'][arm as usize])
            .collect();
        println!("{line}");
    }
    Ok(())
}
