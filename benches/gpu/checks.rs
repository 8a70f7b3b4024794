//! The tests of what runs on GPUs: programs that `ci/gpu-check build` has put into a folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::figures::{Figure, Outcome};
use crate::task;

/// For all tests of one program.
const DEADLINE: Duration = Duration::from_secs(900);
/// Of a crate's many tests, those with these words in their names. Programs with tests on GPUs alone run as a whole.
const FILTERS: [&str; 3] = ["cuda", "gpu", "nccl"];
/// How the names of programs begin that have tests of other things, too.
const UNIT: &str = "unit-";

/// The programs in a folder, in the order of their names.
pub(crate) fn programs(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries: std::io::Result<Vec<_>> = std::fs::read_dir(folder)?.collect();
    let mut programs: Vec<_> = entries?.iter().map(std::fs::DirEntry::path).collect();
    programs.sort();
    Ok(programs)
}

/// Runs a program's tests. What it printed comes with the outcome.
pub(crate) fn run(program: &Path) -> (Outcome, String) {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut command = Command::new(program);
    command.args(["--test-threads", "1", "--show-output"]);
    if name.starts_with(UNIT) {
        command.args(FILTERS);
    }
    let ended = task::run(&mut command, DEADLINE);
    let outcome = match (counts(&name, &ended.output), &ended.failure) {
        (Some(counts), None) => Outcome::Done(counts),
        (Some(_), Some(_)) => {
            Outcome::Failed(format!("{name}: {}", failed(&ended.output).join(", ")))
        }
        (None, Some(failure)) => {
            let last = task::last_line(&ended.errors).unwrap_or_default();
            Outcome::Failed(format!("{name}: {failure}: {last}"))
        }
        (None, None) => Outcome::Failed(format!("{name} ended well, but printed no result")),
    };
    let failure = ended.failure.unwrap_or_default();
    let log = format!("{name}\n{}{}{failure}\n", ended.output, ended.errors);
    (outcome, log)
}

/// The numbers of libtest's last line, and how many tests said that they skip.
fn counts(program: &str, output: &str) -> Option<Vec<Figure>> {
    let line = output
        .lines()
        .rfind(|line| line.starts_with("test result:"))?;
    let mut words = line.split([' ', ';', '.']).filter(|word| !word.is_empty());
    let mut counts = Vec::new();
    let mut before = words.next()?;
    for word in words {
        if let ("passed" | "failed" | "ignored", Ok(count)) = (word, before.parse()) {
            counts.push(Figure::new(program, "tests", word, count));
        }
        before = word;
    }
    let skipped = output.lines().filter(|line| line.contains("skipped"));
    let skipped = skipped.count() as f64;
    counts.push(Figure::new(program, "tests", "of them skipped", skipped));
    Some(counts)
}

/// The names of the tests that failed.
fn failed(output: &str) -> Vec<&str> {
    let lines = output.lines().filter(|line| line.starts_with("test "));
    lines
        .filter_map(|line| line.strip_suffix(" ... FAILED"))
        .filter_map(|line| line.strip_prefix("test "))
        .collect()
}
