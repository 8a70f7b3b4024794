//! Two machines, as network namespaces with addresses and host names of their own. Needs Linux, root, and the program `ip`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::child::{CHECKPOINTS, DEADLINE, SLOW};
use super::launcher::{Outcome, Processes};
use crate::checkpoint;

const ADDRESSES: [&str; 2] = ["10.213.77.1", "10.213.77.2"];

/// Two namespaces with a link between them. They go with this.
struct Network {
    names: [String; 2],
    /// What Open MPI starts in place of `ssh`.
    agent: tempfile::TempPath,
}

impl Network {
    fn new(name: &str) -> Option<Self> {
        let names = ["a", "b"].map(|end| format!("feedline-{name}-{end}"));
        let agent = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let script = format!(
            "#!/bin/sh\nshift\nexec ip netns exec {} unshare --uts sh -c \"hostname b; $*\"\n",
            names[1]
        );
        fs::write(&agent, script).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o700)).unwrap();
        // An earlier test may have been killed.
        names.iter().for_each(|own| remove(own));
        let network = Self { names, agent };
        let [a, b] = &network.names;
        let links = [format!("fl{name}a"), format!("fl{name}b")];
        let made = [a, b].into_iter().all(|own| ip(&["netns", "add", own]))
            && ip(&[
                "link", "add", &links[0], "netns", a, "type", "veth", "peer", "name", "end",
                "netns", b,
            ])
            && ip(&["-n", a, "link", "set", &links[0], "name", "end"])
            && network.names.iter().zip(ADDRESSES).all(|(own, address)| {
                ip(&[
                    "-n",
                    own,
                    "address",
                    "add",
                    &format!("{address}/24"),
                    "dev",
                    "end",
                ]) && ip(&["-n", own, "link", "set", "end", "up"])
                    && ip(&["-n", own, "link", "set", "lo", "up"])
            });
        if !made {
            eprintln!("skipped: can't make network namespaces, which takes root on Linux");
            return None;
        }
        Some(network)
    }

    /// One process at each end.
    fn processes(&self) -> Processes {
        let hosts = ADDRESSES.map(|own| format!("{own}:1")).join(",");
        let agent = self.agent.display().to_string();
        Processes::new(2)
            .inside(&[
                "ip",
                "netns",
                "exec",
                &self.names[0],
                "unshare",
                "--uts",
                "sh",
                "-c",
            ])
            .inside(&["hostname a; exec \"$@\"", "sh"])
            .arguments(&["-H", &hosts, "--mca", "plm_rsh_agent", &agent])
            .arguments(&[
                "--mca",
                "btl",
                "tcp,self",
                "--mca",
                "btl_tcp_if_include",
                "end",
            ])
            .arguments(&["--mca", "oob_tcp_if_include", "end"])
            .environment("MASTER_ADDR", ADDRESSES[0])
            .environment("MASTER_PORT", 29_517)
            .environment(DEADLINE, 6_000)
    }

    fn cut(&self) {
        assert!(ip(&["-n", &self.names[1], "link", "set", "end", "down"]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.names.iter().for_each(|own| remove(own));
    }
}

fn remove(namespace: &str) {
    let _ = ip(&["netns", "delete", namespace]);
}

fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip")
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|own| own.success())
}

#[test]
fn two_machines_compute_what_one_does() {
    let Some(network) = Network::new("e") else {
        return;
    };
    let Some(outcomes) = network.processes().run("equivalence") else {
        return;
    };
    for outcome in outcomes {
        assert_eq!(outcome, Outcome::Done("the same".into()));
    }
}

#[test]
fn a_cut_link_ends_both_sides_and_the_restart_ends_with_the_same_bits() {
    let Some(network) = Network::new("c") else {
        return;
    };
    let Some(undisturbed) = network.processes().run("train") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let processes = || network.processes().environment(CHECKPOINTS, run.display());
    let mut is_cut = false;
    // All of them may be left behind by `mpirun`, which loses one of them.
    let slow = processes().environment(SLOW, 20).losing(usize::MAX);
    let outcomes = slow.run_with("train", |_| {
        if !is_cut && matches!(checkpoint::latest(&run), Ok(Some(_))) {
            network.cut();
            is_cut = true;
        }
    });
    for (rank, outcome) in outcomes.unwrap().iter().enumerate() {
        let error = outcome.error();
        eprintln!("rank {rank}: {error}");
        let other = format!("replica {} ", 1 - rank);
        assert!(
            error.contains(&other) && error.contains("step "),
            "rank {rank}: {error}"
        );
    }
    drop(network);
    let network = Network::new("d").unwrap();
    let again = network.processes().environment(CHECKPOINTS, run.display());
    assert_eq!(again.run("train").unwrap(), undisturbed);
}
