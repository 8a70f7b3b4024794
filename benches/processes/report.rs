//! What was measured, as tables.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::thread::available_parallelism;

use crate::child::Steps;
use crate::common::median;

/// An all-reduce.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    bytes: usize,
    seconds: f64,
}

impl Sum {
    /// Of a child's line.
    pub(crate) fn parse(line: &str) -> Result<Self, Box<dyn Error>> {
        let (bytes, seconds) = line.split_once(' ').ok_or_else(|| format!("{line:?}"))?;
        Ok(Self {
            bytes: bytes.parse()?,
            seconds: seconds.parse()?,
        })
    }
}

/// Every figure with what it is of, as often as it was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// With the number of processes.
    pub(crate) sums: Vec<(usize, Sum)>,
    /// With seconds.
    pub(crate) steps: Vec<(Steps, f64)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_sums(f)?;
        writeln!(f)?;
        self.write_steps(f)
    }
}

impl Report {
    fn write_sums(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = BTreeMap::<(usize, usize), Vec<f64>>::new();
        for (processes, sum) in &self.sums {
            let key = (*processes, sum.bytes);
            seconds.entry(key).or_default().push(sum.seconds);
        }
        writeln!(f, "all-reduce of f32 over MPI\n")?;
        writeln!(
            f,
            "{:>10} {:>12} {:>12} {:>12}",
            "processes", "bytes", "us", "GB/s"
        )?;
        for ((processes, bytes), seconds) in seconds {
            let seconds = median(seconds);
            let rate = bytes as f64 / seconds / 1e9;
            let micros = seconds * 1e6;
            writeln!(f, "{processes:>10} {bytes:>12} {micros:>12.1} {rate:>12.3}")?;
        }
        Ok(())
    }

    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut seconds = BTreeMap::<Steps, Vec<f64>>::new();
        for (steps, own) in &self.steps {
            seconds.entry(*steps).or_default().push(*own);
        }
        let medians: BTreeMap<_, _> = seconds
            .into_iter()
            .map(|(steps, own)| (steps, median(own)))
            .collect();
        let rate = |steps: &Steps, seconds: f64| steps.batch_size() as f64 / seconds;
        let alone = medians
            .iter()
            .find(|(steps, _)| steps.replicas == 1)
            .map_or(f64::NAN, |(steps, &seconds)| rate(steps, seconds));
        let cores = available_parallelism().map_or(1, usize::from);
        writeln!(
            f,
            "steps of cifar_cnn, one thread a replica, {cores} cores\n"
        )?;
        writeln!(
            f,
            "{:>9} {:>10} {:>6} {:>8} {:>10} {:>10} {:>11}",
            "replicas", "as", "batch", "overlap", "ms a step", "images/s", "efficiency"
        )?;
        for (steps, seconds) in &medians {
            let rate = rate(steps, *seconds);
            // Of each core that has something to do.
            let efficiency = rate / (alone * steps.replicas.min(cores) as f64);
            writeln!(
                f,
                "{:>9} {:>10} {:>6} {:>8} {:>10.2} {:>10.0} {:>9.0} %",
                steps.replicas,
                if steps.threads {
                    "threads"
                } else {
                    "processes"
                },
                steps.batch_size(),
                if steps.overlap { "yes" } else { "no" },
                seconds * 1e3,
                rate,
                100.0 * efficiency
            )?;
        }
        Ok(())
    }
}
