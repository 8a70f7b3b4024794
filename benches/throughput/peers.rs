//! Other loaders, each in its own Python environment.

use std::path::Path;
use std::process::Command;

use crate::common::process;
use crate::measure::Row;
use crate::workload::{BATCH_SIZE, Workload};

const SYSTEMS: [&str; 4] = ["tf", "torch", "ffcv", "grain"];

/// Runs every loader that has an environment in `environments` on the data in `data`, in batches of [`BATCH_SIZE`].
pub(crate) fn run(
    environments: &Path,
    data: &Path,
    workers: usize,
    workloads: &[Workload],
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/loaders.py");
    let wanted: Vec<&str> = workloads
        .iter()
        .filter(|workload| workload.batch_size == BATCH_SIZE)
        .map(|workload| workload.name)
        .collect();
    let mut rows = Vec::new();
    if wanted.is_empty() {
        return Ok(rows);
    }
    for system in SYSTEMS {
        let python = environments.join(system).join("bin/python");
        if !python.exists() {
            continue;
        }
        let mut command = Command::new(&python);
        command
            .arg(&script)
            .args(["--system", system, "--workers", &workers.to_string()])
            .args(["--only", &wanted.join(",")])
            .arg(data);
        // A line for each figure: workload, system, images per second, with tabs between them.
        for line in process::output(&mut command)?.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if let [workload, name, rate] = fields[..] {
                rows.push(Row {
                    workload: workload.into(),
                    system: name.into(),
                    samples_per_second: rate.parse()?,
                    own: None,
                });
            }
        }
    }
    Ok(rows)
}
