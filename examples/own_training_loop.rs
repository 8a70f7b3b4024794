//! The loader alone, in a training loop written by hand with candle and candle's own optimizer.
//!
//!     cargo run --release --example own_training_loop
//!
//! Nothing of Feedline's trainer is used here: this is what a program looks like that has a training loop already and
//! wants its batches shuffled, augmented and prefetched.

use std::process::ExitCode;

use candle_core::{DType, Device, Tensor};
use candle_nn::{AdamW, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use clap::Parser;
use feedline_pipeline::dataset::Generated;
use feedline_pipeline::{Loader, Tail, Transform};

/// Run a training loop of one's own around the loader, on generated pictures
///
/// Network, loss and optimizer are candle's; the loader only brings the batches. Prints the loader's plan, then the mean
/// loss and the accuracy on 1,000 test pictures of each epoch.
#[derive(Parser)]
struct Arguments {
    /// Epochs to train
    #[arg(long, default_value_t = 5)]
    epochs: u64,
    /// Rows of a batch
    #[arg(long, default_value_t = 64)]
    batch_size: usize,
    /// Bytes that the batches of a loader may take; fewer mean fewer batches ahead
    #[arg(long, default_value_t = 16 << 20)]
    memory_budget: usize,
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

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    let data = Generated::open(3_000, 1_000)?;
    let values = |crop: Transform| crop.scale().normalize([0.5; 3], [0.25; 3]);
    let loader = |source, shuffle, tail| {
        Loader::builder(source)
            .batch_size(arguments.batch_size)
            .shuffle(shuffle)
            .tail(tail)
            .seed(7)
            .transform(if shuffle {
                values(Transform::new().random_crop(32, 32, 2))
            } else {
                values(Transform::new())
            })
            .memory_budget(arguments.memory_budget)
            .device(&device)
            .build()
    };
    let mut train = loader(data.train, true, Tail::Drop)?;
    let mut test = loader(data.test, false, Tail::Pad)?;
    println!("{}", train.plan());

    // Anything that candle can do.
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &device);
    let stride = |stride| candle_nn::Conv2dConfig {
        stride,
        ..Default::default()
    };
    let edges = candle_nn::conv2d(3, 16, 5, stride(2), builder.pp("edges"))?;
    let shapes = candle_nn::conv2d(16, 32, 5, stride(2), builder.pp("shapes"))?;
    let answer = candle_nn::linear(32 * 5 * 5, 10, builder.pp("answer"))?;
    let forward = |images: &Tensor| {
        let features = shapes.forward(&edges.forward(images)?.relu()?)?.relu()?;
        answer.forward(&features.flatten_from(1)?)
    };
    let mut optimizer = AdamW::new(
        variables.all_vars(),
        ParamsAdamW {
            lr: 1e-3,
            ..Default::default()
        },
    )?;

    for epoch in 0..arguments.epochs {
        let (mut loss_sum, mut steps) = (0.0, 0);
        for batch in train.epoch(epoch) {
            let batch = batch?;
            let loss = candle_nn::loss::cross_entropy(&forward(&batch.images)?, &batch.labels)?;
            optimizer.backward_step(&loss)?;
            loss_sum += f64::from(loss.to_scalar::<f32>()?);
            steps += 1;
        }
        let (mut correct, mut samples) = (0.0, 0);
        for batch in test.epoch(epoch) {
            let batch = batch?;
            // The last batch is padded: only its first rows are samples.
            let logits = forward(&batch.images)?.narrow(0, 0, batch.info.samples)?;
            let labels = batch.labels.narrow(0, 0, batch.info.samples)?;
            let right = logits.argmax(1)?.eq(&labels)?.to_dtype(DType::F32)?;
            correct += f64::from(right.sum_all()?.to_scalar::<f32>()?);
            samples += batch.info.samples;
        }
        println!(
            "epoch {}: mean loss {:.4}, {:.1} % of {samples} test pictures",
            epoch + 1,
            loss_sum / f64::from(steps),
            100.0 * correct / samples as f64
        );
    }
    Ok(())
}
