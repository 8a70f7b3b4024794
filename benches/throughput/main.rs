//! How fast the loader is, beside what the machine could do at most and beside other loaders, all in one run.
//!
//!     cargo bench --bench throughput -- --data DIR
//!     cargo bench --bench throughput -- --data DIR --peers ENVIRONMENTS --out benches/results/NAME
//!
//! Everything is measured in turn, round after round, and reported as medians, so that a machine that is slow for a
//! minute is slow for all. Each measurement is a process of its own. `ENVIRONMENTS` is a folder of Python environments
//! named `tf`, `torch`, `ffcv` and `grain`; those that are missing are left out. `benches/README.md` says how to make
//! them, and how to read the table.

mod child;
#[path = "../common/mod.rs"]
mod common;
mod limit;
mod machine;
mod measure;
mod peers;
mod photographs;
mod picture;
mod report;
mod workload;

use std::path::PathBuf;

use clap::Parser;

use child::System;
use measure::Row;
use workload::{Folders, Workload};

#[global_allocator]
static ALLOCATOR: machine::Counting = machine::Counting;

/// Measures the loader's throughput beside the machine's limit and other loaders
#[derive(Parser)]
struct Arguments {
    /// Folder with CIFAR-10 and MNIST; without it, noise of the same size [default: FEEDLINE_DATA]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Folder of Python environments with other loaders
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Where to write throughput.txt, throughput.csv, throughput.svg and machine.txt
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rounds; every figure is a median over them, memory is the most of them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Epochs in a round, besides one to warm up; other loaders have their own number
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    epochs: u64,
    /// Worker threads, of all loaders alike
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Only these workloads, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// The folder of JPEG files
    #[arg(long, hide = true)]
    photographs: Option<PathBuf>,
    /// What a child measures, and as what
    #[arg(long, hide = true, requires = "system")]
    measure: Option<String>,
    #[arg(long = "as", hide = true)]
    system: Option<System>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let data = arguments
        .data
        .clone()
        .or_else(|| std::env::var_os("FEEDLINE_DATA").map(PathBuf::from));
    let folders = Folders {
        sets: data.as_deref(),
        photographs: arguments.photographs.as_deref(),
    };
    if let (Some(name), Some(system)) = (&arguments.measure, arguments.system) {
        let workloads = choose(std::slice::from_ref(name))?;
        return child::measure(&workloads[0], system, &arguments, folders);
    }
    let workloads = choose(&arguments.only)?;
    let photographs = match workloads.iter().any(Workload::reads_photographs) {
        true => Some(photographs::create(env!("CARGO_TARGET_TMPDIR").as_ref())?),
        false => None,
    };
    let folders = Folders {
        photographs: photographs.as_ref().map(tempfile::TempDir::path),
        ..folders
    };
    let mut rows = Vec::new();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for workload in &workloads {
            rows.extend(child::run(workload, &arguments, folders)?);
        }
        if let Some(peers) = &arguments.peers {
            rows.extend(peers::run(peers, folders, arguments.workers, &workloads)?);
        }
    }
    let overhead = measure::overhead(arguments.workers)?;
    let table = report::Table::new(rows, overhead);
    println!("{table}");
    if let Some(out) = &arguments.out {
        table.write(out, &machine::describe(&arguments, folders.sets.is_some()))?;
        eprintln!("written to {}", out.display());
    }
    Ok(())
}

/// The workloads with these names; all, if there are no names.
fn choose(names: &[String]) -> Result<Vec<Workload>, String> {
    let mut workloads = workload::all();
    let known: Vec<&str> = workloads.iter().map(|workload| workload.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("there is no workload {name}; there are {known}"));
    }
    workloads.retain(|workload| names.is_empty() || names.iter().any(|name| name == workload.name));
    Ok(workloads)
}

impl Row {
    fn key(&self) -> (&str, &str) {
        (&self.workload, &self.system)
    }
}
