//! The parts of a run, each with its measurements in turn, round after round.

use std::time::Duration;

use clap::ValueEnum;

use crate::accuracy::Run;
use crate::figures::{Figure, Outcome};
use crate::loaders::{Element, Kind, Loading};
use crate::peers::{self, Peer};
use crate::report::{RATE, Section};
use crate::workload::{Network, Pictures, Precision, Step};
use crate::{DATA, Part, Settings, checks, child, copy, ranks, steps};

/// For a training run of all epochs.
const WHOLE_RUN: Duration = Duration::from_secs(3600);

/// Measures a part.
pub(crate) fn run(part: Part, settings: &Settings) -> Section {
    match part {
        Part::Tests => tests(settings),
        Part::Nccl => nccl(settings),
        Part::Loaders => loaders(settings),
        Part::Steps => steps(settings),
        Part::Accuracy => accuracy(settings),
    }
}

fn tests(settings: &Settings) -> Section {
    let mut section = Section::new("tests", "tests on the device");
    let Some(folder) = &settings.tests else {
        let reason = "no --tests DIR: ci/gpu-check build makes it; cargo test --features nccl runs them, too";
        section.add(Outcome::Skipped(reason.into()));
        return section;
    };
    let programs = match checks::programs(folder) {
        Ok(programs) => programs,
        Err(error) => {
            section.add(Outcome::Failed(format!("{}: {error}", folder.display())));
            return section;
        }
    };
    let mut logs = String::new();
    for program in programs {
        let (outcome, log) = checks::run(&program);
        section.add(outcome);
        logs.push_str(&log);
    }
    if let Some(results) = &settings.results {
        let file = results.join("tests.txt");
        if let Err(error) = std::fs::write(&file, logs) {
            section.add(Outcome::Failed(format!("{}: {error}", file.display())));
        }
    }
    section
}

fn nccl(settings: &Settings) -> Section {
    let mut section = Section::new("nccl", "NCCL by itself, on the first GPU");
    for _ in 0..settings.rounds {
        for ranks in [1, 2] {
            section.add(ranks::run(ranks, settings.length));
        }
    }
    section
}

fn loaders(settings: &Settings) -> Section {
    let title = match settings.data {
        Some(_) => "loaders of CIFAR-10, beside bare copies of its bytes from pinned memory",
        None => "loaders of noise (no --data), beside bare copies of its bytes from pinned memory",
    };
    let mut section = Section::new("loaders", title);
    section.yardstick = Some(copy::SYSTEM);
    let run = |words: &[String]| {
        child::run(words, settings.length, |command| {
            command.env_remove(DATA);
        })
    };
    for _ in 0..settings.rounds {
        for batch in &settings.batches {
            section.add(run(&["copy".into(), batch.to_string()]));
            for kind in Kind::value_variants() {
                for pictures in Pictures::value_variants() {
                    for element in Element::value_variants() {
                        let mut words = vec!["load".into(), kind.to_string()];
                        words.extend([pictures.to_string(), element.to_string()]);
                        words.push(batch.to_string());
                        if let Some(data) = &settings.data {
                            words.extend(["--data".into(), data.display().to_string()]);
                        }
                        section.add(run(&words));
                    }
                }
            }
        }
    }
    section
}

fn steps(settings: &Settings) -> Section {
    let mut section = Section::new(
        "steps",
        "training steps (forward, backward, Adam) on one batch of noise, in the device's time",
    );
    section.yardstick = Some(peers::PYTORCH);
    let peer = Peer::new(settings.python.clone());
    for _ in 0..settings.rounds {
        let mut running = match peer.start(settings.length) {
            Ok(running) => Some(running),
            Err(reason) => {
                section.add(Outcome::Skipped(format!("PyTorch: {reason}")));
                None
            }
        };
        for step in all_steps(settings) {
            let mut words: Vec<_> = format!("step {step}")
                .split(' ')
                .map(str::to_owned)
                .collect();
            let run = |words: &[String]| child::run(words, settings.length, |_| ());
            section.add(run(&words));
            words.push("--measured".into());
            section.add(run(&words));
            if let Some(running) = &mut running {
                section.add(running.measure(step));
            }
        }
        if let Some(running) = running {
            section.remark(running.versions);
        }
    }
    section
}

fn all_steps(settings: &Settings) -> Vec<Step> {
    let mut all = Vec::new();
    for &network in &settings.networks {
        for &precision in &settings.precisions {
            let sizes = settings.batches.iter();
            all.extend(sizes.map(|&batch| Step {
                network,
                precision,
                batch,
            }));
        }
    }
    all
}

fn accuracy(settings: &Settings) -> Section {
    let mut section = Section::new("accuracy", "whole runs on CIFAR-10, by Trainer, on one GPU");
    let Some(data) = &settings.data else {
        let reason = "no CIFAR-10: --data or FEEDLINE_DATA names its folder";
        section.add(Outcome::Skipped(reason.into()));
        return section;
    };
    for &precision in &settings.precisions {
        for &kind in Kind::value_variants() {
            let run = Run {
                precision,
                kind,
                target: settings.target,
                epochs: settings.epochs,
                data: data.clone(),
                samples: settings.samples,
            };
            section.add(child::run_to_the_end(&run.words(), WHOLE_RUN, |_| ()));
        }
    }
    section
}

/// How many times as fast the loader is as what it feeds, of what was measured.
pub(crate) fn headroom(sections: &[Section], settings: &Settings) -> Option<Section> {
    let of = |name| sections.iter().find(|section| section.name == name);
    let (loaders, steps) = (of("loaders")?, of("steps")?);
    let title = "headroom: a streaming loader's images per second over those that cifar_cnn trains";
    let mut section = Section::new("headroom", title);
    for step in all_steps(settings) {
        let element = match step.precision {
            Precision::Bf16 => Element::Bf16,
            Precision::F32 | Precision::Tf32 => Element::F32,
        };
        let loading = Loading {
            kind: Kind::Streaming,
            pictures: Pictures::Color,
            element,
            batch: step.batch,
        };
        let loaded = loaders.value(&Loading::work(step.batch), &loading.system(), RATE);
        let trained = steps.value(&step.to_string(), steps::OURS, RATE);
        if let (Network::CifarCnn, Some(loaded), Some(trained)) = (step.network, loaded, trained) {
            let (work, times) = (step.to_string(), loaded / trained);
            let figure = Figure::new(&work, steps::OURS, "headroom", times);
            section.add(Outcome::Done(vec![figure]));
        }
    }
    section.has_figures().then_some(section)
}
