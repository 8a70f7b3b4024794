//! Starts processes of this program under `mpirun`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Where processes leave what came of them.
pub(super) const FOLDER: &str = "FEEDLINE_TEST_FOLDER";
/// What they do.
pub(super) const WORK: &str = "FEEDLINE_TEST_WORK";

/// No test takes as long as this, unless something hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// What came of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done(String),
    Failed(String),
    /// It never said.
    Lost,
}

impl Outcome {
    pub(super) fn done(&self) -> &str {
        match self {
            Self::Done(words) => words,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn error(&self) -> &str {
        match self {
            Self::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// For the process to say.
    pub(super) fn write(&self, folder: &Path, rank: usize) {
        let text = match self {
            Self::Done(words) => format!("done {words}"),
            Self::Failed(error) => format!("failed {error}"),
            Self::Lost => return,
        };
        // Others must not see half of it.
        let partial = folder.join(format!("partial-{rank}"));
        fs::write(&partial, text).unwrap();
        fs::rename(partial, folder.join(format!("rank-{rank}"))).unwrap();
    }

    fn read(folder: &Path, rank: usize) -> Self {
        let text = fs::read_to_string(folder.join(format!("rank-{rank}")));
        let text = text.unwrap_or_default();
        match text.split_once(' ') {
            Some(("done", words)) => Self::Done(words.into()),
            Some(("failed", error)) => Self::Failed(error.into()),
            _ => Self::Lost,
        }
    }
}

/// Processes that are to be started.
pub(super) struct Processes {
    count: usize,
    folder: TempDir,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// The command in which `mpirun` is run.
    inside: Vec<String>,
    /// Who will not say anything.
    lost: Option<usize>,
}

impl Processes {
    pub(super) fn new(count: usize) -> Self {
        Self {
            count,
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
            arguments: Vec::new(),
            inside: Vec::new(),
            lost: None,
        }
    }

    /// Has them see this variable.
    pub(super) fn environment(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.into(), value.to_string()));
        self
    }

    /// Runs `mpirun` as the rest of this command.
    pub(super) fn inside(mut self, command: &[&str]) -> Self {
        self.inside.extend(command.iter().map(ToString::to_string));
        self
    }

    /// More arguments of `mpirun`.
    pub(super) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// This rank will be killed or stopped.
    pub(super) fn losing(mut self, rank: usize) -> Self {
        self.lost = Some(rank);
        self
    }

    /// Starts them with this work, and returns what came of each; `None` if there is no `mpirun`.
    pub(super) fn run(self, work: &str) -> Option<Vec<Outcome>> {
        self.run_with(work, |_| {})
    }

    /// As [`run`](Self::run); `meanwhile` is called with the folder again and again while they run.
    pub(super) fn run_with(
        self,
        work: &str,
        mut meanwhile: impl FnMut(&Path),
    ) -> Option<Vec<Outcome>> {
        let folder = self.folder.path();
        let mut mpirun = self.start(work)?;
        let start = Instant::now();
        let ranks = 0..self.count;
        loop {
            meanwhile(folder);
            let told = |rank: &usize| Outcome::read(folder, *rank) != Outcome::Lost;
            let all_told = ranks
                .clone()
                .filter(|rank| Some(*rank) != self.lost)
                .all(|own| told(&own));
            if all_told || mpirun.try_wait().unwrap().is_some() || start.elapsed() > LIMIT {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        end(mpirun, folder, self.count, self.lost);
        Some(ranks.map(|rank| Outcome::read(folder, rank)).collect())
    }

    fn start(&self, work: &str) -> Option<Child> {
        let mut words = self.inside.iter().map(String::as_str).chain(["mpirun"]);
        let mut mpirun = Command::new(words.next()?);
        mpirun.args(words);
        mpirun.args(["-n", &self.count.to_string()]);
        mpirun.args([
            "--allow-run-as-root",
            "--oversubscribe",
            "--bind-to",
            "none",
        ]);
        // One that dies must not take the others with it, before they have said what they know.
        mpirun.args([
            "--enable-recovery",
            "--mca",
            "btl_base_warn_component_unused",
            "0",
        ]);
        mpirun.args(&self.arguments);
        let folder = (FOLDER.to_owned(), self.folder.path().display().to_string());
        let work = (WORK.to_owned(), work.to_owned());
        for (name, value) in self.environment.iter().chain([&folder, &work]) {
            mpirun.args(["-x", &format!("{name}={value}")]);
        }
        mpirun.arg(std::env::current_exe().unwrap());
        mpirun.args([
            "--exact",
            "parallel::processes::child::child",
            "--nocapture",
        ]);
        mpirun.stdin(Stdio::null()).stdout(Stdio::null());
        match mpirun.spawn() {
            Ok(child) => Some(child),
            Err(error) => {
                eprintln!("skipped: can't start mpirun: {error}");
                None
            }
        }
    }
}

/// Waits for `mpirun`, after an end was made of who is stopped.
fn end(mut mpirun: Child, folder: &Path, count: usize, lost: Option<usize>) {
    if lost.is_some() {
        for rank in 0..count {
            if let Ok(process) = fs::read_to_string(folder.join(format!("process-{rank}"))) {
                // It may have ended long ago.
                let _ = Command::new("kill")
                    .args(["-KILL", &process])
                    .stderr(Stdio::null())
                    .status();
            }
        }
    }
    let start = Instant::now();
    while mpirun.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(20) {
            let _ = mpirun.kill();
        }
        thread::sleep(Duration::from_millis(10));
    }
}
