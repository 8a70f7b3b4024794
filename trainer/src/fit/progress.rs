//! What a person sees while training runs.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::history::{EpochRecord, Metrics};

/// A line per epoch on standard error: a moving bar on a terminal, else a plain line when the epoch is over.
pub(super) struct Progress {
    epochs: u64,
    bar: Option<ProgressBar>,
    plain: bool,
}

impl Progress {
    /// Of a run of this many epochs. Shows nothing if not `visible`.
    pub(super) fn new(visible: bool, epochs: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            epochs,
            bar: (visible && terminal).then(ProgressBar::no_length),
            plain: visible && !terminal,
        }
    }

    pub(super) fn begin(&self, epoch: u64, steps: usize) {
        let Some(bar) = &self.bar else { return };
        bar.reset();
        bar.set_length(steps as u64);
        let template = "{prefix} {bar:24} {pos}/{len} {elapsed} < {eta}  {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()),
        );
        bar.set_prefix(format!("Epoch {}/{}", epoch + 1, self.epochs));
    }

    /// What an earlier run did of the epoch.
    pub(super) fn skip(&self, steps: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(steps as u64);
        }
    }

    pub(super) fn step(&self, so_far: Metrics) {
        let Some(bar) = &self.bar else { return };
        let rate = so_far.samples as f64 / bar.elapsed().as_secs_f64().max(1e-9);
        bar.set_message(format!("{rate:.0} samples/s  {}", describe("", so_far)));
        bar.inc(1);
    }

    pub(super) fn evaluating(&self) {
        if let Some(bar) = &self.bar {
            bar.set_message("evaluating");
        }
    }

    pub(super) fn end(&self, record: &EpochRecord) {
        let seconds = record.duration.as_secs_f64();
        let line = format!(
            "Epoch {}/{}  {seconds:.1} s  {:.0} samples/s  {}{}  waited for data {:.1} %",
            record.epoch + 1,
            self.epochs,
            record.samples_per_second(),
            describe("", record.train),
            record.test.map_or(String::new(), |test| format!(
                "  {}",
                describe("test ", test)
            )),
            100.0 * record.data_wait.as_secs_f64() / seconds.max(1e-9),
        );
        if let Some(bar) = &self.bar {
            bar.println(line);
        } else if self.plain {
            eprintln!("{line}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn describe(of: &str, metrics: Metrics) -> String {
    let (loss, percent) = (metrics.loss, 100.0 * metrics.accuracy);
    format!("{of}loss {loss:.4}  {of}accuracy {percent:.2} %")
}
