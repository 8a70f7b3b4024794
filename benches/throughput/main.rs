//! How fast the loader is, beside what the machine could do at most and beside other loaders, all in one run.
//!
//!     cargo bench --bench throughput -- --data DIR
//!     cargo bench --bench throughput -- --data DIR --peers ENVIRONMENTS --out benches/results/NAME
//!
//! Everything is measured in turn, round after round, and reported as medians, so that a machine that is slow for a
//! minute is slow for all. `ENVIRONMENTS` is a folder of Python environments named `tf`, `torch`, `ffcv` and `grain`; those
//! that are missing are left out (`benches/peers/loaders.py` says how to make them).

mod limit;
mod machine;
mod measure;
mod peers;
mod report;
mod workload;

use std::path::PathBuf;

use clap::Parser;

use measure::Row;
use workload::Workload;

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
    /// Where to write throughput.csv, throughput.svg and machine.txt
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rounds; every figure is a median over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Worker threads, of all loaders alike
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Only these workloads, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
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
    let workloads: Vec<Workload> = workload::all(data.as_deref())?
        .into_iter()
        .filter(|workload| {
            arguments.only.is_empty() || arguments.only.iter().any(|name| name == workload.name)
        })
        .collect();
    let mut rows = Vec::new();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for workload in &workloads {
            rows.extend(measure::workload(workload, arguments.workers)?);
        }
        if let (Some(peers), Some(data)) = (&arguments.peers, &data) {
            rows.extend(peers::run(peers, data, arguments.workers, &workloads)?);
        }
    }
    let overhead = measure::overhead(arguments.workers)?;
    let table = report::Table::new(rows, overhead);
    println!("{table}");
    if let Some(out) = &arguments.out {
        table.write(out, &machine::describe(&arguments.workers, data.is_some()))?;
        eprintln!("written to {}", out.display());
    }
    Ok(())
}

/// The median; 0 of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

impl Row {
    fn key(&self) -> (&str, &str) {
        (&self.workload, &self.system)
    }
}
