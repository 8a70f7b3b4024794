//! What the training examples share.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::{Args, ValueEnum};
use feedline_pipeline::Error as PipelineError;
use feedline_pipeline::dataset::Dataset;
use feedline_trainer::nn::Model;
use feedline_trainer::optim::{Adam, Schedule};
use feedline_trainer::{Error, Input, Precision, Replicas, Result, Trainer};

/// Options of every training example.
#[derive(Args, Debug)]
pub(crate) struct Training {
    /// Folder with the data set, extracted or as its authors' archives [default: data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Fetch the data set into the folder if it isn't there
    #[arg(long)]
    pub(crate) download: bool,
    /// Epochs: how often every picture is seen. More make it better until the test loss begins to rise
    #[arg(long, value_name = "N")]
    pub(crate) epochs: Option<NonZeroU64>,
    /// Rows of a batch, of all replicas together. A larger one makes fewer and smoother steps
    #[arg(long, value_name = "N")]
    pub(crate) batch_size: Option<NonZeroUsize>,
    /// Train on this many CPU replicas, each with its shard of every batch: at most one per row [default, unless there are
    /// GPUs: one per processor core]
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<NonZeroUsize>,
    /// Train on the first N GPUs, one replica on each [default: all there are]. Needs a build with --features nccl and so
    /// CUDA's toolkit, cuDNN and NCCL; the environment variable CUDA_VISIBLE_DEVICES can hide GPUs
    #[arg(long, value_name = "N", conflicts_with = "replicas")]
    pub(crate) gpus: Option<NonZeroUsize>,
    /// How exactly GPUs compute; less exact is meant to be faster. The CPU, and models of one's own, have f32 only
    #[arg(long, value_enum, default_value_t)]
    pub(crate) precision: PrecisionName,
    /// Copy all pictures to the GPUs once, instead of batch after batch, where they fit. Changes nothing on the CPU
    #[arg(long)]
    pub(crate) resident: bool,
    /// Threads of each replica [default: the processor cores, shared out among the replicas]. More of them change the speed
    /// and no result
    #[arg(long, value_name = "N", requires = "replicas")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Learning rate of Adam: the size of a step. Too large, and the loss jumps or is no number any more
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 0.001,
        allow_negative_numbers = true
    )]
    pub(crate) learning_rate: f32,
    /// How the learning rate changes over the run: large steps find the way, small ones at the end settle
    #[arg(long, value_enum, default_value_t)]
    pub(crate) schedule: ScheduleName,
    /// What weights, order, augmentation and dropout follow from: the same seed repeats a run to the bit
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
}

/// The schedules, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum ScheduleName {
    /// The same rate at every step
    #[default]
    Constant,
    /// From the rate down to a hundredth of it, along a cosine
    Cosine,
    /// Up from a 25th of the rate over three tenths of the steps, then down to nearly nothing: bears, and wants, a
    /// several times higher rate
    OneCycle,
}

impl From<ScheduleName> for Schedule {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Constant => Self::constant(),
            ScheduleName::Cosine => Self::cosine(0.01),
            ScheduleName::OneCycle => Self::one_cycle(),
        }
    }
}

/// The precisions, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum PrecisionName {
    /// 32 bits throughout
    #[default]
    F32,
    /// 32 bits, but numbers are rounded to 10 bits of mantissa before they are multiplied
    Tf32,
    /// Pictures and their gradients in 16 bits, weights and sums in 32
    Bf16,
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Self::F32,
            PrecisionName::Tf32 => Self::Tf32,
            PrecisionName::Bf16 => Self::Bf16,
        }
    }
}

/// What an example does unless told otherwise.
pub(crate) struct Defaults {
    pub(crate) epochs: u64,
    pub(crate) batch_size: usize,
}

impl Training {
    /// Where the data set is looked for.
    pub(crate) fn folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("data"))
    }

    /// Trains what `model` builds, and prints what came of it.
    pub(crate) fn run<M: Model>(
        &self,
        dataset: &Dataset,
        train: Input,
        test: Input,
        defaults: &Defaults,
        model: impl Fn(&Device) -> Result<M> + Send + Sync + 'static,
    ) -> Result<()> {
        let mut replicas = match (self.gpus, self.replicas) {
            (Some(count), _) => Replicas::gpu_count(count.get())?,
            (None, Some(count)) => Replicas::cpu(count.get())?,
            (None, None) => Replicas::auto(),
        };
        if let Some(threads) = self.threads {
            replicas = replicas.threads(threads.get())?;
        }
        let epochs = self.epochs.map_or(defaults.epochs, NonZeroU64::get);
        let batch_size = self
            .batch_size
            .map_or(defaults.batch_size, NonZeroUsize::get);
        println!(
            "{}: {} pictures to train on, {} to test on; {epochs} epochs, batches of {batch_size}, on {replicas}",
            dataset.name,
            dataset.train.len(),
            dataset.test.len()
        );
        let fitted = Trainer::new(model)
            .optimizer(Adam::new(self.learning_rate))
            .schedule(self.schedule.into())
            .epochs(epochs)
            .batch_size(batch_size)
            .replicas(replicas)
            .precision(self.precision.into())
            .resident(self.resident)
            .seed(self.seed)
            .fit(train, Some(test))?;
        println!("\n{}", fitted.history);
        Ok(())
    }
}

/// Ends the program with what went wrong, in words.
pub(crate) fn report(result: Result<()>) -> std::process::ExitCode {
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            if let Error::Pipeline(PipelineError::DatasetNotFound { .. }) = error {
                eprintln!("--download fetches it, and --data DIR takes it from another folder");
            }
            std::process::ExitCode::FAILURE
        }
    }
}
