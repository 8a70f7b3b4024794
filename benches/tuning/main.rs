//! Does the loader that tunes itself come up with workers and a prefetch depth as good as the best that one could set?
//!
//!     cargo bench --bench tuning
//!     cargo bench --bench tuning -- --only bursts,network --rounds 1
//!     cargo bench --bench tuning -- --out benches/results/NAME
//!
//! Several shapes of work, each with a grid of fixed settings and with the tuner, all in turn, round after round, and
//! reported as medians. Each measurement is a process of its own. `benches/README.md` says how to read the tables.

mod child;
mod cold;
#[path = "../common/mod.rs"]
mod common;
mod consumer;
mod input;
mod picture;
mod report;
mod setting;
mod work;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;

use child::Figures;
use report::{Measured, Report};
use setting::Setting;
use work::Work;

/// Measures the loader that tunes itself beside a grid of fixed settings
#[derive(Parser)]
struct Arguments {
    /// Where to write tuning.txt, tuning.json, tuning.svg and machine.txt
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Rounds; every figure is a median over them
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only these shapes of work, with commas between them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds for which a loader is timed
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Seconds that a loader with a fixed setting runs before
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Seconds that the loader that tunes itself runs before
    #[arg(long, default_value_t = 6.0)]
    tuning: f64,
    /// Folder for the file that is read cold, a gibibyte on a disk
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: PathBuf,
    /// What a child measures, and with which setting
    #[arg(long, hide = true, requires_all = ["setting", "file"])]
    measure: Option<String>,
    #[arg(long, hide = true)]
    setting: Option<Setting>,
    #[arg(long, hide = true)]
    file: Option<PathBuf>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    if let (Some(name), Some(setting), Some(file)) =
        (&arguments.measure, arguments.setting, &arguments.file)
    {
        let works = choose(std::slice::from_ref(name))?;
        let figures = child::measure(&works[0], setting, file, arguments.seconds_of(setting))?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let works = choose(&arguments.only)?;
    let file = match works.iter().any(Work::reads_file) {
        true => Some(cold::create(&arguments.folder)?),
        false => None,
    };
    // Where none is read, the name of none; a program takes no empty one.
    let file = file.as_ref().map_or(Path::new("-"), |file| file.path());
    let mut report = Report::new(&works);
    for round in 1..=arguments.rounds {
        for work in &works {
            eprintln!("round {round} of {}: {}", arguments.rounds, work.name);
            for setting in Setting::in_turn(round) {
                let figures = run(work, setting, file, &arguments)?;
                report.add(Measured {
                    work: work.name.into(),
                    setting,
                    round,
                    figures,
                });
            }
        }
    }
    println!("{report}");
    if let Some(out) = &arguments.out {
        report.write(out, &describe(&arguments))?;
        eprintln!("written to {}", out.display());
    }
    Ok(())
}

impl Arguments {
    /// For how long it runs before it is timed, and for how long it is.
    fn seconds_of(&self, setting: Setting) -> (f64, f64) {
        match setting {
            Setting::Fixed { .. } => (self.warm_up, self.seconds),
            Setting::Tuned => (self.tuning, self.seconds),
        }
    }
}

/// Has a child measure.
fn run(
    work: &Work,
    setting: Setting,
    file: &Path,
    arguments: &Arguments,
) -> Result<Figures, Box<dyn Error>> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .args(["--measure", work.name, "--setting", &setting.to_string()])
        .arg("--file")
        .arg(file)
        .args(["--seconds", &arguments.seconds.to_string()])
        .args(["--warm-up", &arguments.warm_up.to_string()])
        .args(["--tuning", &arguments.tuning.to_string()]);
    Ok(serde_json::from_str(&common::process::output(
        &mut command,
    )?)?)
}

/// The shapes of work with these names; all, if there are no names.
fn choose(names: &[String]) -> Result<Vec<Work>, String> {
    let mut works = work::all();
    let known: Vec<&str> = works.iter().map(|work| work.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("there is no work {name}; there are {known}"));
    }
    works.retain(|work| names.is_empty() || names.iter().any(|name| name == work.name));
    Ok(works)
}

fn describe(arguments: &Arguments) -> String {
    let Arguments {
        rounds,
        seconds,
        warm_up,
        tuning,
        ..
    } = arguments;
    format!(
        "{}rounds: {rounds}\nseconds: {seconds}, after {warm_up} with a fixed setting, after {tuning} with the tuner\n",
        common::machine::describe()
    )
}
