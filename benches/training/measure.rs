//! How steps are timed, and what is noted besides.

use std::fmt;
use std::time::Instant;

use clap::Args;

use crate::at_least_1;
use crate::common::machine::{anonymous_memory, cpu_time, stat};
use crate::common::median;
use crate::network::Workload;

/// Steps that are not timed: buffers are made and pages are touched for the first time in them.
const WARM_UP: usize = 3;
/// The least to take a median of.
const LEAST: usize = 5;

/// How long to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Length {
    /// For how long to time steps, of each system on each workload
    #[arg(long, default_value_t = 1.0, value_parser = above_0)]
    pub(crate) seconds: f64,
    /// How many steps to time, instead of --seconds
    #[arg(long, value_parser = at_least_1)]
    pub(crate) steps: Option<usize>,
}

fn above_0(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && f64::is_finite(seconds) => Ok(seconds),
        _ => Err("must be a number above 0".into()),
    }
}

impl Length {
    /// Whether these many steps in so much time are enough.
    fn is_reached(self, steps: usize, seconds: f64) -> bool {
        match self.steps {
            Some(wanted) => steps >= wanted,
            None => steps >= LEAST && seconds >= self.seconds,
        }
    }

    /// As arguments of another program.
    pub(crate) fn arguments(self) -> Vec<String> {
        match self.steps {
            Some(steps) => vec!["--steps".into(), steps.to_string()],
            None => vec!["--seconds".into(), self.seconds.to_string()],
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.steps {
            Some(steps) => write!(f, "{steps} steps"),
            None => write!(f, "{} s", self.seconds),
        }
    }
}

/// What one process says of one system on one workload. Peers print the same line.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figures {
    /// The median.
    pub(crate) ms_per_step: f64,
    /// Of all threads.
    pub(crate) cpu_us_per_image: f64,
    /// Pages that the system had to map.
    pub(crate) faults_per_step: f64,
    /// MiB besides the pages of files, after the warm-up and at the end.
    pub(crate) memory_before: f64,
    pub(crate) memory_after: f64,
}

/// Times `step` after a warm-up. It gets the step's number.
pub(crate) fn steps<E>(
    workload: Workload,
    length: Length,
    mut step: impl FnMut(u64) -> Result<(), E>,
) -> Result<Figures, E> {
    let mut number = 0..;
    let mut next = || step(number.next().unwrap_or_default());
    let start = Instant::now();
    let mut warm = 0;
    while warm < WARM_UP || start.elapsed().as_secs_f64() < length.seconds / 5.0 {
        next()?;
        warm += 1;
    }
    let mut times = Vec::new();
    let (memory_before, cpu, faults) = (memory(), cpu_time(), faults());
    let start = Instant::now();
    while !length.is_reached(times.len(), start.elapsed().as_secs_f64()) {
        let start = Instant::now();
        next()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (cpu, faults) = (cpu_time() - cpu, self::faults() - faults);
    let steps = times.len().max(1) as f64;
    Ok(Figures {
        ms_per_step: median(times),
        cpu_us_per_image: cpu * 1e6 / (steps * workload.batch as f64),
        faults_per_step: faults / steps,
        memory_before,
        memory_after: memory(),
    })
}

fn memory() -> f64 {
    anonymous_memory() as f64 / f64::from(1 << 20)
}

/// How many of its pages this process has touched that were not mapped, so far.
fn faults() -> f64 {
    stat(10)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ms_per_step,
            cpu_us_per_image,
            faults_per_step,
            memory_before,
            memory_after,
        } = self;
        write!(
            f,
            "ms_per_step={ms_per_step}\tcpu_us_per_image={cpu_us_per_image}\tfaults_per_step={faults_per_step}\t\
             memory_before={memory_before}\tmemory_after={memory_after}"
        )
    }
}

impl Figures {
    /// Reads a line as [`Display`](fmt::Display) writes it.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let number = |name: &str| {
            let fields = line.trim().split('\t');
            let own = fields.filter_map(|field| field.split_once('='));
            let (_, value) = own.into_iter().find(|(key, _)| *key == name)?;
            value.parse::<f64>().ok()
        };
        let number =
            |name| number(name).ok_or_else(|| format!("no number {name} in the line: {line:?}"));
        Ok(Self {
            ms_per_step: number("ms_per_step")?,
            cpu_us_per_image: number("cpu_us_per_image")?,
            faults_per_step: number("faults_per_step")?,
            memory_before: number("memory_before")?,
            memory_after: number("memory_after")?,
        })
    }

    /// Each figure's median.
    pub(crate) fn median<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let of = |figure: fn(&Self) -> f64| median(all.clone().map(figure).collect());
        Self {
            ms_per_step: of(|own| own.ms_per_step),
            cpu_us_per_image: of(|own| own.cpu_us_per_image),
            faults_per_step: of(|own| own.faults_per_step),
            memory_before: of(|own| own.memory_before),
            memory_after: of(|own| own.memory_after),
        }
    }
}
