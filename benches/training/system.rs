//! Our own systems: the engine with each set of instructions, and candle's tape on the same network.

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use clap::ValueEnum;
use feedline_trainer::engine::Isa;
use feedline_trainer::engine::{Batch, Engine};
use feedline_trainer::nn::{Model, Parameter, Pass, cross_entropy};
use feedline_trainer::optim::{Adam, Optimizer};
use rayon::ThreadPoolBuilder;

use crate::measure::{self, Figures, Length};
use crate::network::{self, Workload};

/// What trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// The engine, with the fastest instructions that the processor has.
    Feedline,
    /// The engine, with these instructions.
    Avx2,
    Portable,
    /// The same network without the engine.
    Candle,
}

impl System {
    /// Those that differ on this processor.
    pub(crate) fn available() -> Vec<Self> {
        let slower = [(Self::Avx2, Isa::Avx2), (Self::Portable, Isa::Portable)];
        let slower = slower
            .into_iter()
            .filter(|(_, isa)| isa.is_available() && *isa != Isa::detect());
        let slower = slower.map(|(system, _)| system);
        let all = [Self::Feedline].into_iter().chain(slower);
        all.chain([Self::Candle]).collect()
    }

    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Feedline => "feedline",
            Self::Avx2 => "feedline, avx2",
            Self::Portable => "feedline, portable",
            Self::Candle => "candle's tape",
        }
    }

    /// On the command line.
    pub(crate) fn value(self) -> &'static str {
        match self {
            Self::Feedline => "feedline",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
            Self::Candle => "candle",
        }
    }

    /// Times steps on a pool of these many threads.
    pub(crate) fn measure(
        self,
        workload: Workload,
        threads: usize,
        length: Length,
    ) -> Result<Figures, Box<dyn Error + Send + Sync>> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
        let isa = match self {
            Self::Feedline => Isa::detect(),
            Self::Avx2 => Isa::Avx2,
            Self::Portable => Isa::Portable,
            Self::Candle => return pool.install(|| tape(workload, length)),
        };
        pool.install(|| engine(workload, isa, length))
    }
}

type Measured = Result<Figures, Box<dyn Error + Send + Sync>>;

/// Forward, backward and a step of Adam, as a training loop of one's own has them.
fn engine(workload: Workload, isa: Isa, length: Length) -> Measured {
    let network = workload.network.build(&Device::Cpu)?;
    let engine = Engine::new(&network).ok_or("the network has no engine")?;
    let mut engine = engine.isa(isa);
    let (mut values, mut statistics) = Engine::read(&network)?;
    let mut gradients = vec![0.0; values.len()];
    let mut adam = Adam::default();
    let (images, labels) = (network::images(workload), network::labels(workload.batch));
    let share = 1.0 / workload.batch as f32;
    measure::steps(workload, length, |step| {
        let batch = Batch {
            images: &images,
            labels: &labels,
        };
        let pass = Pass::training(0, step, 0);
        engine.gradients(
            &values,
            &mut statistics,
            batch,
            share,
            &pass,
            &mut gradients,
        )?;
        adam.step(&mut values, &gradients, 1.0);
        Ok(())
    })
}

/// The same with candle's operations and its automatic differentiation. The rule is ours, too, but the gradients must
/// be brought to it and the new values back, as the trainer does for models without an engine.
fn tape(workload: Workload, length: Length) -> Measured {
    let network = workload.network.build(&Device::Cpu)?;
    let trained: Vec<&Parameter> = network
        .parameters()
        .iter()
        .filter(|own| own.trainable)
        .collect();
    let shape = workload.network.shape();
    let images = Tensor::from_vec(
        network::images(workload),
        (workload.batch, shape.channels, shape.height, shape.width),
        &Device::Cpu,
    )?;
    let labels = Tensor::from_vec(
        network::labels(workload.batch),
        workload.batch,
        &Device::Cpu,
    )?;
    let flat = |tensors: &[Tensor]| -> candle_core::Result<Vec<f32>> {
        let rows: candle_core::Result<Vec<_>> = tensors.iter().map(Tensor::flatten_all).collect();
        Tensor::cat(&rows?, 0)?.to_dtype(DType::F32)?.to_vec1()
    };
    let own: Vec<Tensor> = trained
        .iter()
        .map(|own| own.value.as_tensor().clone())
        .collect();
    let mut values = flat(&own)?;
    let mut adam = Adam::default();
    measure::steps(workload, length, |step| {
        let logits = network.forward(&images, &Pass::training(0, step, 0))?;
        let loss = cross_entropy(&logits, &labels)?.mean_all()?;
        let gradients = loss.backward()?;
        let gradient = |own: &&Parameter| gradients.get(&own.value).cloned();
        let gradients: Option<Vec<_>> = trained.iter().map(gradient).collect();
        let gradients = gradients.ok_or("a parameter has no gradient")?;
        adam.step(&mut values, &flat(&gradients)?, 1.0);
        let mut rest = &values[..];
        for own in &trained {
            let (numbers, others) = rest.split_at(own.value.elem_count());
            let value = Tensor::from_slice(numbers, own.value.shape(), &Device::Cpu)?;
            own.value.set(&value)?;
            rest = others;
        }
        Ok(())
    })
}
