//! Everything that needs a GPU: that what runs there is right, and how fast it is, beside the machine's limits and
//! PyTorch, in one run.
//!
//!     cargo bench --bench gpu --features nccl -- --data DIR --python PYTHON --results benches/results/NAME
//!
//! `ci/gpu-check` builds it for another machine, and runs it there. Each measurement is a process of its own: one that
//! fails or hangs is reported, and does not stop the others. What can't be done on a machine is skipped, with a reason;
//! nothing is estimated. `benches/README.md` says how to read the tables.

mod accuracy;
mod checks;
mod child;
mod clock;
#[path = "../common/mod.rs"]
mod common;
mod copy;
mod figures;
mod loaders;
mod machine;
mod parts;
mod peers;
mod ranks;
mod report;
mod steps;
mod task;
mod workload;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use child::Child;
use clock::Length;
use report::Report;
use workload::{Network, Precision};

/// The folder of data sets, for tests, too.
const DATA: &str = "FEEDLINE_DATA";

/// Checks and measures what runs on GPUs
#[derive(Debug, Parser)]
#[command(subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    settings: Settings,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    /// What a child measures
    #[command(subcommand)]
    child: Option<Child>,
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// Only these parts, with commas between them
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// Folder of test programs, as ci/gpu-check build makes it
    #[arg(long, value_name = "DIR")]
    tests: Option<PathBuf>,
    /// Folder with CIFAR-10, extracted or as it is downloaded; without it, loaders are measured on noise
    #[arg(long, value_name = "DIR", env = DATA)]
    data: Option<PathBuf>,
    /// Python with PyTorch
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
    /// Where to write gpu.txt, gpu.csv, machine.txt and tests.txt
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Rounds; every figure is a median over them
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    length: Length,
    /// Pictures in a batch, with commas between them
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_values_t = [128, 512])]
    batches: Vec<usize>,
    /// Networks to train, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_enum, default_values_t = [Network::MnistCnn, Network::CifarCnn])]
    networks: Vec<Network>,
    /// Numbers to compute with, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_enum, default_values_t = [Precision::F32, Precision::Tf32, Precision::Bf16])]
    precisions: Vec<Precision>,
    /// Percent of right answers that whole runs are to reach
    #[arg(long, default_value_t = 83.91)]
    target: f64,
    /// Epochs of whole runs, over which the learning rate rises and falls
    #[arg(long, default_value_t = 40)]
    epochs: u64,
    /// Only so many pictures of each set for whole runs, to try them out: their accuracy means nothing
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
}

/// What can be asked for by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The tests of operations, loaders and replicas, which compare with the CPU
    Tests,
    /// NCCL with one rank, and with two on one GPU if it allows that
    Nccl,
    /// Batches from the host's memory and from the device's, beside bare copies
    Loaders,
    /// Training steps, beside PyTorch
    Steps,
    /// Whole runs on CIFAR-10 to a given accuracy
    Accuracy,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Tests,
        Self::Nccl,
        Self::Loaders,
        Self::Steps,
        Self::Accuracy,
    ];
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.child {
        Some(child) => child.measure().map(|outcome| {
            print!("{outcome}");
            ExitCode::SUCCESS
        }),
        None => run(&arguments.settings),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Does all parts that were asked for, and fails if one of them did.
fn run(settings: &Settings) -> Result<ExitCode, Box<dyn Error>> {
    if let Some(results) = &settings.results {
        // Now, and not when all is measured.
        std::fs::create_dir_all(results)
            .map_err(|error| format!("--results: {}: {error}", results.display()))?;
    }
    let mut report = Report {
        machine: machine::describe()?,
        sections: Vec::new(),
    };
    print!("{}", report.machine);
    for part in &settings.only {
        let section = parts::run(*part, settings);
        print!("{section}");
        report.sections.push(section);
        if let Some(results) = &settings.results {
            // Now, so that what was measured is not lost if the machine goes away.
            report.write(results)?;
        }
    }
    if let Some(section) = parts::headroom(&report.sections, settings) {
        print!("{section}");
        report.sections.push(section);
    }
    if let Some(results) = &settings.results {
        report.write(results)?;
        println!("\nwritten to {}", results.display());
    }
    Ok(match report.has_failed() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}
