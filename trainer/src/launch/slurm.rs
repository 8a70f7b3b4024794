//! What Slurm's `srun` says.

use super::variables::{Counts, LOOPBACK, Number, Variables, environment, port_of};
use super::{Launch, Launcher, MOST_PROCESSES};
use crate::error::Result;

/// Steps from here on are not `srun`'s own: the script of `sbatch`, the shell of `salloc`, what watches over a job. They
/// run once, whatever the number of tasks that the job asks for.
const SPECIAL_STEPS: u64 = 0xffff_fff0;

/// `None` outside of a step.
pub(super) fn read(variables: &Variables<'_>) -> Result<Option<Launch>> {
    let name = ["SLURM_STEP_ID", "SLURM_STEPID"];
    let Some(name) = name.into_iter().find(|name| variables.has(name)) else {
        return Ok(None);
    };
    let Some(step) = variables.text(name)? else {
        return Ok(None);
    };
    let number: u64 = step.parse().map_err(|_| {
        environment(
            format!("{name} is {step:?}"),
            "expected the number of a step of Slurm; start it by srun, or unset it",
        )
    })?;
    if number >= SPECIAL_STEPS {
        return Ok(None);
    }
    let Some(process) = variables.index("SLURM_PROCID")? else {
        return Ok(None);
    };
    let mut processes = None;
    for name in ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", "SLURM_NPROCS"] {
        if processes.is_none() {
            processes = variables.count(name)?;
        }
    }
    let processes = processes.ok_or_else(|| {
        environment(
            format!(
                "SLURM_PROCID is {}, SLURM_STEP_NUM_TASKS and SLURM_NTASKS are not set",
                process.value
            ),
            "start it by srun, or unset SLURM_PROCID to train in one process",
        )
    })?;
    let counts = Counts {
        process,
        processes,
        local: Some(local(variables, processes)?),
    };
    // A step of one task may be a shell, from which RANK was set for a process that is not Slurm's.
    if processes.value == 1 && variables.has("RANK") {
        return Ok(None);
    }
    variables.agree_with(&counts)?;
    let is_one_machine = counts.local.map(|(_, local)| local.value) == Some(counts.processes.value);
    let address = match variables.text("MASTER_ADDR")? {
        Some(address) => address,
        None if is_one_machine => LOOPBACK.into(),
        None => first_of_nodes(variables)?,
    };
    let job = ["SLURM_JOB_ID", "SLURM_JOBID"];
    let job = job.into_iter().find(|name| variables.has(name));
    let job = variables.text(job.unwrap_or("SLURM_JOB_ID"))?;
    let job = job.ok_or_else(|| {
        environment(
            format!("{name} is {step}, SLURM_JOB_ID is not set"),
            "start it by srun, or unset both",
        )
    })?;
    let mut run = format!("Slurm {job}.{step}");
    if let Some(restarts) = variables.text("SLURM_RESTART_COUNT")? {
        run += &format!(", restart {restarts}");
    }
    let port = variables.port_or(|| port_of(&run))?;
    counts.launch(Launcher::Slurm, address, port, run).map(Some)
}

/// This process's number on its machine, and how many are there.
fn local<'a>(variables: &Variables<'_>, processes: Number<'a>) -> Result<(Number<'a>, Number<'a>)> {
    let process = variables.index("SLURM_LOCALID")?;
    let process = process.ok_or_else(|| {
        environment(
            format!(
                "{} is {}, SLURM_LOCALID is not set",
                processes.name, processes.value
            ),
            "start it by srun",
        )
    })?;
    let node = variables
        .index("SLURM_NODEID")?
        .map_or(0, |node| node.value);
    for name in ["SLURM_STEP_TASKS_PER_NODE", "SLURM_TASKS_PER_NODE"] {
        if let Some(text) = variables.text(name)? {
            let value = tasks_on(&text, node).ok_or_else(|| {
                environment(
                    format!("{name} is {text:?}, SLURM_NODEID is {node}"),
                    "expected the number of tasks on each machine, as in 2(x3),1",
                )
            })?;
            return Ok((process, Number { name, value }));
        }
    }
    match variables.count("SLURM_NTASKS_PER_NODE")? {
        Some(number) => Ok((process, number)),
        None => Err(environment(
            format!(
                "{} is {}, SLURM_STEP_TASKS_PER_NODE is not set",
                processes.name, processes.value
            ),
            "start it by srun, or set it to the number of tasks on each machine",
        )),
    }
}

/// How many tasks "2(x3),1" puts on machine `node`, here 2 for 0 to 2 and 1 for 3.
pub(super) fn tasks_on(list: &str, node: usize) -> Option<usize> {
    let mut before = 0usize;
    for part in list.split(',') {
        let (tasks, machines) = match part.trim().split_once("(x") {
            Some((tasks, machines)) => (tasks, machines.strip_suffix(')')?.parse().ok()?),
            None => (part.trim(), 1usize),
        };
        let tasks: usize = tasks.parse().ok()?;
        before = before.checked_add(machines)?;
        if node < before {
            return (1..=MOST_PROCESSES).contains(&tasks).then_some(tasks);
        }
    }
    None
}

/// The machine of task 0.
fn first_of_nodes(variables: &Variables<'_>) -> Result<String> {
    for name in [
        "SLURM_STEP_NODELIST",
        "SLURM_JOB_NODELIST",
        "SLURM_NODELIST",
    ] {
        if let Some(list) = variables.text(name)? {
            return first_host(&list).ok_or_else(|| {
                environment(
                    format!("{name} is {list:?}"),
                    "expected names of machines, as in node[03-05,9],x; set MASTER_ADDR to the host of task 0",
                )
            });
        }
    }
    Err(environment(
        "neither SLURM_STEP_NODELIST nor MASTER_ADDR is set",
        "set MASTER_ADDR to the host of task 0",
    ))
}

/// The first machine of a list such as `node[03-05,9],x`, here `node03`.
pub(super) fn first_host(list: &str) -> Option<String> {
    let mut host = String::new();
    let mut rest = list.trim();
    loop {
        let end = rest.find(['[', ',']).unwrap_or(rest.len());
        host += &rest[..end];
        let Some(inside) = rest[end..].strip_prefix('[') else {
            break;
        };
        let (numbers, after) = inside.split_once(']')?;
        let first = numbers.split([',', '-']).next()?;
        if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        host += first;
        rest = after;
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    (!host.is_empty() && host.bytes().all(is_name)).then_some(host)
}
