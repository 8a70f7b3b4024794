//! `feedline train`

use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use candle_core::Device;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use feedline::data::{Choice, DataName};
use feedline::recipe::{CifarCnn, Resnet9};
use feedline::training::Outcome;
use feedline::{Error, Result, Training, say};
use feedline_trainer::fit::{Callback, EpochRecord, Metrics};
use serde_json::{Value, json};

use super::{ModelName, Output, loading, text, usual_folder};

const EXAMPLES: &str = "\
Examples:
  feedline train --model cifar-cnn --data generated
      a few seconds on ten classes of pictures that are drawn here; then see runs/cifar-cnn-1/report.html
  feedline train --model mnist-cnn --data mnist --download
      MNIST in the folder `data` (or the one that FEEDLINE_DATA names), fetched if it isn't there
  feedline train --model mnist-cnn --data fashion-mnist=pictures --seed 7
      Fashion-MNIST in the folder `pictures`
  feedline train --model resnet9 --data cifar10 --epochs 30 --record runs/long --resume
      the same line goes on where the run was stopped, to the bit
  feedline train --model cifar-cnn --data images=photos
      your own JPEG and PNG pictures, made smaller: those of each class in a folder with its name, all in folders `train` and
      `test`, or else a fifth of them is set aside to test on
  feedline train --model resnet9 --data npy=arrays
      NumPy's images.npy (uint8) and labels.npy, in `train` and `test` or as before
  feedline train --model softmax --json | jq .test.accuracy
      a line of JSON for each epoch
  feedline train --model cifar-cnn --data generated --epochs 1 --trace trace.json
      what ran when on each thread; open the file in https://ui.perfetto.dev";

/// Train a network on a data set
///
/// The run is recorded in a folder: its settings, a line of JSON for each epoch, TensorBoard's event files, checkpoints after
/// each epoch (the last three and the best one), and at its end curves, a confusion matrix, test pictures with those that were
/// mistaken, and the first layer's kernels, all in a report.html, whose path is printed. `predict`, `export` and `report` take
/// that folder.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Train {
    /// The network
    #[arg(long, value_enum)]
    model: ModelName,
    #[command(flatten)]
    training: Training,
    #[command(flatten)]
    cifar_cnn: CifarCnn,
    #[command(flatten)]
    resnet9: Resnet9,
}

/// Says of the options that the examples have, too, what is otherwise here.
pub(crate) fn with_own_help(command: clap::Command) -> clap::Command {
    command
        .mut_arg("data", |own| {
            own.value_name("NAME|DIR").help(
                "The data set: cifar10, cifar100, mnist or fashion-mnist, in the folder `data` or the one that FEEDLINE_DATA \
                 names; NAME=DIR, in a folder; DIR alone, with the set that the network was made for; images=DIR or \
                 npy=DIR, your own; or generated, or generated=N for N pictures, drawn here [default: the set that the network was made for]",
            )
        })
        .mut_arg("record", |own| {
            own.help(
                "Record the run in this folder [default: runs/MODEL-N, with the first N that is free]",
            )
        })
        .mut_arg("checkpoints", |own| {
            own.help(
                "Save the run into this folder after each epoch, the last three and the best one [default: the folder \
                 `checkpoints` in the record]",
            )
        })
        .mut_arg("augmentation", |own| own.help("With cifar-cnn: how training pictures are changed, each time in another way"))
        .mut_arg("dropout", |own| {
            own.help(
                "With mnist-cnn and cifar-cnn: share of features that each dropout drops in training, from 0 to below 1; \
                 against learning pictures by heart",
            )
        })
        .mut_arg("width", |own| {
            own.help(
                "With resnet9: filters of the first layer; the last ones have eight times as many. Twice as wide takes four \
                 times as long",
            )
        })
}

/// Refuses options that the network does not have, which would do nothing.
pub(crate) fn check_options(matches: &ArgMatches) -> Result<()> {
    let Some(("train", train)) = matches.subcommand() else {
        return Ok(());
    };
    let Some(&model) = train.get_one::<ModelName>("model") else {
        return Ok(());
    };
    for option in ["augmentation", "dropout", "width"] {
        let given = train.value_source(option) == Some(ValueSource::CommandLine);
        if given && !model.has(option) {
            let name = clap::ValueEnum::to_possible_value(&model);
            let name = name.map_or_else(String::new, |own| own.get_name().to_owned());
            return Err(Error::Usage(format!("--{option} is no option of {name}")));
        }
    }
    Ok(())
}

