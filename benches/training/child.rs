//! Measurements in processes of their own: what one leaves behind, such as memory that the allocator keeps, is not
//! there for the next.

use std::error::Error;
use std::process::Command;

use clap::Subcommand;

use crate::common::process::output;
use crate::measure::{Figures, Length};
use crate::network::{Network, Workload};
use crate::scaling::Arrangement;
use crate::system::System;
use crate::{at_least_1, peak};

/// What a child measures, and prints as a line.
#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// Steps of a system
    #[command(hide = true)]
    Steps {
        network: Network,
        #[arg(value_parser = at_least_1)]
        batch: usize,
        system: System,
        #[arg(value_parser = at_least_1)]
        threads: usize,
        #[command(flatten)]
        length: Length,
    },
    /// The machine's limit
    #[command(hide = true)]
    Peak {
        #[arg(value_parser = at_least_1)]
        threads: usize,
    },
    /// Replicas of so many threads each
    #[command(hide = true)]
    Replicas {
        network: Network,
        #[arg(value_parser = at_least_1)]
        batch: usize,
        replicas: usize,
        threads: usize,
        #[command(flatten)]
        length: Length,
    },
}

impl Child {
    pub(crate) fn measure(&self) -> Result<(), Box<dyn Error>> {
        match *self {
            Self::Steps {
                network,
                batch,
                system,
                threads,
                length,
            } => {
                let workload = Workload { network, batch };
                let figures = system.measure(workload, threads, length);
                println!("{}", figures.map_err(|error| -> Box<dyn Error> { error })?);
            }
            Self::Peak { threads } => println!("{}", peak::gigaflops(threads)),
            Self::Replicas {
                network,
                batch,
                replicas,
                threads,
                length,
            } => {
                let arrangement = Arrangement { replicas, threads };
                let workload = Workload { network, batch };
                println!("{}", arrangement.images_per_second(workload, length)?);
            }
        }
        Ok(())
    }
}

/// Has a child time steps.
pub(crate) fn steps(
    workload: Workload,
    system: System,
    threads: usize,
    length: Length,
) -> Result<Figures, Box<dyn Error>> {
    let (network, batch) = (workload.network.name(), workload.batch.to_string());
    let mut command = child(threads)?;
    command.args(["steps", network, &batch, system.value()]);
    command.arg(threads.to_string()).args(length.arguments());
    Ok(Figures::parse(&output(&mut command)?)?)
}

/// Has a child measure the machine's limit, in 10⁹ operations per second.
pub(crate) fn peak(threads: usize) -> Result<f64, Box<dyn Error>> {
    let mut command = child(threads)?;
    command.args(["peak", &threads.to_string()]);
    Ok(output(&mut command)?.trim().parse()?)
}

/// Has a child train on replicas, and returns images per second.
pub(crate) fn replicas(
    workload: Workload,
    arrangement: Arrangement,
    length: Length,
) -> Result<f64, Box<dyn Error>> {
    let Arrangement { replicas, threads } = arrangement;
    let (network, batch) = (workload.network.name(), workload.batch.to_string());
    let mut command = child(threads)?;
    command.args(["replicas", network, &batch]);
    command.args([replicas.to_string(), threads.to_string()]);
    command.args(length.arguments());
    Ok(output(&mut command)?.trim().parse()?)
}

/// This program. candle's element-wise operations have a pool of their own, which only the environment can limit.
fn child(threads: usize) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("CANDLE_NUM_THREADS", threads.to_string());
    Ok(command)
}
