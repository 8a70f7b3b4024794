//! PyTorch on the same device, through `peers/training_gpu.py`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::clock::Length;
use crate::common::process::Dialogue;
use crate::figures::{Figure, Outcome};
use crate::workload::Step;

/// What ours is compared with.
pub(crate) const PYTORCH: &str = "pytorch";
/// For one measurement, the libraries' start included.
const PATIENCE: Duration = Duration::from_secs(300);

/// A Python that has PyTorch, or may have, and the script for it.
pub(crate) struct Peer {
    python: PathBuf,
    script: PathBuf,
}

/// It waits for work.
#[derive(Debug)]
pub(crate) struct Running {
    dialogue: Dialogue,
    /// PyTorch's version and those of its libraries.
    pub(crate) versions: String,
}

impl Peer {
    /// The script lies beside this program when it was carried to another machine.
    pub(crate) fn new(python: PathBuf) -> Self {
        let carried = std::env::current_exe().ok();
        let carried = carried.and_then(|program| Some(program.parent()?.join("training_gpu.py")));
        let script = carried.filter(|script| script.exists());
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/training_gpu.py");
        Self {
            python,
            script: script.unwrap_or_else(own),
        }
    }

    /// Starts a process, which says first whether it can compute on a GPU.
    ///
    /// # Errors
    ///
    /// Why it can't.
    pub(crate) fn start(&self, length: Length) -> Result<Running, String> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).args(length.arguments());
        let mut start = || -> Result<(Dialogue, String), Box<dyn Error>> {
            let mut dialogue = Dialogue::start(&mut command)?;
            let greeting = dialogue.answer(PATIENCE)?;
            Ok((dialogue, greeting))
        };
        let (dialogue, greeting) = start().map_err(|error| error.to_string())?;
        match greeting.split_once('\t') {
            Some(("ready", versions)) => Ok(Running {
                dialogue,
                versions: versions.to_owned(),
            }),
            Some((_, reason)) => Err(reason.to_owned()),
            None => Err(format!("it said {greeting:?}, not what was expected")),
        }
    }
}

impl Running {
    pub(crate) fn measure(&mut self, step: Step) -> Outcome {
        let work = step.to_string();
        let answer = match self.dialogue.ask(&work, PATIENCE) {
            Ok(answer) => answer,
            Err(error) => return Outcome::Failed(format!("pytorch, {work}: {error}")),
        };
        if let Some(reason) = answer.strip_prefix("failed\t") {
            return Outcome::Failed(format!("pytorch, {work}: {reason}"));
        }
        let figure = |field: &str| {
            let (name, value) = field.split_once('=')?;
            Some(Figure::new(&work, PYTORCH, name, value.parse().ok()?))
        };
        match answer.split('\t').map(figure).collect() {
            Some(figures) => Outcome::Done(figures),
            None => Outcome::Failed(format!("pytorch, {work}: it said {answer:?}")),
        }
    }
}
