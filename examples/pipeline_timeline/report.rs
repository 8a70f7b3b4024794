//! What is printed and drawn of an experiment.

use std::path::Path;
use std::time::Duration;

use feedline_pipeline::BoxError;
use feedline_trainer::run::draw_timelines;

use crate::experiment::Compared;
use crate::measured::Measured;
use crate::recorder::{Recorder, Stage};

const NAIVE: &str = "naive";
const FED: &str = "Feedline";

impl Compared {
    /// How many times as long the naive pipeline takes.
    pub(crate) fn ratio(&self) -> f64 {
        self.naive.wall.as_secs_f64() / self.fed.wall.as_secs_f64()
    }

    /// How many times as long it takes as its training and testing alone: no pipeline can save more on this machine, if
    /// these take as long behind it.
    pub(crate) fn most(&self) -> f64 {
        let stages = [Stage::Train, Stage::Evaluate];
        let totals = stages.iter().filter_map(|&stage| self.naive.total(stage));
        self.naive.wall.as_secs_f64() / totals.sum::<Duration>().as_secs_f64()
    }

    fn walls(&self) -> String {
        let [naive, fed] = [&self.naive, &self.fed].map(|run| run.wall.as_secs_f64());
        let less = 100.0 * (1.0 - fed / naive);
        format!(
            "{naive:.2} s naive, {fed:.2} s with Feedline: {less:.1} % less, a ratio of {:.2}",
            self.ratio()
        )
    }

    pub(crate) fn print(&self, test_pictures: usize, cost: Duration) {
        let columns = [&self.naive, &self.fed];
        let line = |name: &str, value: &dyn Fn(&Measured) -> Option<Duration>| {
            let [naive, fed] = columns.map(|run| match value(run) {
                Some(time) => format!("{:.3} s", time.as_secs_f64()),
                None => "–".into(),
            });
            println!("  {name:<34}{naive:>12}{fed:>12}");
        };
        println!("\n  {:<34}{NAIVE:>12}{FED:>12}", "");
        line("wall time", &|run| Some(run.wall));
        if columns.iter().any(|run| run.cache.is_some()) {
            line("  decoding all pictures once", &|run| run.cache);
        }
        line("  waiting for data", &|run| Some(run.waited()));
        line("  train", &|run| run.total(Stage::Train));
        line("  evaluate", &|run| run.total(Stage::Evaluate));
        println!("  loading, on all threads together");
        let loading = [
            (Stage::Open, "  open"),
            (Stage::Read, "  read"),
            (Stage::Decode, "  decode, shrink"),
            (Stage::Transform, "  transform"),
            (Stage::Copy, "  copy"),
        ];
        for (stage, name) in loading {
            if columns.iter().any(|run| run.total(stage).is_some()) {
                line(name, &|run| run.total(stage));
            }
        }
        line("cost of these notes, about", &|run| {
            Some(cost * u32::try_from(run.marks.len()).unwrap_or(u32::MAX))
        });
        let history = &self.naive.history;
        let correct = history.correct.last().copied().unwrap_or(0);
        println!(
            "\n  Both have trained the same weights, to the bit (fingerprint {:016x}), so they saw the same batches.\n  \
             {:.1} % of {test_pictures} test pictures are right.",
            self.naive.fingerprint,
            100.0 * correct as f64 / test_pictures as f64
        );
        println!(
            "  Wall time: {}. If data came in no time, and nothing else changed, the ratio would be {:.2}.",
            self.walls(),
            self.most()
        );
    }

    /// The whole runs as `name` and some steps from their middle as `name`-steps, each as SVG and PNG.
    pub(crate) fn draw(
        &self,
        folder: &Path,
        name: &str,
        title: &str,
        steps: u32,
    ) -> Result<(), BoxError> {
        let runs = [(NAIVE, &self.naive), (FED, &self.fed)];
        let whole = runs.map(|(name, run)| run.timeline(name));
        let subtitle = format!("Wall time: {}", self.walls());
        // Waiting is where nothing is trained or evaluated.
        let stages = Stage::ALL.iter().filter(|&&stage| stage != Stage::Wait);
        let stages: Vec<_> = stages.map(|stage| stage.name()).collect();
        draw_timelines(folder.join(name), [title, &subtitle], &stages, &whole)?;
        let length = self.naive.step() * steps;
        let parts = runs.map(|(name, run)| run.part(name, length));
        let subtitle = "From the same step on, as long a part of both";
        let path = folder.join(format!("{name}-steps"));
        Ok(draw_timelines(path, [title, subtitle], &stages, &parts)?)
    }
}

/// What is printed before anything is measured.
pub(crate) fn introduce() -> Duration {
    println!(
        "Naive: one thread reads, transforms and copies sample after sample, then trains, and begins anew in each epoch.\n\
         Feedline: mapped files, workers that prepare batches ahead and write rows where they are trained on.\n\
         Same samples, same order, same augmentation, same network on all cores. All files are in the system's page cache."
    );
    Recorder::cost()
}
