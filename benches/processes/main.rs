//! What it costs to train in several processes: all-reduces by their bytes, and training steps of 1, 2 and 4 processes.
//!
//!     cargo bench --bench processes --features mpi
//!     cargo bench --bench processes --features mpi -- --rounds 5 --results benches/results/NAME
//!
//! It starts itself under `mpirun`. Everything is measured in turn, round after round, and reported as medians.
//! `benches/README.md` says how to read the tables.

mod child;
#[path = "../common/mod.rs"]
mod common;
mod report;

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;

use clap::Parser;

use child::{Child, Steps};
use common::process::output;
use report::{Report, Sum};

/// Processes that are measured.
const PROCESSES: [usize; 3] = [1, 2, 4];

/// Measures training in several processes over MPI
#[derive(Parser)]
#[command(subcommand_negates_reqs = true)]
struct Arguments {
    /// Where to write processes.txt and machine.txt
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Rounds; every figure is a median over them
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Steps of each measured run
    #[arg(long, default_value_t = 60)]
    steps: usize,
    /// Arguments of mpirun, in one word
    #[arg(
        long,
        value_name = "ARGUMENTS",
        default_value = "--allow-run-as-root --oversubscribe --bind-to none",
        allow_hyphen_values = true
    )]
    mpirun: String,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    /// What a child measures
    #[command(subcommand)]
    child: Option<Child>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    match &arguments.child {
        Some(child) => child.measure(),
        None => run(&arguments),
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let Some(results) = &arguments.results {
        // Now, and not when all is measured.
        std::fs::create_dir_all(results)?;
    }
    let mut report = Report::default();
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        for processes in PROCESSES {
            if processes > 1 {
                let lines = arguments.start(processes, &["sums".into()])?;
                for line in lines.lines() {
                    report.sums.push((processes, Sum::parse(line)?));
                }
            }
            for steps in Steps::all(processes) {
                let mut words = steps.words();
                words.push(arguments.steps.to_string());
                let seconds = match steps.threads {
                    // Replicas that are threads of one process, for comparison.
                    true => output(Command::new(std::env::current_exe()?).args(&words))?,
                    false => arguments.start(processes, &words)?,
                };
                report.steps.push((steps, seconds.trim().parse()?));
            }
        }
    }
    println!("{report}");
    if let Some(results) = &arguments.results {
        std::fs::write(results.join("processes.txt"), report.to_string())?;
        let machine = common::machine::describe();
        let (rounds, steps) = (arguments.rounds, arguments.steps);
        let machine = format!("{machine}rounds: {rounds}, of {steps} steps each\n");
        std::fs::write(results.join("machine.txt"), machine)?;
    }
    Ok(())
}

impl Arguments {
    /// What rank 0 of so many processes prints.
    fn start(&self, processes: usize, words: &[String]) -> Result<String, Box<dyn Error>> {
        let mut mpirun = Command::new("mpirun");
        mpirun.args(["-n", &processes.to_string()]);
        mpirun.args(self.mpirun.split_whitespace());
        mpirun.arg(std::env::current_exe()?).args(words);
        output(&mut mpirun)
    }
}
