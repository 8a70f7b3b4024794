//! The command `feedline`, run for its words.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) fn feedline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feedline"));
    command.current_dir(folder);
    command
        .env_remove("FEEDLINE_DATA")
        .env_remove("FEEDLINE_LOG");
    command
}

/// Runs `feedline` with arguments in one line.
pub(crate) fn run(folder: &Path, arguments: &str) -> Output {
    let mut command = feedline(folder);
    let output = command.args(arguments.split_whitespace()).output().unwrap();
    let errors = errors(&output);
    assert!(!errors.contains("panicked"), "{arguments}: {errors}");
    output
}

pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn words(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What it printed, if it did what it was told.
pub(crate) fn done(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    words(&output)
}

/// The same as JSON.
pub(crate) fn json(folder: &Path, arguments: &str) -> Value {
    serde_json::from_str(&done(folder, &format!("{arguments} --json"))).unwrap()
}
