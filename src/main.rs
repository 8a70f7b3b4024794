//! The command `feedline`: data sets to look at, networks to train, and what they have learnt to use, without a line of Rust.

mod commands;

use std::path::Path;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use feedline::data::DataName;
use feedline::{Error, Result, Watching, say};

use commands::{Output, bench, completions, data, export, predict, report, train};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed: standard error says why, and with --json standard output, too: {\"error\": …}
  2  wrong usage

Results go to standard output, progress to standard error.

Examples:
  feedline train --model cifar-cnn --data generated
  feedline data fetch mnist
  feedline train --model mnist-cnn --data mnist
  feedline predict runs/mnist-cnn-1 seven.png";

/// Look at image data sets, train networks on them, and use what was trained
///
/// Training is data-parallel: on all processor cores, or on all GPUs in a build with --features nccl. The same seed gives the
/// same result to the bit. Each subcommand explains itself, with examples: feedline train --help
#[derive(Parser)]
#[command(name = "feedline", version, color = ColorChoice::Never, after_long_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Print results as JSON: one document, or for `train` a line for each epoch and one for the result
    #[arg(long, global = true, display_order = 900)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    #[command(subcommand)]
    Data(data::Data),
    Train(train::Train),
    Predict(predict::Predict),
    Export(export::Export),
    Report(report::Report),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

/// The whole command line, as it is parsed and as completions know it.
fn command() -> clap::Command {
    Arguments::command().mut_subcommand("train", train::with_own_help)
}

fn main() -> ExitCode {
    // Prints help, or what is wrong with the command line, and ends the program with 0 or 2.
    let matches = command().get_matches();
    let parsed = Arguments::from_arg_matches(&matches);
    let arguments = parsed.unwrap_or_else(|error| error.exit());
    let together = matches!(arguments.command, Command::Train(_));
    let output = Output::new(arguments.json, together);
    let result = train::check_options(&matches).and_then(|()| run(&arguments.command, &output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, &output),
    }
}

fn run(command: &Command, output: &Output) -> Result<()> {
    // Those that have options for it begin themselves.
    let _watch = match command {
        Command::Train(_) | Command::Bench(_) => None,
        _ => Some(Watching::default().begin(false)?),
    };
    match command {
        Command::Data(own) => own.run(output),
        Command::Train(own) => own.run(output),
        Command::Predict(own) => own.run(output),
        Command::Export(own) => own.run(output),
        Command::Report(own) => own.run(output),
        Command::Bench(own) => own.run(output),
        Command::Completions(own) => own.run(crate::command(), output),
    }
}

/// Says what went wrong.
fn fail(error: &Error, output: &Output) -> ExitCode {
    say(format_args!("error: {error}"));
    if let Some((title, folder)) = error.missing_data()
        && let Some(name) = DataName::titled(title)
    {
        let (name, folder) = (name.name(), quoted(folder));
        say(format_args!(
            "`feedline data fetch {name} --data {folder}` fetches it, and --data takes it from another folder; a folder of your \
             own pictures is --data images=DIR, with a sub-folder for each class"
        ));
    }
    // Of pictures the result has said it.
    if !matches!(error, Error::Pictures { .. }) {
        let _ = output.error(error);
    }
    match error {
        Error::Usage(_) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+:".contains(letter);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}
