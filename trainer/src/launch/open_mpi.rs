//! What Open MPI's `mpirun` says.

use super::variables::{Counts, LOOPBACK, Number, Variables, environment, port_of};
use super::{Launch, Launcher, PORT};
use crate::error::Result;

pub(super) const RANK: &str = "OMPI_COMM_WORLD_RANK";
pub(super) const SIZE: &str = "OMPI_COMM_WORLD_SIZE";
const LOCAL_RANK: &str = "OMPI_COMM_WORLD_LOCAL_RANK";
const LOCAL_SIZE: &str = "OMPI_COMM_WORLD_LOCAL_SIZE";

pub(super) fn read(variables: &Variables<'_>) -> Result<Launch> {
    let needed = |number: Option<Number<'static>>, name| {
        number.ok_or_else(|| {
            environment(
                format!("{name} is not set, though other variables of Open MPI are"),
                "start it by mpirun, or unset all that begin with OMPI_COMM_WORLD",
            )
        })
    };
    let counts = Counts {
        process: needed(variables.index(RANK)?, RANK)?,
        processes: needed(variables.count(SIZE)?, SIZE)?,
        local: Some((
            needed(variables.index(LOCAL_RANK)?, LOCAL_RANK)?,
            needed(variables.count(LOCAL_SIZE)?, LOCAL_SIZE)?,
        )),
    };
    variables.agree_with(&counts)?;
    let namespace = variables.text("PMIX_NAMESPACE")?;
    let is_one_machine = counts.local.map(|(_, local)| local.value) == Some(counts.processes.value);
    let address = match variables.text("MASTER_ADDR")? {
        Some(address) => address,
        None if is_one_machine => LOOPBACK.into(),
        None => {
            return Err(environment(
                format!(
                    "{SIZE} is {}, of which {LOCAL_SIZE} says {} are on this machine, and MASTER_ADDR is not set",
                    counts.processes.value,
                    counts.local.map_or(1, |(_, local)| local.value)
                ),
                "the processes need to know where process 0 is: mpirun -x MASTER_ADDR=<host of rank 0> -x MASTER_PORT=29500 …",
            ));
        }
    };
    let port = variables.port_or(|| match &namespace {
        // Several runs on one machine.
        Some(namespace) if is_one_machine => port_of(namespace),
        _ => PORT,
    })?;
    let run = match namespace {
        Some(namespace) => format!("Open MPI {namespace}"),
        None => format!("Open MPI {address}:{port}"),
    };
    counts.launch(Launcher::OpenMpi, address, port, run)
}
