//! How fast networks are trained, beside Keras and PyTorch and beside what the machine could do at most, all in one
//! run.
//!
//!     cargo bench --bench training
//!     cargo bench --bench training -- --peers ENVIRONMENTS --results benches/results/NAME
//!
//! Everything is measured in turn, round after round, and reported as medians, so that a machine that is slow for a
//! minute is slow for all. Each of our own measurements is a process of its own. `ENVIRONMENTS` is a folder of Python
//! environments named `tf` and `torch`; those that are missing are left out. `benches/README.md` says how to make them,
//! and how to read the table.

mod child;
#[path = "../common/mod.rs"]
mod common;
mod measure;
mod network;
mod peak;
mod peers;
mod picture;
mod report;
mod scaling;
mod system;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;

use child::Child;
use common::median;
use measure::Length;
use network::{Network, Workload};
use report::{Memory, Report, Row, Scaling};
use scaling::Arrangement;
use system::System;

/// Measures training steps beside Keras and PyTorch
#[derive(Parser)]
#[command(subcommand_negates_reqs = true)]
struct Arguments {
    /// Folder of Python environments: tf with Keras, torch with PyTorch
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Where to write training.txt, training.csv, training.svg and machine.txt
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
    /// Rounds; every figure is a median over them
    #[arg(long, default_value_t = 3, value_parser = at_least_1)]
    rounds: usize,
    /// Threads, of all systems alike
    #[arg(long, default_value_t = 2, value_parser = at_least_1)]
    threads: usize,
    /// Only these networks, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_values_t = Network::ALL)]
    only: Vec<Network>,
    /// Pictures in a batch, with commas between them
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_values_t = [32, 128], value_parser = at_least_1)]
    batches: Vec<usize>,
    #[command(flatten)]
    length: Length,
    /// Steps of the run that shows whether memory grows; 0 for none
    #[arg(long, default_value_t = 1000)]
    memory_steps: usize,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
    /// What a child measures
    #[command(subcommand)]
    child: Option<Child>,
}

fn at_least_1(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("must be a number from 1".into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    match &arguments.child {
        Some(child) => child.measure(),
        None => run(&arguments),
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let unwritable = |results: &Path| {
        let results = results.display().to_string();
        move |error| format!("--results: {results}: {error}")
    };
    if let Some(results) = &arguments.results {
        // Now, and not when all is measured.
        std::fs::create_dir_all(results).map_err(unwritable(results))?;
    }
    let peers = peers::find(arguments.peers.as_deref())?;
    let mut report = Report::new(arguments.threads);
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        measure_round(arguments, &peers, &mut report)?;
    }
    if arguments.memory_steps > 0 {
        eprintln!("memory over {} steps", arguments.memory_steps);
        let length = Length {
            steps: Some(arguments.memory_steps),
            ..arguments.length
        };
        for workload in workloads(arguments) {
            let figures = child::steps(workload, System::Feedline, arguments.threads, length)?;
            let steps = arguments.memory_steps;
            report.memory.push(Memory {
                workload,
                steps,
                figures,
            });
        }
    }
    let report = report.medians();
    println!("{report}");
    if let Some(results) = &arguments.results {
        let written = report.write(results, &describe(arguments));
        written.map_err(unwritable(results))?;
        eprintln!("written to {}", results.display());
    }
    Ok(())
}

/// Measures everything once: for each workload all systems in turn, then replicas.
fn measure_round(
    arguments: &Arguments,
    peers: &[peers::Peer],
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let Arguments {
        threads, length, ..
    } = *arguments;
    let mut running = Vec::new();
    for peer in peers {
        running.push(peer.start(threads, length)?);
    }
    for workload in workloads(arguments) {
        report.peaks.push(child::peak(threads)?);
        for system in System::available() {
            let figures = child::steps(workload, system, threads, length)?;
            report.rows.push(Row {
                workload,
                system: system.name(),
                figures,
            });
        }
        for peer in &mut running {
            let figures = peer.measure(workload)?;
            report.rows.push(Row {
                workload,
                system: peer.name,
                figures,
            });
        }
    }
    drop(running);
    let scaled = |workload: &Workload| scaling::NETWORKS.contains(&workload.network);
    for workload in workloads(arguments).into_iter().filter(scaled) {
        for arrangement in Arrangement::all(threads) {
            let images_per_second = child::replicas(workload, arrangement, length)?;
            report.scaling.push(Scaling {
                workload,
                arrangement,
                images_per_second,
            });
        }
    }
    Ok(())
}

fn workloads(arguments: &Arguments) -> Vec<Workload> {
    let batches = |&network| {
        let sizes = arguments.batches.iter();
        sizes.map(move |&batch| Workload { network, batch })
    };
    arguments.only.iter().flat_map(batches).collect()
}

/// The machine and what was run on it, in a few lines.
fn describe(arguments: &Arguments) -> String {
    let Arguments {
        threads,
        rounds,
        length,
        ..
    } = arguments;
    let machine = common::machine::describe();
    format!("{machine}threads: {threads}\nrounds: {rounds}, of {length} each\n")
}
