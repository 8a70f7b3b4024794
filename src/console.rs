//! What a program says: results on standard output, all else on standard error. Of several processes that train together the
//! first alone has results, and what any of them says otherwise begins with its number.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use feedline_trainer::fit::beside_progress;
use feedline_trainer::launch::Launch;

use crate::{Error, Result};

/// Ends a program with what went wrong, in words.
pub fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {error}"));
            if error.missing_data().is_some() {
                say("--download fetches it, and --data DIR takes it from another folder");
            }
            ExitCode::FAILURE
        }
    }
}

/// As [`print()`], if this is the only process of the run or its first: for what programs say that train together.
///
/// # Errors
///
/// As [`print()`].
pub fn print_once(text: impl Display) -> Result<()> {
    match is_first() {
        true => print(text),
        false => Ok(()),
    }
}

/// Prints a line on standard output. That nobody reads it any more, as behind `| head`, is no error.
///
/// # Errors
///
/// [`Error::Output`] if it can't be written.
pub fn print(text: impl Display) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Whether this is the only process of the run, or its first.
pub fn is_first() -> bool {
    other_processes().is_none_or(|own| own.process() == 0)
}

/// Prints a line on standard error, after this process's number if there are others, and above the progress of training if
/// that is shown. Nothing can be done where nobody listens.
pub fn say(text: impl Display) {
    // At once, so that lines of several processes do not mix.
    let line = match other_processes() {
        Some(own) => format!("[process {}] {text}\n", own.process()),
        None => format!("{text}\n"),
    };
    let _ = beside_progress(|| std::io::stderr().lock().write_all(line.as_bytes()));
}

/// What a launcher says of this process, if it started others, too.
pub(crate) fn other_processes() -> Option<Launch> {
    // What is wrong with its words is told by who has to rely on them.
    let launch = Launch::from_environment().ok().flatten();
    launch.filter(|own| own.processes() > 1)
}
