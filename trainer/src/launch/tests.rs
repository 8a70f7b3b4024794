//! Variables as launchers set them, and as they should not be.

use std::collections::HashMap;
use std::ffi::OsString;

use proptest::prelude::*;

use super::slurm::{first_host, tasks_on};
use super::{Launch, Launcher};
use crate::error::{Error, Result};

/// What is read from variables such as `"RANK=1 WORLD_SIZE=2"`.
fn read(variables: &str) -> Result<Option<Launch>> {
    let variables: HashMap<_, _> = variables
        .split_whitespace()
        .filter_map(|variable| variable.split_once('='))
        .collect();
    Launch::from_lookup(&|name| variables.get(name).map(OsString::from))
}

fn launch(variables: &str) -> Launch {
    read(variables).unwrap().unwrap()
}

const TORCHRUN: &str = "RANK=3 WORLD_SIZE=4 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 GROUP_RANK=1 ROLE_RANK=3 \
    MASTER_ADDR=node-a MASTER_PORT=29400 TORCHELASTIC_RUN_ID=42 TORCHELASTIC_RESTART_COUNT=1 \
    TORCHELASTIC_MAX_RESTARTS=3 TORCHELASTIC_USE_AGENT_STORE=False";
const PYTORCH_JOB: &str = "RANK=1 WORLD_SIZE=3 MASTER_ADDR=job-master-0 MASTER_PORT=23456 PET_NNODES=3 \
    PET_NODE_RANK=1 PET_MASTER_ADDR=job-master-0 PET_MASTER_PORT=23456 PYTHONUNBUFFERED=1";
const SRUN: &str = "SLURM_JOB_ID=901593 SLURM_STEP_ID=0 SLURM_STEPID=0 SLURM_PROCID=4 SLURM_LOCALID=0 SLURM_NODEID=2 \
    SLURM_NTASKS=7 SLURM_STEP_NUM_TASKS=5 SLURM_STEP_TASKS_PER_NODE=2(x2),1 SLURM_TASKS_PER_NODE=3(x2),1 \
    SLURM_STEP_NODELIST=gpu[08-09,12] SLURM_JOB_NODELIST=gpu[07-09,12]";
const BATCH_SCRIPT: &str = "SLURM_JOB_ID=901593 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_NTASKS=4 \
    SLURM_NTASKS_PER_NODE=4 SLURM_TASKS_PER_NODE=4 SLURM_JOB_NODELIST=gpu07";
const MPIRUN: &str = "OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_RANK=1 \
    OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_UNIVERSE_SIZE=2 PMIX_NAMESPACE=prterun-host-77@1 PMIX_RANK=1";

#[test]
fn a_process_without_a_launcher_is_alone() {
    for variables in [
        "",
        "MASTER_ADDR=x MASTER_PORT=1 LOCAL_RANK=0",
        "SLURM_JOB_ID=1",
        BATCH_SCRIPT,
    ] {
        assert_eq!(read(variables).unwrap(), None, "{variables}");
    }
    // Of steps that Slurm starts for itself there is but one process.
    for step in ["4294967290", "4294967291", "4294967295"] {
        let variables = format!("{BATCH_SCRIPT} SLURM_STEP_ID={step}");
        assert_eq!(read(&variables).unwrap(), None);
    }
}

#[test]
fn each_launcher_is_understood() {
    let table = [
        (
            TORCHRUN,
            Launcher::Torchrun,
            [3, 4, 1, 2],
            "node-a",
            29400,
            "torchrun 42",
        ),
        (
            PYTORCH_JOB,
            Launcher::Own,
            [1, 3, 0, 1],
            "job-master-0",
            23456,
            "port 23456",
        ),
        (
            SRUN,
            Launcher::Slurm,
            [4, 5, 0, 1],
            "gpu08",
            0,
            "Slurm 901593.0",
        ),
        (
            MPIRUN,
            Launcher::OpenMpi,
            [1, 2, 1, 2],
            "127.0.0.1",
            0,
            "Open MPI prterun-host-77@1",
        ),
    ];
    for (variables, launcher, numbers, address, port, run) in table {
        let launch = launch(variables);
        assert_eq!(launch.launcher(), launcher);
        let found = [
            launch.process(),
            launch.processes(),
            launch.local_process(),
            launch.local_processes(),
        ];
        assert_eq!(found, numbers, "{launcher}");
        assert_eq!((launch.address(), launch.run()), (address, run));
        match port {
            // Made from the run's name, below the ports of outgoing connections.
            0 => assert!((20_000..30_000).contains(&launch.port())),
            _ => assert_eq!(launch.port(), port),
        }
        assert_eq!(launch.is_one_machine(), launcher == Launcher::OpenMpi);
    }
}

