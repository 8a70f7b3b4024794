//! What the training examples share.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::{Args, ValueEnum};
use feedline_pipeline::Error as PipelineError;
use feedline_pipeline::dataset::Dataset;
use feedline_trainer::checkpoint::Checkpoints;
use feedline_trainer::fit::EarlyStopping;
use feedline_trainer::nn::Model;
use feedline_trainer::optim::{Adam, Muon, Schedule, Sgd};
use feedline_trainer::run::RunFolder;
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
    /// Make one step of this many batches, whose gradients are averaged: as good as a batch that is N times as large, in the
    /// memory of one. Fewer steps to an epoch then bear a higher learning rate
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) accumulate: NonZeroUsize,
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
    /// The rule that makes steps of gradients
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerName,
    /// Learning rate: the size of a step. Too large, and the loss jumps or is no number any more [default: 0.001 with Adam,
    /// 0.02 with SGD]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub(crate) learning_rate: Option<f32>,
    /// How the learning rate changes over the run: large steps find the way, small ones at the end settle
    #[arg(long, value_enum, default_value_t)]
    pub(crate) schedule: ScheduleName,
    /// Shrink all weights by this times the learning rate at each step, which keeps a network from relying on a few large
    /// ones: about 0.01 with Adam, 0.0005 with SGD. Too much, and it learns nothing
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) weight_decay: f32,
    /// Spread this share of each label over all classes, such as 0.1: a network that may not be quite certain usually
    /// answers better. The training loss then stays above 0
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(crate) label_smoothing: f32,
    /// Test, and keep, the average of the weights over about 1 / (1 - DECAY) steps, such as 0.999: calmer than the last
    /// ones, and usually better. Wants several times as many steps
    #[arg(long, value_name = "DECAY")]
    pub(crate) weight_averaging: Option<f32>,
    /// Shorten gradients that are longer than this, such as 1: one odd batch then can't throw the weights far away
    #[arg(long, value_name = "LENGTH")]
    pub(crate) clip: Option<f32>,
    /// End early when the test loss has not been lower than its best for this many epochs. The figure is then a little
    /// flattered, as the test set has had its say
    #[arg(long, value_name = "EPOCHS")]
    pub(crate) patience: Option<NonZeroU64>,
    /// Save the run into this folder after each epoch, the last three and the best one. A run that was stopped there goes on
    /// with --resume
    #[arg(long, value_name = "DIR")]
    pub(crate) checkpoints: Option<PathBuf>,
    /// Go on from the latest checkpoint, to the bit, if there is one; with the same settings
    #[arg(long, requires = "checkpoints")]
    pub(crate) resume: bool,
    /// Record the run in this folder: settings, a line of JSON for each epoch, TensorBoard's event files, curves and a
    /// report.html
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// What weights, order, augmentation and dropout follow from: the same seed repeats a run to the bit
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
}

/// The optimizers, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum OptimizerName {
    /// Adam: each weight gets steps of its own size. Needs little tuning
    #[default]
    Adam,
    /// SGD with Nesterov's momentum of 0.9: wants its learning rate and schedule chosen with care, and can end better
    Sgd,
    /// Muon, and Adam for what is no matrix: learns most from an epoch, and takes longer for it
    Muon,
}

impl OptimizerName {
    fn usual_rate(self) -> f32 {
        match self {
            Self::Adam => 0.001,
            Self::Sgd => 0.02,
            Self::Muon => 0.002,
        }
    }
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
        let mut trainer = Trainer::new(model)
            .schedule(self.schedule.into())
            .epochs(epochs)
            .batch_size(batch_size)
            .replicas(replicas)
            .precision(self.precision.into())
            .resident(self.resident)
            .label_smoothing(self.label_smoothing)
            .accumulate(self.accumulate.get())
            .seed(self.seed);
        if let Some(decay) = self.weight_averaging {
            trainer = trainer.weight_averaging(decay);
        }
        if let Some(length) = self.clip {
            trainer = trainer.clip_gradients(length);
        }
        if let Some(patience) = self.patience {
            trainer = trainer.callback(EarlyStopping::new(patience.get()));
        }
        if let Some(folder) = &self.checkpoints {
            let checkpoints = Checkpoints::in_folder(folder).keep_last(3).keep_best(true);
            trainer = trainer.checkpoints(checkpoints).resume(self.resume);
        }
        if let Some(folder) = &self.record {
            let arguments: Vec<_> = std::env::args().collect();
            let run = match self.resume && folder.join("config.json").exists() {
                true => RunFolder::reopen(folder)?,
                false => RunFolder::create(folder, &arguments)?,
            };
            trainer = trainer.callback(run);
        }
        let rate = self.learning_rate.unwrap_or(self.optimizer.usual_rate());
        let fitted = match self.optimizer {
            OptimizerName::Adam => {
                let adam = Adam::new(rate).weight_decay(self.weight_decay);
                trainer.optimizer(adam).fit(train, Some(test))
            }
            OptimizerName::Sgd => {
                let sgd = Sgd::new(rate).momentum(0.9).nesterov();
                let sgd = sgd.weight_decay(self.weight_decay);
                trainer.optimizer(sgd).fit(train, Some(test))
            }
            OptimizerName::Muon => {
                let muon = Muon::new(rate).weight_decay(self.weight_decay);
                trainer.optimizer(muon).fit(train, Some(test))
            }
        }?;
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
