//! Measurements in processes of their own.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Subcommand;
use feedline_pipeline::cuda::Gpu;

use crate::accuracy::Run;
use crate::clock::Length;
use crate::figures::Outcome;
use crate::loaders::Loading;
use crate::ranks::Rank;
use crate::workload::Step;
use crate::{copy, steps, task};

/// For one measurement, loading of kernels and choice of algorithms included.
const DEADLINE: Duration = Duration::from_secs(300);

/// What a child measures, and prints as lines.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Child {
    /// Copies of so many pictures
    #[command(hide = true)]
    Copy {
        batch: usize,
        #[command(flatten)]
        length: Length,
    },
    /// A loader's batches
    #[command(hide = true)]
    Load {
        #[command(flatten)]
        loading: Loading,
        #[arg(long)]
        data: Option<PathBuf>,
        #[command(flatten)]
        length: Length,
    },
    /// Training steps
    #[command(hide = true)]
    Step {
        #[command(flatten)]
        step: Step,
        /// With algorithms that are found by measuring
        #[arg(long)]
        measured: bool,
        #[command(flatten)]
        length: Length,
    },
    /// A whole training run
    #[command(hide = true)]
    Accuracy {
        #[command(flatten)]
        run: Run,
    },
    /// One of several processes that sum numbers
    #[command(hide = true)]
    Rank {
        #[command(flatten)]
        rank: Rank,
        #[command(flatten)]
        length: Length,
    },
}

impl Child {
    pub(crate) fn measure(&self) -> Result<Outcome, Box<dyn Error>> {
        let gpu = Gpu::new(0)?;
        let figures = match self {
            Self::Copy { batch, length } => copy::measure(&gpu, *batch, *length)?,
            Self::Load {
                loading,
                data,
                length,
            } => loading.measure(&gpu, data.as_deref(), *length)?,
            Self::Step {
                step,
                measured,
                length,
            } => steps::measure(&gpu, *step, *measured, *length)?,
            Self::Accuracy { run } => run.measure(&gpu)?,
            Self::Rank { rank, length } => rank.measure(&gpu, *length)?,
        };
        Ok(Outcome::Done(figures))
    }
}

/// Has another process of this program measure what `words` say, for so long.
pub(crate) fn run(
    words: &[impl AsRef<str>],
    length: Length,
    change: impl FnOnce(&mut Command),
) -> Outcome {
    let add = |command: &mut Command| {
        command.args(length.arguments());
        change(command);
    };
    run_to_the_end(words, DEADLINE, add)
}

/// Has another process of this program do what `words` say.
pub(crate) fn run_to_the_end(
    words: &[impl AsRef<str>],
    deadline: Duration,
    change: impl FnOnce(&mut Command),
) -> Outcome {
    let mut command = match std::env::current_exe() {
        Ok(program) => Command::new(program),
        Err(error) => {
            return Outcome::Failed(format!("this program does not find itself: {error}"));
        }
    };
    command.args(words.iter().map(AsRef::as_ref));
    change(&mut command);
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    match task::measure(&mut command, deadline) {
        Outcome::Failed(reason) => Outcome::Failed(format!("{}: {reason}", words.join(" "))),
        outcome => outcome,
    }
}
