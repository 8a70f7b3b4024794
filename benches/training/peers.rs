//! Keras and PyTorch, each in its own Python environment.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::process::Dialogue;
use crate::measure::{Figures, Length};
use crate::network::Workload;

/// A system that `peers/training.py` knows.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// In tables, and on the script's command line.
    name: &'static str,
    environment: &'static str,
}

const KNOWN: [Known; 3] = [
    Known {
        name: KERAS,
        environment: "tf",
    },
    Known {
        name: PYTORCH,
        environment: "torch",
    },
    Known {
        name: "pytorch, channels last",
        environment: "torch",
    },
];
/// For a measurement, the compilation before it included.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) const KERAS: &str = "keras";
pub(crate) const PYTORCH: &str = "pytorch";

/// A system that is installed.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    python: PathBuf,
}

/// The systems that have an environment in the folder `environments`. Says which have none.
pub(crate) fn find(environments: Option<&Path>) -> Result<Vec<Peer>, String> {
    let Some(environments) = environments else {
        eprintln!("without --peers DIR there are no other systems to compare with");
        return Ok(Vec::new());
    };
    if !environments.is_dir() {
        return Err(format!("--peers: {} is no folder", environments.display()));
    }
    let mut peers = Vec::new();
    for Known { name, environment } in KNOWN {
        let python = environments.join(environment).join("bin/python");
        if python.exists() {
            peers.push(Peer { name, python });
        } else {
            eprintln!("{name} is left out: there is no {}", python.display());
        }
    }
    Ok(peers)
}

impl Peer {
    /// Starts a process of it, which waits for workloads.
    pub(crate) fn start(&self, threads: usize, length: Length) -> Result<Running, Box<dyn Error>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/training.py");
        let mut command = Command::new(&self.python);
        command
            .arg(&script)
            .args(["--system", self.name, "--threads", &threads.to_string()])
            .args(length.arguments());
        Ok(Running {
            name: self.name,
            dialogue: Dialogue::start(&mut command)?,
        })
    }
}

/// A process that measures what it is told to.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: &'static str,
    dialogue: Dialogue,
}

impl Running {
    pub(crate) fn measure(&mut self, workload: Workload) -> Result<Figures, Box<dyn Error>> {
        let Workload { network, batch } = workload;
        let question = format!("{} {batch}", network.name());
        match self.dialogue.ask(&question, PATIENCE) {
            Ok(line) => Ok(Figures::parse(&line)?),
            Err(error) => {
                let name = self.name;
                Err(format!("{name}: {error}; without its environment it is left out").into())
            }
        }
    }
}
