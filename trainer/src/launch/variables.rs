//! Reading of environment variables, with errors that say what they are set to.

use std::ffi::OsString;
use std::ops::RangeInclusive;

use super::{Launch, Launcher, MOST_PROCESSES};
use crate::error::{Error, Result};

/// The environment, or what stands for it in a test.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

/// A number and the variable that says it.
#[derive(Clone, Copy)]
pub(super) struct Number<'a> {
    pub(super) name: &'a str,
    pub(super) value: usize,
}

/// Which process this is, before it is known to make sense.
pub(super) struct Counts<'a> {
    pub(super) process: Number<'a>,
    pub(super) processes: Number<'a>,
    pub(super) local: Option<(Number<'a>, Number<'a>)>,
}

impl Variables<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        (self.0)(name).is_some()
    }

    /// What `name` is set to.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = (self.0)(name) else {
            return Ok(None);
        };
        match value.into_string() {
            Ok(value) if value.trim().is_empty() => Err(environment(
                format!("{name} is empty"),
                "set it to a value, or unset it",
            )),
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(value) => Err(environment(
                format!("{name} is {value:?}"),
                "that is not Unicode; set it to a value that is",
            )),
        }
    }

    /// The number that `name` is set to.
    pub(super) fn number<'n>(
        &self,
        name: &'n str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<Number<'n>>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(value) if range.contains(&value) => Ok(Some(Number { name, value })),
            _ => Err(environment(
                format!("{name} is {text:?}"),
                format!(
                    "expected a number from {} to {}",
                    range.start(),
                    range.end()
                ),
            )),
        }
    }

    /// A process's number.
    pub(super) fn index<'n>(&self, name: &'n str) -> Result<Option<Number<'n>>> {
        self.number(name, 0..=MOST_PROCESSES - 1)
    }

    /// A number of processes.
    pub(super) fn count<'n>(&self, name: &'n str) -> Result<Option<Number<'n>>> {
        self.number(name, 1..=MOST_PROCESSES)
    }

    /// The port that `name` is set to.
    pub(super) fn port(&self, name: &str) -> Result<Option<u16>> {
        let number = self.number(name, 1..=usize::from(u16::MAX))?;
        // It is in range.
        Ok(number.and_then(|number| u16::try_from(number.value).ok()))
    }

    /// The port that was asked for, or else what `default` says.
    pub(super) fn port_or(&self, default: impl FnOnce() -> u16) -> Result<u16> {
        if let Some(port) = self.port("FEEDLINE_PORT")? {
            return Ok(port);
        }
        Ok(self.port("MASTER_PORT")?.unwrap_or_else(default))
    }

    /// Refuses if `name`, which another launcher sets, says something else about this process than `known`.
    pub(super) fn agrees(&self, name: &str, known: Number<'_>) -> Result<()> {
        match self.number(name, 0..=MOST_PROCESSES)? {
            Some(other) if other.value != known.value => Err(environment(
                format!(
                    "{name} is {}, {} is {}",
                    other.value, known.name, known.value
                ),
                format!("both describe this process; unset {name}, or set it to the same"),
            )),
            _ => Ok(()),
        }
    }

    /// Refuses if what torchrun's variables say about this process is not this.
    pub(super) fn agree_with(&self, counts: &Counts<'_>) -> Result<()> {
        self.agrees("WORLD_SIZE", counts.processes)?;
        self.agrees("RANK", counts.process)?;
        if let Some((process, processes)) = counts.local {
            self.agrees("LOCAL_WORLD_SIZE", processes)?;
            self.agrees("LOCAL_RANK", process)?;
        }
        Ok(())
    }
}

impl Counts<'_> {
    /// The launch of this process, if its numbers make sense.
    pub(super) fn launch(
        self,
        launcher: Launcher,
        address: String,
        port: u16,
        run: String,
    ) -> Result<Launch> {
        below(self.process, self.processes)?;
        let (mut local_process, mut local_processes) = (0, 1);
        if let Some((process, processes)) = self.local {
            if processes.value > self.processes.value {
                return Err(environment(
                    format!(
                        "{} is {}, {} is {}",
                        processes.name, processes.value, self.processes.name, self.processes.value
                    ),
                    "a machine can't have more processes than there are; set both to what was started",
                ));
            }
            below(process, processes)?;
            (local_process, local_processes) = (process.value, processes.value);
        }
        Ok(Launch {
            launcher,
            process: self.process.value,
            processes: self.processes.value,
            local_process,
            local_processes,
            address,
            port,
            run,
        })
    }
}

/// Refuses a number that is not below the number of those that are counted.
fn below(index: Number<'_>, count: Number<'_>) -> Result<()> {
    if index.value < count.value {
        return Ok(());
    }
    Err(environment(
        format!(
            "{} is {}, {} is {}",
            index.name, index.value, count.name, count.value
        ),
        format!(
            "numbers start at 0, so that {} must be less than {}",
            index.name, count.name
        ),
    ))
}

/// An error about `variables`.
pub(super) fn environment(variables: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Environment {
        variables: variables.into(),
        reason: reason.into(),
    }
}

/// A port for a run of this name, below those that systems give to outgoing connections.
pub(super) fn port_of(run: &str) -> u16 {
    // Less than 10,000 fits.
    20_000 + (crc32fast::hash(run.as_bytes()) % 10_000) as u16
}

/// This machine, for processes that are all on it.
pub(super) const LOOPBACK: &str = "127.0.0.1";