#[test]
fn the_innermost_launcher_counts() {
    // torchrun started by each task of srun; mpirun, which starts its helpers by srun; both within mpirun.
    let table = [
        (format!("{SRUN} {TORCHRUN}"), Launcher::Torchrun, 3),
        (format!("{SRUN} {MPIRUN}"), Launcher::OpenMpi, 1),
        (format!("{MPIRUN} {TORCHRUN}"), Launcher::Torchrun, 3),
        (format!("{BATCH_SCRIPT} {MPIRUN}"), Launcher::OpenMpi, 1),
        (format!("{BATCH_SCRIPT} {PYTORCH_JOB}"), Launcher::Own, 1),
        // A program with MPI that srun starts.
        (
            format!("{SRUN} PMIX_NAMESPACE=slurm.pmix.901593.0 PMIX_RANK=4"),
            Launcher::Slurm,
            4,
        ),
        // A script that sets what PyTorch expects.
        (
            format!("{SRUN} RANK=4 WORLD_SIZE=5 LOCAL_RANK=0"),
            Launcher::Slurm,
            4,
        ),
        (format!("{SRUN} WORLD_SIZE=5"), Launcher::Slurm, 4),
        (format!("{MPIRUN} RANK=1"), Launcher::OpenMpi, 1),
    ];
    for (variables, launcher, process) in table {
        let launch = launch(&variables);
        assert_eq!((launch.launcher(), launch.process()), (launcher, process));
    }
    let shell = "SLURM_JOB_ID=9 SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_STEP_NUM_TASKS=1 \
        SLURM_STEP_TASKS_PER_NODE=1 SLURM_STEP_NODELIST=a";
    let launch = launch(&format!("{shell} {PYTORCH_JOB}"));
    assert_eq!((launch.launcher(), launch.process()), (Launcher::Own, 1));
}

#[test]
fn address_and_port_can_be_chosen_under_every_launcher() {
    for variables in [TORCHRUN, PYTORCH_JOB, SRUN, MPIRUN] {
        let chosen = launch(&format!("{variables} MASTER_ADDR=other MASTER_PORT=1234"));
        assert_eq!((chosen.address(), chosen.port()), ("other", 1234));
        let ours = launch(&format!("{variables} MASTER_PORT=1234 FEEDLINE_PORT=4321"));
        assert_eq!(ours.port(), 4321);
    }
    // torchrun listens on the port itself.
    let agent = format!("{TORCHRUN} TORCHELASTIC_USE_AGENT_STORE=True");
    assert_eq!(launch(&agent).port(), 29401);
    assert_eq!(launch(&format!("{agent} FEEDLINE_PORT=7")).port(), 7);
}

#[test]
fn runs_and_restarts_are_told_apart() {
    let runs = [
        TORCHRUN.to_owned(),
        format!("{TORCHRUN} TORCHELASTIC_RUN_ID=43"),
        SRUN.to_owned(),
        format!("{SRUN} SLURM_STEP_ID=1"),
        format!("{SRUN} SLURM_RESTART_COUNT=1"),
        MPIRUN.to_owned(),
        format!("{MPIRUN} PMIX_NAMESPACE=prterun-host-78@1"),
    ];
    let runs = runs.map(|variables| launch(&variables).run().to_owned());
    for (i, run) in runs.iter().enumerate() {
        assert!(!runs[..i].contains(run), "{run}");
    }
    // Each machine's torchrun counts restarts by itself.
    let restarted = format!("{TORCHRUN} TORCHELASTIC_RESTART_COUNT=2");
    assert_eq!(launch(&restarted).run(), launch(TORCHRUN).run());
    // Two runs on one machine, or two steps of a job, do not meet on one port.
    let other = launch(&format!("{MPIRUN} PMIX_NAMESPACE=prterun-host-78@1"));
    assert_ne!(launch(MPIRUN).port(), other.port());
}

