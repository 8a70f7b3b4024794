//! Keras and PyTorch, each in its own Python environment.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

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
        let mut process = Command::new(&self.python)
            .arg(&script)
            .args(["--system", self.name, "--threads", &threads.to_string()])
            .args(length.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", self.python.display()))?;
        let (Some(questions), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("a child without pipes".into());
        };
        Ok(Running {
            name: self.name,
            process,
            questions: Some(questions),
            answers: BufReader::new(answers),
        })
    }
}

/// A process that measures what it is told to. Between two measurements it waits and takes no processor time.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: &'static str,
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn measure(&mut self, workload: Workload) -> Result<Figures, Box<dyn Error>> {
        let stopped = |_| {
            let name = self.name;
            format!("{name} has stopped; see its message above, or take its environment away")
        };
        if let Some(questions) = &mut self.questions {
            let (network, batch) = (workload.network.name(), workload.batch);
            writeln!(questions, "{network} {batch}").map_err(stopped)?;
        }
        let mut line = String::new();
        match self.answers.read_line(&mut line) {
            Ok(1..) => Ok(Figures::parse(&line)?),
            _ => Err(stopped(std::io::ErrorKind::UnexpectedEof.into()).into()),
        }
    }
}

/// It ends when there are no more questions.
impl Drop for Running {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}
