//! What torchrun says, and whoever sets the same variables.

use super::variables::{Counts, LOOPBACK, Variables, environment};
use super::{Launch, Launcher, PORT};
use crate::error::Result;

pub(super) const RUN_ID: &str = "TORCHELASTIC_RUN_ID";
pub(super) const RANK: &str = "RANK";
pub(super) const WORLD_SIZE: &str = "WORLD_SIZE";

pub(super) fn read(variables: &Variables<'_>) -> Result<Launch> {
    let (process, processes) = match (variables.index(RANK)?, variables.count(WORLD_SIZE)?) {
        (Some(process), Some(processes)) => (process, processes),
        (Some(process), None) => {
            return Err(environment(
                format!("RANK is {}, WORLD_SIZE is not set", process.value),
                "set WORLD_SIZE to the number of processes, or unset RANK to train in one",
            ));
        }
        (None, Some(processes)) => {
            return Err(environment(
                format!("WORLD_SIZE is {}, RANK is not set", processes.value),
                "set RANK to this process's number, from 0, or unset WORLD_SIZE to train in one process; under Slurm start it by srun",
            ));
        }
        (None, None) => {
            return Err(environment(
                "TORCHELASTIC_RUN_ID is set, RANK and WORLD_SIZE are not",
                "start it by torchrun --no-python, or unset TORCHELASTIC_RUN_ID",
            ));
        }
    };
    let local = match (
        variables.index("LOCAL_RANK")?,
        variables.count("LOCAL_WORLD_SIZE")?,
    ) {
        (Some(process), Some(processes)) => Some((process, processes)),
        (None, None) => None,
        (Some(process), None) => {
            return Err(environment(
                format!(
                    "LOCAL_RANK is {}, LOCAL_WORLD_SIZE is not set",
                    process.value
                ),
                "set LOCAL_WORLD_SIZE to the number of processes on this machine, or unset LOCAL_RANK",
            ));
        }
        (None, Some(processes)) => {
            return Err(environment(
                format!(
                    "LOCAL_WORLD_SIZE is {}, LOCAL_RANK is not set",
                    processes.value
                ),
                "set LOCAL_RANK to this process's number among those on this machine, or unset LOCAL_WORLD_SIZE",
            ));
        }
    };
    let address = match variables.text("MASTER_ADDR")? {
        Some(address) => address,
        None if processes.value == 1 => LOOPBACK.into(),
        None => {
            return Err(environment(
                format!("WORLD_SIZE is {}, MASTER_ADDR is not set", processes.value),
                "set MASTER_ADDR to the host of the process with RANK 0, the same everywhere",
            ));
        }
    };
    let is_torchrun = variables.has(RUN_ID);
    let port = port(variables)?;
    let counts = Counts {
        process,
        processes,
        local,
    };
    match is_torchrun {
        true => {
            let run = variables.text(RUN_ID)?.unwrap_or_default();
            // Not the number of restarts: each machine's torchrun counts its own.
            let run = format!("torchrun {run}");
            counts.launch(Launcher::Torchrun, address, port, run)
        }
        false => {
            // Process 0 may know itself by another address.
            let run = format!("port {port}");
            counts.launch(Launcher::Own, address, port, run)
        }
    }
}

fn port(variables: &Variables<'_>) -> Result<u16> {
    if let Some(port) = variables.port("FEEDLINE_PORT")? {
        return Ok(port);
    }
    let port = variables.port("MASTER_PORT")?.unwrap_or(PORT);
    let agent = variables.text("TORCHELASTIC_USE_AGENT_STORE")?;
    if !agent.is_some_and(|agent| agent.eq_ignore_ascii_case("true")) {
        return Ok(port);
    }
    // torchrun itself listens there.
    port.checked_add(1).ok_or_else(|| {
        environment(
            format!("MASTER_PORT is {port}, TORCHELASTIC_USE_AGENT_STORE is True"),
            "torchrun uses the port itself and there is none after it; set FEEDLINE_PORT to a free one",
        )
    })
}