#[test]
fn what_cannot_be_is_refused_with_both_variables_and_what_to_do() {
    let table = [
        ("RANK=1", "RANK is 1, WORLD_SIZE is not set"),
        ("WORLD_SIZE=2", "WORLD_SIZE is 2, RANK is not set"),
        (
            "RANK=2 WORLD_SIZE=2 MASTER_ADDR=x",
            "RANK is 2, WORLD_SIZE is 2",
        ),
        (
            "RANK=0 WORLD_SIZE=2",
            "WORLD_SIZE is 2, MASTER_ADDR is not set",
        ),
        ("RANK=x WORLD_SIZE=2", "RANK is \"x\""),
        ("RANK=-1 WORLD_SIZE=2", "RANK is \"-1\""),
        ("RANK=0 WORLD_SIZE=0", "WORLD_SIZE is \"0\""),
        ("RANK=0 WORLD_SIZE=65537", "WORLD_SIZE is \"65537\""),
        ("RANK= WORLD_SIZE=2", "RANK is empty"),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=", "MASTER_ADDR is empty"),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=x MASTER_PORT=0",
            "MASTER_PORT is \"0\"",
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=x FEEDLINE_PORT=70000",
            "FEEDLINE_PORT is \"70000\"",
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=x LOCAL_RANK=1",
            "LOCAL_RANK is 1, LOCAL_WORLD_SIZE is not set",
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=x LOCAL_RANK=2 LOCAL_WORLD_SIZE=2",
            "LOCAL_RANK is 2, LOCAL_WORLD_SIZE is 2",
        ),
        (
            "RANK=0 WORLD_SIZE=2 MASTER_ADDR=x LOCAL_RANK=0 LOCAL_WORLD_SIZE=3",
            "LOCAL_WORLD_SIZE is 3, WORLD_SIZE is 2",
        ),
        (
            &format!("{TORCHRUN} TORCHELASTIC_USE_AGENT_STORE=True MASTER_PORT=65535"),
            "MASTER_PORT is 65535, TORCHELASTIC_USE_AGENT_STORE is True",
        ),
        (
            &format!("{MPIRUN} RANK=0"),
            "RANK is 0, OMPI_COMM_WORLD_RANK is 1",
        ),
        (
            &format!("{MPIRUN} OMPI_COMM_WORLD_SIZE=4"),
            "OMPI_COMM_WORLD_SIZE is 4",
        ),
        ("OMPI_COMM_WORLD_RANK=1", "OMPI_COMM_WORLD_SIZE is not set"),
        (
            &format!("{SRUN} RANK=0 WORLD_SIZE=5"),
            "RANK is 0, SLURM_PROCID is 4",
        ),
        (
            &format!("{SRUN} WORLD_SIZE=7"),
            "WORLD_SIZE is 7, SLURM_STEP_NUM_TASKS is 5",
        ),
        (
            &format!("{SRUN} SLURM_STEP_TASKS_PER_NODE=2(x2"),
            "SLURM_STEP_TASKS_PER_NODE is \"2(x2\"",
        ),
        (
            &format!("{SRUN} SLURM_STEP_NODELIST=[1"),
            "SLURM_STEP_NODELIST is \"[1\"",
        ),
    ];
    for (variables, expected) in table {
        let error = read(variables).unwrap_err();
        assert!(matches!(error, Error::Environment { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = read(&format!("{MPIRUN} OMPI_COMM_WORLD_SIZE=4")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("mpirun -x MASTER_ADDR=<host of rank 0>")
    );
}

#[cfg(unix)]
#[test]
fn what_is_not_unicode_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let lookup = |name: &str| (name == "RANK").then(|| OsString::from_vec(vec![b'1', 0xff]));
    let error = Launch::from_lookup(&lookup).unwrap_err();
    assert!(error.to_string().contains("not Unicode"), "{error}");
}

#[test]
fn a_launch_of_ones_own_is_checked() {
    let refused = [
        Launch::new(0, 0, "x", 1),
        Launch::new(2, 2, "x", 1),
        Launch::new(0, 70_000, "x", 1),
        Launch::new(0, 1, "", 1),
        Launch::new(0, 1, "x", 0),
        Launch::new(0, 2, "x", 1).and_then(|launch| launch.with_local(0, 3)),
        Launch::new(0, 2, "x", 1).and_then(|launch| launch.with_local(1, 1)),
    ];
    for launch in refused {
        assert!(matches!(launch, Err(Error::InvalidArgument { .. })));
    }
    let launch = Launch::new(1, 2, "x", 1)
        .unwrap()
        .with_local(1, 2)
        .unwrap()
        .with_run("r");
    assert!(launch.is_one_machine() && launch.run() == "r");
    assert_eq!(
        launch.to_string(),
        "process 1 of 2 that meet at x:1, started by a launcher"
    );
}

#[test]
fn the_first_host_of_a_list_is_found() {
    let table = [
        ("node[03-05,9],x", Some("node03")),
        ("gpu7", Some("gpu7")),
        ("a,b", Some("a")),
        ("rack[1-2]n[004,7-9]", Some("rack1n004")),
        ("n[5]-ib.cluster", Some("n5-ib.cluster")),
        ("", None),
        ("[", None),
        ("n[]", None),
        ("n[1", None),
        ("n[a-b]", None),
        ("n]x", None),
    ];
    for (list, host) in table {
        assert_eq!(first_host(list).as_deref(), host, "{list}");
    }
}

const NAMES: [&str; 26] = [
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "FEEDLINE_PORT",
    "TORCHELASTIC_RUN_ID",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_USE_AGENT_STORE",
    "SLURM_PROCID",
    "SLURM_NTASKS",
    "SLURM_STEP_NUM_TASKS",
    "SLURM_LOCALID",
    "SLURM_NODEID",
    "SLURM_STEP_TASKS_PER_NODE",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_ID",
    "SLURM_STEP_ID",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "PMIX_NAMESPACE",
];

proptest! {
    #[test]
    fn whatever_is_set_gives_a_process_that_can_be_or_an_error(
        values in prop::collection::hash_map(
            prop::sample::select(&NAMES[..]),
            prop_oneof!["[0-4]", "[0-9(),x\\[\\]a-]{0,8}", ".{0,6}"],
            0..26,
        ),
    ) {
        match Launch::from_lookup(&|name| values.get(name).map(OsString::from)) {
            Ok(None) => {}
            Ok(Some(launch)) => {
                prop_assert!(launch.process() < launch.processes());
                prop_assert!(launch.local_process() < launch.local_processes());
                prop_assert!(launch.local_processes() <= launch.processes());
                prop_assert!(!launch.address().is_empty() && launch.port() > 0);
            }
            Err(error) => prop_assert!(matches!(error, Error::Environment { .. }), "{error}"),
        }
    }

    #[test]
    fn tasks_on_a_machine_are_those_of_the_list_written_out(
        parts in prop::collection::vec((1usize..9, 1usize..4), 1..6),
        node in 0usize..20,
    ) {
        let part = |&(tasks, machines): &(usize, usize)| match machines {
            1 => format!("{tasks}"),
            _ => format!("{tasks}(x{machines})"),
        };
        let list = parts.iter().map(part).collect::<Vec<_>>().join(",");
        let each = parts.iter().flat_map(|&(tasks, machines)| vec![tasks; machines]);
        let each: Vec<_> = each.collect();
        prop_assert_eq!(tasks_on(&list, node), each.get(node).copied());
    }
}
