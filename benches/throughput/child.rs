//! Measurements in processes of their own: what one leaves behind, such as memory that the allocator keeps, is not
//! there for the next.

use std::error::Error;
use std::process::Command;

use clap::ValueEnum;

use crate::Arguments;
use crate::common::process::output;
use crate::measure::{self, Figures, Row};
use crate::workload::{Folders, Values, Workload};

/// What a child measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    /// A plain loop.
    Limit,
    /// The loader, as plain buffers.
    Host,
    /// The loader, as tensors.
    Tensors,
}

impl System {
    const ALL: [Self; 3] = [Self::Limit, Self::Host, Self::Tensors];

    fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Host => "feedline",
            Self::Tensors => "feedline, tensors",
        }
    }

    /// The plain loop knows some workloads only, and tensors are measured for `f32`.
    fn measures(self, workload: &Workload) -> bool {
        match self {
            Self::Limit => workload.plain.is_some(),
            Self::Host => true,
            Self::Tensors => workload.values == Values::F32,
        }
    }
}

/// Starts a child for each of our own rows of a workload, one after the other.
pub(crate) fn run(
    workload: &Workload,
    arguments: &Arguments,
    folders: Folders<'_>,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for system in System::ALL {
        if !system.measures(workload) {
            continue;
        }
        let value = system.to_possible_value().expect("no value is skipped");
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--measure", workload.name, "--as", value.get_name()])
            .args(["--workers", &arguments.workers.to_string()])
            .args(["--epochs", &arguments.epochs.to_string()]);
        if let Some(sets) = folders.sets {
            command.arg("--data").arg(sets);
        }
        if let Some(photographs) = folders.photographs {
            command.arg("--photographs").arg(photographs);
        }
        let figures = Figures::parse(&output(&mut command)?)?;
        rows.push(Row {
            workload: workload.name.into(),
            system: system.name().into(),
            samples_per_second: figures.samples_per_second,
            samples_per_core_second: figures.samples_per_core_second,
            own: figures.own,
        });
    }
    Ok(rows)
}

/// What a child does: it measures and prints the figures as one line.
pub(crate) fn measure(
    workload: &Workload,
    system: System,
    arguments: &Arguments,
    folders: Folders<'_>,
) -> Result<(), Box<dyn Error>> {
    let source = workload.source(folders)?;
    let (workers, epochs) = (arguments.workers, arguments.epochs);
    let figures = match system {
        System::Limit => measure::limit(workload, &source, workers, epochs)?,
        System::Host => measure::host(workload, &source, workers, epochs)?,
        System::Tensors => measure::tensors(workload, &source, workers, epochs)?,
    };
    println!("{figures}");
    Ok(())
}
