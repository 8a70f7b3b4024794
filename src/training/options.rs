//! The options of every training program.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, ValueEnum};
use feedline_trainer::Precision;
use feedline_trainer::optim::Schedule;
use serde::Serialize;

use crate::Watching;
use crate::numbers::{at_least_one, seed};

/// The options of every training program. They are written down with a recorded run, but for those that say where something
/// lies.
#[derive(Args, Debug, Clone, Serialize)]
#[command(group(ArgGroup::new("kept").multiple(true)))]
pub struct Training {
    /// Folder with the data set, extracted or as its authors' archives [default: data]
    #[arg(long, value_name = "DIR")]
    #[serde(skip)]
    pub data: Option<PathBuf>,
    /// Fetch the data set into the folder if it isn't there
    #[arg(long)]
    #[serde(skip)]
    pub download: bool,
    /// Epochs: how often every picture is seen. More make it better until the test loss begins to rise
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU64>, allow_negative_numbers = true)]
    pub epochs: Option<NonZeroU64>,
    /// Rows of a batch, of all replicas together. A larger one makes fewer and smoother steps
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub batch_size: Option<NonZeroUsize>,
    /// Make one step of this many batches, whose gradients are averaged: as good as a batch that is N times as large, in the
    /// memory of one. Fewer steps to an epoch then bear a higher learning rate
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub accumulate: NonZeroUsize,
    /// Train on this many CPU replicas, each with its shard of every batch: at most one per row [default, unless there are
    /// GPUs: one per processor core]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub replicas: Option<NonZeroUsize>,
    /// Train on the first N GPUs, one replica on each [default: all there are]. Needs a build with --features nccl and so
    /// CUDA's toolkit, cuDNN and NCCL; the environment variable CUDA_VISIBLE_DEVICES can hide GPUs
    #[arg(long, value_name = "N", conflicts_with = "replicas", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub gpus: Option<NonZeroUsize>,
    /// How exactly GPUs compute; less exact is meant to be faster. The CPU, and models of one's own, have f32 only
    #[arg(long, value_enum, default_value_t)]
    pub precision: PrecisionName,
    /// Copy all pictures to the GPUs once, instead of batch after batch, where they fit. Changes nothing on the CPU
    #[arg(long)]
    pub resident: bool,
    /// Threads of each replica [default: the processor cores, shared out among the replicas]. More of them change the speed
    /// and no result
    #[arg(long, value_name = "N", requires = "replicas", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub threads: Option<NonZeroUsize>,
    /// Seconds that a replica waits for the others before it says who is missing and gives up. Counts in several processes,
    /// which torchrun, srun or mpirun start; longer than the longest step
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = at_least_one::<NonZeroU64>, allow_negative_numbers = true)]
    #[serde(skip)]
    pub deadline: NonZeroU64,
    /// The rule that makes steps of gradients
    #[arg(long, value_enum, default_value_t)]
    pub optimizer: OptimizerName,
    /// Learning rate: the size of a step. Too large, and the loss jumps or is no number any more [default: that of the
    /// network, mostly 0.001 with Adam, 0.02 with SGD, 0.002 with Muon]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub learning_rate: Option<f32>,
    /// How the learning rate changes over the run: large steps find the way, small ones at the end settle [default: that of
    /// the network, mostly constant]
    #[arg(long, value_enum)]
    pub schedule: Option<ScheduleName>,
    /// Shrink all weights by this times the learning rate at each step, which keeps a network from relying on a few large
    /// ones: about 0.01 with Adam and Muon, 0.0005 with SGD. Too much, and it learns nothing
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub weight_decay: f32,
    /// Spread this share of each label over all classes, such as 0.1: a network that may not be quite certain usually
    /// answers better. The training loss then stays above 0
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub label_smoothing: f32,
    /// Test, and keep, the average of the weights over about 1 / (1 - DECAY) steps, such as 0.999: calmer than the last
    /// ones, and usually better. Wants several times as many steps
    #[arg(long, value_name = "DECAY", allow_negative_numbers = true)]
    pub weight_averaging: Option<f32>,
    /// Shorten gradients that are longer than this, such as 1: one odd batch then can't throw the weights far away
    #[arg(long, value_name = "LENGTH", allow_negative_numbers = true)]
    pub clip: Option<f32>,
    /// End early when the test loss has not been lower than its best for this many epochs. The figure is then a little
    /// flattered, as the test set has had its say
    #[arg(long, value_name = "EPOCHS", value_parser = at_least_one::<NonZeroU64>, allow_negative_numbers = true)]
    pub patience: Option<NonZeroU64>,
    /// Save the run into this folder after each epoch, the last three and the best one. A run that was stopped there goes on
    /// with --resume [default with --record and --resume: the folder `checkpoints` in the record]
    #[arg(long, value_name = "DIR", group = "kept")]
    #[serde(skip)]
    pub checkpoints: Option<PathBuf>,
    /// Go on from the latest checkpoint, to the bit, if there is one; with the same settings
    #[arg(long, requires = "kept")]
    #[serde(skip)]
    pub resume: bool,
    /// Record the run in this folder: settings, a line of JSON for each epoch, TensorBoard's event files, curves, what the
    /// trained network makes of the test set, and a report.html
    #[arg(long, value_name = "DIR", group = "kept")]
    #[serde(skip)]
    pub record: Option<PathBuf>,
    /// How to watch it at work.
    #[command(flatten)]
    #[serde(skip)]
    pub watching: Watching,
    /// What weights, order, augmentation and dropout follow from: the same seed repeats a run to the bit
    #[arg(
        long,
        value_name = "N",
        default_value_t = 42,
        value_parser = seed,
        allow_negative_numbers = true
    )]
    pub seed: u64,
}

/// The optimizers, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Adam: each weight gets steps of its own size. Needs little tuning
    #[default]
    Adam,
    /// SGD with Nesterov's momentum of 0.9: wants its learning rate and schedule chosen with care, and can end better
    Sgd,
    /// Muon, and Adam for what is no matrix: gets further in few epochs, and takes longer for each
    Muon,
}

impl OptimizerName {
    pub(super) fn usual_rate(self) -> f32 {
        match self {
            Self::Adam => 0.001,
            Self::Sgd => 0.02,
            Self::Muon => 0.002,
        }
    }
}

/// The schedules, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// The same rate at every step
    #[default]
    Constant,
    /// From the rate down to a hundredth of it, along a cosine
    Cosine,
    /// Up from a 25th of the rate over three tenths of the steps, then down to nearly nothing: bears, and wants, a
    /// several times higher rate
    OneCycle,
    /// A tenth of the rate after each three tenths of the steps
    Steps,
}

impl From<ScheduleName> for Schedule {
    fn from(name: ScheduleName) -> Self {
        match name {
            ScheduleName::Constant => Self::constant(),
            ScheduleName::Cosine => Self::cosine(0.01),
            ScheduleName::OneCycle => Self::one_cycle(),
            ScheduleName::Steps => Self::step(0.1, 0.3),
        }
    }
}

/// The precisions, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PrecisionName {
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

impl Training {
    /// Where the data set is looked for.
    pub fn folder(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new("data"))
    }

    /// Where the run is saved, if it is.
    pub fn checkpoints(&self) -> Option<PathBuf> {
        match (&self.checkpoints, &self.record) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some(record)) if self.resume => Some(record.join("checkpoints")),
            _ => None,
        }
    }
}
