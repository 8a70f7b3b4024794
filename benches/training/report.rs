//! The figures as tables and as CSV.

use std::fmt::{self, Write};
use std::path::Path;

use crate::measure::Figures;
use crate::network::Workload;
use crate::scaling::Arrangement;
use crate::{median, peers, picture};

/// One system on one workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) workload: Workload,
    pub(crate) system: &'static str,
    pub(crate) figures: Figures,
}

/// A long run of ours.
pub(crate) struct Memory {
    pub(crate) workload: Workload,
    pub(crate) steps: usize,
    pub(crate) figures: Figures,
}

/// A run on replicas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scaling {
    pub(crate) workload: Workload,
    pub(crate) arrangement: Arrangement,
    pub(crate) images_per_second: f64,
}

pub(crate) struct Report {
    threads: usize,
    pub(crate) rows: Vec<Row>,
    /// The machine's limit, in 10⁹ operations per second.
    pub(crate) peaks: Vec<f64>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) scaling: Vec<Scaling>,
}

impl Row {
    pub(crate) fn images_per_second(&self) -> f64 {
        self.workload.batch as f64 * 1e3 / self.figures.ms_per_step
    }

    /// 10⁹ operations per second, of the network's plain arithmetic.
    fn gigaflops(&self) -> f64 {
        self.images_per_second() * self.workload.network.operations() / 1e9
    }
}

impl Report {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            rows: Vec::new(),
            peaks: Vec::new(),
            memory: Vec::new(),
            scaling: Vec::new(),
        }
    }

    /// One row for what was measured in several rounds.
    pub(crate) fn medians(mut self) -> Self {
        let same = |a: &Row, b: &Row| a.workload == b.workload && a.system == b.system;
        let rows = distinct(&self.rows, same).into_iter().map(|row| {
            let own = self.rows.iter().filter(|other| same(row, other));
            let figures = Figures::median(own.map(|row| &row.figures));
            Row { figures, ..*row }
        });
        self.rows = rows.collect();
        let same =
            |a: &Scaling, b: &Scaling| a.workload == b.workload && a.arrangement == b.arrangement;
        let rows = distinct(&self.scaling, same).into_iter().map(|row| {
            let own = self.scaling.iter().filter(|other| same(row, other));
            Scaling {
                images_per_second: median(own.map(|row| row.images_per_second).collect()),
                ..*row
            }
        });
        self.scaling = rows.collect();
        self.peaks = vec![median(self.peaks)];
        self
    }

    /// How many times as many images per second as `system` it is; nothing if that was not measured.
    pub(crate) fn times(&self, row: &Row, system: &str) -> Option<f64> {
        let mut rows = self.rows.iter();
        let other = rows.find(|own| own.workload == row.workload && own.system == system)?;
        Some(row.images_per_second() / other.images_per_second())
    }

    /// Images per second beside those of one replica of one thread.
    fn speedup(&self, row: &Scaling) -> f64 {
        let mut rows = self.scaling.iter();
        let first = rows.find(|own| own.workload == row.workload);
        first.map_or(f64::NAN, |first| {
            row.images_per_second / first.images_per_second
        })
    }

    fn peak(&self) -> f64 {
        self.peaks.first().copied().unwrap_or(f64::NAN)
    }

    /// Writes everything into a folder.
    pub(crate) fn write(&self, results: &Path, machine: &str) -> std::io::Result<()> {
        let machine = format!("{machine}peak: {:.0} GFLOP/s (f32)\n", self.peak());
        std::fs::write(results.join("training.csv"), self.csv())?;
        std::fs::write(results.join("training.svg"), picture::svg(self, &machine))?;
        std::fs::write(results.join("training.txt"), format!("{self}\n"))?;
        std::fs::write(results.join("machine.txt"), machine)
    }

    /// One table for all: what a row does not have is empty.
    fn csv(&self) -> String {
        let mut text = String::from(
            "network,batch,system,images_per_second,ms_per_step,times_keras,times_pytorch,cpu_us_per_image,gflops,\
             share_of_peak,faults_per_step,memory_before_mib,memory_after_mib,speedup\n",
        );
        let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.3}"));
        for row in &self.rows {
            let (Workload { network, batch }, figures) = (row.workload, &row.figures);
            let _ = writeln!(
                text,
                "{},{batch},\"{}\",{:.1},{:.4},{},{},{:.2},{:.2},{:.4},{:.3},{:.2},{:.2},",
                network.name(),
                row.system,
                row.images_per_second(),
                figures.ms_per_step,
                ratio(self.times(row, peers::KERAS)),
                ratio(self.times(row, peers::PYTORCH)),
                figures.cpu_us_per_image,
                row.gigaflops(),
                row.gigaflops() / self.peak(),
                figures.faults_per_step,
                figures.memory_before,
                figures.memory_after
            );
        }
        for row in &self.memory {
            let (Workload { network, batch }, figures) = (row.workload, &row.figures);
            let _ = writeln!(
                text,
                "{},{batch},\"feedline, {} steps\",,,,,,,,{:.3},{:.2},{:.2},",
                network.name(),
                row.steps,
                figures.faults_per_step,
                figures.memory_before,
                figures.memory_after
            );
        }
        for row in &self.scaling {
            let Workload { network, batch } = row.workload;
            let _ = writeln!(
                text,
                "{},{batch},{},{:.1},,,,,,,,,,{:.3}",
                network.name(),
                row.arrangement,
                row.images_per_second,
                self.speedup(row)
            );
        }
        let _ = writeln!(text, ",,machine's peak,,,,,,{:.2},1,,,,", self.peak());
        text
    }
}

