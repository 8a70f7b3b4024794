//! What was measured, as tables and as JSON.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::child::Figures;
use crate::common::median;
use crate::picture;
use crate::setting::{AHEAD, Setting, WORKERS};
use crate::work::Work;

/// From this part of the best fixed setting's rate on the tuner counts as having got there.
const NEAR: f64 = 0.9;

/// One child's figures.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) work: String,
    pub(crate) setting: Setting,
    pub(crate) round: usize,
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

pub(crate) struct Report {
    /// Name and description of each shape of work.
    works: Vec<(&'static str, &'static str)>,
    measured: Vec<Measured>,
}

/// Medians of one shape of work.
pub(crate) struct Summary<'a> {
    pub(crate) name: &'a str,
    pub(crate) about: &'a str,
    /// Each setting of the grid with its rate.
    pub(crate) grid: Vec<(Setting, f64)>,
    pub(crate) best: (Setting, f64),
    pub(crate) tuned: f64,
    /// Where the tuner ended, in each round.
    ends: Vec<String>,
    /// Seconds until the tuner was first as fast as [`NEAR`] says.
    reached: f64,
    /// Busy processors with the best fixed setting, and with the tuner.
    cores: [f64; 2],
    from_disk: f64,
}

impl Report {
    pub(crate) fn new(works: &[Work]) -> Self {
        Self {
            works: works.iter().map(|work| (work.name, work.about)).collect(),
            measured: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    /// Writes everything into the folder `out`.
    pub(crate) fn write(&self, out: &Path, machine: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(out)?;
        let json = serde_json::to_string(&self.measured)?;
        // A line for each.
        let json = json.replace("},{\"work\"", "},\n{\"work\"");
        std::fs::write(out.join("tuning.json"), json + "\n")?;
        let svg = picture::svg(&self.summaries(), machine);
        std::fs::write(out.join("tuning.svg"), svg)?;
        std::fs::write(out.join("tuning.txt"), self.to_string())?;
        std::fs::write(out.join("machine.txt"), machine)
    }

    fn summaries(&self) -> Vec<Summary<'_>> {
        self.works
            .iter()
            .filter_map(|&(name, about)| self.summary(name, about))
            .collect()
    }

    fn summary<'a>(&'a self, name: &'a str, about: &'a str) -> Option<Summary<'a>> {
        let of = |setting| {
            let own = self.measured.iter();
            own.filter(move |own| own.work == name && own.setting == setting)
        };
        let median_of = |setting, figure: fn(&Figures) -> f64| {
            median(of(setting).map(|own| figure(&own.figures)).collect())
        };
        let mut grid: Vec<(Setting, f64)> = Vec::new();
        for workers in WORKERS {
            for ahead in AHEAD {
                let setting = Setting::Fixed { workers, ahead };
                grid.push((setting, median_of(setting, |own| own.samples_per_second)));
            }
        }
        let &best = grid.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        let tuned = || of(Setting::Tuned).map(|own| &own.figures);
        let near = |own: &Figures| {
            let mut slices = own.slices.iter();
            let first = slices.find(|slice| slice.samples_per_second >= NEAR * best.1);
            first.map_or(f64::INFINITY, |slice| slice.seconds)
        };
        let from_disk = self.measured.iter().filter(|own| own.work == name);
        Some(Summary {
            name,
            about,
            best,
            grid,
            tuned: median_of(Setting::Tuned, |own| own.samples_per_second),
            ends: tuned()
                .map(|own| format!("{}x{}", own.workers, own.ahead))
                .collect(),
            reached: median(tuned().map(near).collect()),
            cores: [best.0, Setting::Tuned].map(|setting| median_of(setting, |own| own.cores)),
            from_disk: from_disk
                .filter_map(|own| own.figures.from_disk)
                .fold(f64::INFINITY, f64::min),
        })
    }
}

impl Summary<'_> {
    /// What the tuner reaches of the best fixed setting's rate.
    pub(crate) fn ratio(&self) -> f64 {
        self.tuned / self.best.1
    }

    fn write_grid(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {}", self.name, self.about)?;
        if self.from_disk.is_finite() {
            let from_disk = self.from_disk;
            writeln!(
                f,
                "in every run, {from_disk:.2} bytes or more came from the disk for each byte of a sample"
            )?;
        }
        write!(f, "\n| workers |")?;
        for ahead in AHEAD {
            write!(f, " {ahead:>2} ahead |")?;
        }
        write!(f, "\n|--------:|")?;
        for _ in AHEAD {
            write!(f, "---------:|")?;
        }
        for row in self.grid.chunks(AHEAD.len()) {
            if let Setting::Fixed { workers, .. } = row[0].0 {
                write!(f, "\n| {workers:>7} |")?;
            }
            for (_, rate) in row {
                write!(f, " {rate:>8.0} |")?;
            }
        }
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| work | best fixed | samples/s | tuned, in each round | samples/s | of the best | {:.0} % after | busy cores |",
            NEAR * 100.0
        )?;
        writeln!(f, "|---|---|--:|---|--:|--:|--:|---|")?;
        let summaries = self.summaries();
        for summary in &summaries {
            let (setting, rate) = summary.best;
            let [fixed, tuned] = summary.cores;
            writeln!(
                f,
                "| {} | {setting} | {rate:.0} | {} | {:.0} | {:.0} % | {:.1} s | {fixed:.2}, {tuned:.2} |",
                summary.name,
                summary.ends.join(", "),
                summary.tuned,
                100.0 * summary.ratio(),
                summary.reached,
            )?;
        }
        writeln!(
            f,
            "\nSettings are workers x batches ahead; below, samples per second of each."
        )?;
        summaries
            .iter()
            .try_for_each(|summary| summary.write_grid(f))
    }
}
