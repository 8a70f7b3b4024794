//! What is printed and drawn of a comparison.

use std::path::Path;
use std::time::Duration;

use feedline_pipeline::BoxError;
use feedline_trainer::run::{Timeline, draw_timelines};

use super::Compared;
use super::measured::Measured;

const NAIVE: &str = "naive";
const OPTIMISED: &str = "optimised";

/// What is drawn, in the order in which a sample goes through it. Waiting is where nothing is trained or evaluated.
const ROWS: [&str; 8] = [
    "open",
    "decode",
    "read",
    "cache",
    "transform",
    "copy",
    "train",
    "evaluate",
];

/// What is printed before anything is measured.
pub(crate) fn introduce() {
    println!(
        "Naive: one thread reads, transforms and copies sample after sample, then trains, and begins anew in each epoch.\n\
         Optimised: Feedline's loader. Workers prepare batches ahead, as many as pay, and write rows where they are trained on.\n\
         Same samples, same order, same augmentation, same network on all cores. All files are in the system's page cache."
    );
}

impl Compared {
    /// How many times as long the naive pipeline takes.
    pub(crate) fn ratio(&self) -> f64 {
        self.naive.wall.as_secs_f64() / self.optimised.wall.as_secs_f64()
    }

    /// How many times as long it takes as training and testing alone, as fast as they were behind either pipeline: no
    /// pipeline can save more on this machine.
    fn most(&self) -> f64 {
        let busy = |run: &Measured| -> Duration {
            let stages = ["train", "evaluate"].into_iter();
            stages.filter_map(|stage| run.total(stage)).sum()
        };
        let busy = busy(&self.naive);
        self.naive.wall.as_secs_f64() / busy.as_secs_f64()
    }

    fn walls(&self) -> String {
        let [naive, optimised] = [&self.naive, &self.optimised].map(|run| run.wall.as_secs_f64());
        let percent = 100.0 * (1.0 - optimised / naive);
        let word = if percent < 0.0 { "more" } else { "less" };
        format!(
            "{naive:.2} s naive, {optimised:.2} s optimised: {:.1} % {word}, a ratio of {:.2}",
            percent.abs(),
            self.ratio()
        )
    }

    pub(crate) fn print(&self, test_samples: usize) {
        let columns = [&self.naive, &self.optimised];
        let line = |name: &str, value: &dyn Fn(&Measured) -> Option<Duration>| {
            if columns.iter().all(|run| value(run).is_none()) {
                return;
            }
            let [naive, optimised] = columns.map(|run| match value(run) {
                Some(time) => format!("{:.3} s", time.as_secs_f64()),
                None => "–".into(),
            });
            println!("  {name:<36}{naive:>12}{optimised:>12}");
        };
        println!("\n  {:<36}{NAIVE:>12}{OPTIMISED:>12}", "");
        line("wall time", &|run| Some(run.wall));
        line("  decoding all samples once", &|run| run.done.cache);
        line("  an epoch, median", &Measured::epoch);
        line("  waiting for data, all epochs", &|run| Some(run.waited()));
        line("  train", &|run| run.total("train"));
        line("  evaluate", &|run| run.total("evaluate"));
        println!("  loading, on all threads together");
        line("    read", &|run| run.total("read"));
        line("      of which open", &|run| run.total("open"));
        line("      of which decode, shrink", &|run| run.total("decode"));
        line("    transform", &|run| run.total("transform"));
        line("    copy", &|run| run.total("copy"));
        let correct = self.naive.done.history.correct.iter();
        let percent = |correct: &usize| 100.0 * *correct as f64 / test_samples as f64;
        let accuracies: Vec<_> = correct.map(|own| format!("{:.1}", percent(own))).collect();
        println!(
            "\n  Both have trained the same weights, to the bit (fingerprint {:016x}), so they saw the same batches.\n  \
             Right of {test_samples} test samples after each epoch, in percent: {}",
            self.naive.fingerprint,
            accuracies.join(" ")
        );
        println!(
            "  Wall time: {}. If data came in no time, the ratio would be {:.2}.",
            self.walls(),
            self.most()
        );
        if let Some(stats) = &self.optimised.done.stats {
            println!("  The loader says: {stats}");
        }
    }

    /// The whole runs as `name` and some steps from their middle as `name`-steps, each as SVG and PNG.
    pub(crate) fn draw(
        &self,
        folder: &Path,
        name: &str,
        title: &str,
        steps: u32,
    ) -> Result<(), BoxError> {
        let runs = [(NAIVE, &self.naive), (OPTIMISED, &self.optimised)];
        let whole = runs.map(|(name, run)| run.timeline(name));
        let subtitle = format!("Wall time: {}", self.walls());
        draw_timelines(folder.join(name), [title, &subtitle], &rows(&whole), &whole)?;
        let length = self.naive.step() * steps;
        let parts = runs.map(|(name, run)| run.part(name, length));
        let rows = rows(&parts);
        let subtitle = match rows.contains(&"decode") {
            true => {
                "From the same step on, as long a part of both. To read a sample is to open and decode it"
            }
            false => "From the same step on, as long a part of both",
        };
        let path = folder.join(format!("{name}-steps"));
        Ok(draw_timelines(path, [title, subtitle], &rows, &parts)?)
    }
}

/// Those in which something is to be seen.
fn rows(timelines: &[Timeline]) -> Vec<&'static str> {
    let spans = || timelines.iter().flat_map(|own| &own.spans);
    let occurs = |row: &&str| spans().any(|span| span.stage == *row);
    ROWS.into_iter().filter(occurs).collect()
}