/// The first of each that are the same.
fn distinct<T>(all: &[T], same: impl Fn(&T, &T) -> bool) -> Vec<&T> {
    let mut found: Vec<&T> = Vec::new();
    for one in all {
        if !found.iter().any(|other| same(one, other)) {
            found.push(one);
        }
    }
    found
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (threads, peak) = (self.threads, self.peak());
        writeln!(f, "training steps on {threads} threads, f32")?;
        writeln!(
            f,
            "{:<10} {:>5} {:<22} {:>9} {:>8} {:>7} {:>7} {:>8} {:>7} {:>6} {:>8} {:>7}\n\
             {:<38} {:>9} {:>8} {:>7} {:>7} {:>8} {:>7} {:>6} {:>8} {:>7}",
            "network",
            "batch",
            "system",
            "images/s",
            "ms",
            "times",
            "times",
            "cpu us",
            "GFLOP/s",
            "of",
            "faults",
            "memory",
            "",
            "",
            "/step",
            "Keras",
            "PyTorch",
            "/image",
            "",
            "peak",
            "/step",
            "MiB"
        )?;
        let ratio =
            |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        for row in &self.rows {
            let (Workload { network, batch }, figures) = (row.workload, &row.figures);
            writeln!(
                f,
                "{:<10} {batch:>5} {:<22} {:>9.0} {:>8.3} {:>7} {:>7} {:>8.1} {:>7.1} {:>4.0} % {:>8} {:>7}",
                network.name(),
                row.system,
                row.images_per_second(),
                figures.ms_per_step,
                ratio(self.times(row, peers::KERAS)),
                ratio(self.times(row, peers::PYTORCH)),
                figures.cpu_us_per_image,
                row.gigaflops(),
                100.0 * row.gigaflops() / peak,
                known(figures, figures.faults_per_step),
                known(figures, figures.memory_after)
            )?;
        }
        writeln!(
            f,
            "the machine's peak on {threads} threads: {peak:.0} GFLOP/s"
        )?;
        if !self.memory.is_empty() {
            writeln!(f, "\nfeedline, a long run")?;
            writeln!(
                f,
                "{:<10} {:>5} {:>6} {:>12} {:>10} {:>12}",
                "network", "batch", "steps", "MiB at first", "at the end", "faults/step"
            )?;
        }
        for row in &self.memory {
            let (Workload { network, batch }, figures) = (row.workload, &row.figures);
            writeln!(
                f,
                "{:<10} {batch:>5} {:>6} {:>12} {:>10} {:>12}",
                network.name(),
                row.steps,
                known(figures, figures.memory_before),
                known(figures, figures.memory_after),
                known(figures, figures.faults_per_step)
            )?;
        }
        if !self.scaling.is_empty() {
            writeln!(f, "\nwhole training runs; the batch is each replica's")?;
            writeln!(
                f,
                "{:<10} {:>5} {:<24} {:>9} {:>8} {:>10}",
                "network", "batch", "", "images/s", "speed-up", "efficiency"
            )?;
        }
        for row in &self.scaling {
            let (Workload { network, batch }, own) = (row.workload, row.arrangement);
            let (speedup, threads) = (self.speedup(row), own.replicas * own.threads);
            writeln!(
                f,
                "{:<10} {batch:>5} {:<24} {:>9.0} {speedup:>8.2} {:>8.0} %",
                network.name(),
                own.to_string(),
                row.images_per_second,
                100.0 * speedup / threads as f64
            )?;
        }
        Ok(())
    }
}

/// A figure that only Linux gives: where there is no memory, nothing was read.
fn known(figures: &Figures, figure: f64) -> String {
    if figures.memory_after == 0.0 {
        return "-".to_owned();
    }
    format!("{figure:.1}")
}