impl Train {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let choice = match &self.training.data {
            None => Choice::Named(self.model.usual_data()),
            Some(path) => Choice::from_path(path)?,
        };
        let usual = self.model.usual_data();
        let dataset = choice.open(usual, &usual_folder(), self.training.may_download()?)?;
        self.model.check(&dataset)?;
        let mut recipe = self.model.recipe(&self.cifar_cnn, &self.resnet9);
        if matches!(
            choice,
            Choice::Generated(_) | Choice::Named(DataName::Generated)
        ) {
            recipe = recipe.for_generated();
        }
        if let Choice::Own(kind, _) = choice {
            recipe = recipe.for_own(kind, &dataset);
        }
        let mut training = self.training.clone();
        let replicas = training.replicas()?;
        let model = recipe.model(&dataset, self.training.seed);
        output.words(format_args!("{}\n", model(&Device::Cpu)?.summary()))?;

        let runs = Path::new("runs");
        let (folder, made) = match training.record.take() {
            Some(folder) => (folder, false),
            None if replicas.has_rank_0() => {
                let folder = free_folder(runs, self.model);
                let told = |error: &Error| replicas.abort(&error.to_string());
                (folder.inspect_err(told)?, true)
            }
            // Rank 0's, which alone writes there.
            None => (runs.to_owned(), false),
        };
        if replicas.on_gpus() && training.checkpoints.is_none() {
            // The trainer refuses them there.
            say("warning: no checkpoints: GPUs can't make them yet, so the weights are not kept");
        } else {
            training
                .checkpoints
                .get_or_insert(folder.join("checkpoints"));
        }
        training.record = Some(folder.clone());
        let job = training.job(&dataset, &recipe, model, replicas);
        let fitted = job.and_then(|job| {
            output.words(&job)?;
            let run = folder.display();
            output.words(format_args!(
                "recorded in {run}; if it is stopped, the same options with --record {run} --resume go on"
            ))?;
            match output.is_json() {
                true => job.callback(Lines).fit(),
                false => job.fit(),
            }
        });
        if fitted.is_err() && made && !folder.join("config.json").exists() {
            // What could not begin leaves no trace.
            let _ = fs::remove_dir_all(&folder);
        }
        let outcome = fitted?;
        let mut words = format!("\n{}\n", outcome.history);
        if let Some(loading) = &outcome.loading {
            words += &format!("\n{loading}\n");
        }
        if let Some(origin) = &outcome.origin {
            words += &format!("went on from {}\n", origin.checkpoint.display());
        }
        let report = outcome.report.as_deref().unwrap_or(&folder);
        words += &format!("\n{}", report.display());
        output.result(words, &result(&outcome, &folder))
    }
}

/// Makes the folder `runs/MODEL-N` with the N behind the last one.
fn free_folder(runs: &Path, model: ModelName) -> Result<PathBuf> {
    let name = clap::ValueEnum::to_possible_value(&model);
    let prefix = name.map_or_else(String::new, |own| format!("{}-", own.get_name()));
    let cannot = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            path,
            action: "make the folder",
            source,
        }
    };
    fs::create_dir_all(runs).map_err(cannot(runs))?;
    let mut number = 1;
    for entry in fs::read_dir(runs).map_err(cannot(runs))?.flatten() {
        let name = entry.file_name();
        let own = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if let Some(taken) = own.and_then(|digits| digits.parse::<u32>().ok()) {
            number = number.max(taken.saturating_add(1));
        }
    }
    loop {
        let folder = runs.join(format!("{prefix}{number}"));
        match fs::create_dir(&folder) {
            // Another run began at the same time.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u32::MAX => {
                number += 1;
            }
            result => return result.map(|()| folder.clone()).map_err(cannot(&folder)),
        }
    }
}

/// A line of JSON for each epoch.
struct Lines;

impl Callback for Lines {
    fn epoch(&mut self, record: &EpochRecord) -> feedline_trainer::Result<ControlFlow<()>> {
        let line = Output::new(true, true).result("", &epoch(record));
        line.map_err(|error| feedline_trainer::Error::Callback(error.into()))?;
        Ok(ControlFlow::Continue(()))
    }
}

fn epoch(record: &EpochRecord) -> Value {
    json!({
        "epoch": record.epoch + 1,
        "train": metrics(record.train),
        "test": record.test.map(metrics),
        "seconds": record.duration.as_secs_f64(),
        "samples_per_second": record.samples_per_second(),
        "data_wait_share": record.data_wait_share(),
    })
}

fn metrics(own: Metrics) -> Value {
    json!({ "loss": own.loss, "accuracy": own.accuracy, "samples": own.samples })
}

fn result(outcome: &Outcome, run: &Path) -> Value {
    json!({
        "run": text(run),
        "report": outcome.report.as_deref().map(text),
        "epochs": outcome.history.epochs.len(),
        "loading": outcome.loading.as_ref().map(loading),
        "resumed_from": outcome.origin.as_ref().map(|origin| &origin.checkpoint),
        "test": outcome.history.last_test().map(metrics),
    })
}
