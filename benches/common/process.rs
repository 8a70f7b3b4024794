//! Other processes.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// What a program prints, once it has ended well.
pub(crate) fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}: {message}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// A process that answers each line with a line. Between two questions it waits and takes no processor time.
#[derive(Debug)]
pub(crate) struct Dialogue {
    process: Child,
    questions: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Dialogue {
    pub(crate) fn start(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let questions = process.stdin.take();
        let output = process.stdout.take().ok_or("a child without pipes")?;
        let (answer, answers) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(output).lines();
            for line in lines.map_while(Result::ok) {
                if answer.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            process,
            questions,
            answers,
        })
    }

    /// Asks, and waits for the answer. After an error there is nobody to ask any more.
    pub(crate) fn ask(&mut self, question: &str, patience: Duration) -> Result<String, String> {
        if let Some(questions) = &mut self.questions {
            // A process that has ended has a message on standard error.
            let _ = writeln!(questions, "{question}");
        }
        self.answer(patience)
    }

    /// Waits for a line that nobody asked for.
    pub(crate) fn answer(&mut self, patience: Duration) -> Result<String, String> {
        use mpsc::RecvTimeoutError::{Disconnected, Timeout};
        self.answers
            .recv_timeout(patience)
            .map_err(|error| match error {
                Timeout => {
                    let _ = self.process.kill();
                    format!("no answer after {} s", patience.as_secs())
                }
                Disconnected => "it has stopped; see its message above".into(),
            })
    }
}

/// It ends when there are no more questions.
impl Drop for Dialogue {
    fn drop(&mut self) {
        drop(self.questions.take());
        let _ = self.process.wait();
    }
}
