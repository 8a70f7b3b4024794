//! Other loaders, each in its own Python environment.

use std::path::Path;
use std::process::Command;

use crate::common::process;
use crate::measure::Row;
use crate::workload::{Folders, Workload};

const SYSTEMS: [&str; 4] = ["tf", "torch", "ffcv", "grain"];

/// Runs every loader that has an environment in `environments`. They know no noise: without the real sets, only
/// photographs are left.
pub(crate) fn run(
    environments: &Path,
    folders: Folders<'_>,
    workers: usize,
    workloads: &[Workload],
) -> Result<Vec<Row>, Box<dyn std::error::Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/loaders.py");
    let wanted: Vec<&str> = workloads
        .iter()
        .filter(|workload| workload.has_peers())
        .filter(|workload| folders.sets.is_some() || workload.reads_photographs())
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
            .args(["--only", &wanted.join(",")]);
        if let Some(photographs) = folders.photographs {
            command.arg("--photographs").arg(photographs);
        }
        // They take a while to read.
        let sets = folders.sets.filter(|_| wanted != ["photographs"]);
        command.args(sets);
        // A line for each figure: workload, system, images per second and per second of processor time, with tabs between
        // them.
        for line in process::output(&mut command)?.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if let [workload, name, rate, per_core] = fields[..] {
                rows.push(Row {
                    workload: workload.into(),
                    system: name.into(),
                    samples_per_second: rate.parse()?,
                    samples_per_core_second: Some(per_core.parse()?),
                    own: None,
                });
            }
        }
    }
    Ok(rows)
}
