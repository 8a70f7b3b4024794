//! Things to do in processes of their own: one that fails or hangs does not take the others with it.

use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::figures::Outcome;

/// How often a process is looked at.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a process printed, and how it ended.
pub(crate) struct Ended {
    pub(crate) output: String,
    pub(crate) errors: String,
    /// Why it did not end well.
    pub(crate) failure: Option<String>,
}

/// Runs a process to its end, or to the deadline.
pub(crate) fn run(command: &mut Command, deadline: Duration) -> Ended {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = command.get_program().to_string_lossy();
            return Ended {
                output: String::new(),
                errors: String::new(),
                failure: Some(format!("{program} can't be started: {error}")),
            };
        }
    };
    let output = read(child.stdout.take());
    let errors = read(child.stderr.take());
    let failure = wait(&mut child, deadline);
    Ended {
        output: output.join().unwrap_or_default(),
        errors: errors.join().unwrap_or_default(),
        failure,
    }
}

/// What a child of ours says, whose figures or whose reason are on its output.
pub(crate) fn measure(command: &mut Command, deadline: Duration) -> Outcome {
    let ended = run(command, deadline);
    let Some(failure) = ended.failure else {
        return Outcome::parse(&ended.output);
    };
    // The report has one line of it.
    eprint!("{}{}", ended.output, ended.errors);
    Outcome::Failed(match last_line(&ended.errors) {
        Some(line) => format!("{failure}: {line}"),
        None => failure,
    })
}

/// What a program says last is mostly why it stopped.
pub(crate) fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// Reads beside the process, which would wait for a full pipe to be emptied.
fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Why it did not end well, if it did not.
fn wait(child: &mut Child, deadline: Duration) -> Option<String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return None,
            Ok(Some(status)) => return Some(status.to_string()),
            Ok(None) if start.elapsed() < deadline => thread::sleep(PATIENCE),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = deadline.as_secs();
                return Some(format!("not done after {seconds} s, and stopped"));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Some(error.to_string()),
        }
    }
}
