//! What a person sees while training runs.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

use super::history::{EpochRecord, Metrics};

/// How often a long epoch says something where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Where the width of a line is not known, it has at most so many characters.
const WIDTH: usize = 99;

/// The line that moves on standard error.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes with `write` to the terminal while a [`Trainer`](super::Trainer) may show its progress there: the line that moves
/// is taken away for that time, so that neither tears the other.
///
/// ```
/// use feedline_trainer::fit::beside_progress;
///
/// beside_progress(|| eprintln!("warning: the disk is nearly full"));
/// ```
pub fn beside_progress<R>(write: impl FnOnce() -> R) -> R {
    let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match shown {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

fn show(line: Option<ProgressBar>) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = line;
}

/// A line per epoch on standard error: a moving one on a terminal, else a plain one when the epoch is over and now and then
/// while it runs.
pub(super) struct Progress {
    epochs: u64,
    line: Option<ProgressBar>,
    plain: bool,
    /// When training began here, and how many steps were made since.
    start: Instant,
    steps: Cell<u64>,
    /// When the last plain line came.
    said: Cell<Instant>,
}

/// How far a running epoch has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// From 0.
    pub(super) epoch: u64,
    /// How many steps were made, of how many.
    pub(super) step: usize,
    pub(super) steps: usize,
    /// On the samples so far.
    pub(super) metrics: Metrics,
    /// How long it has taken, and how much of that was waiting for data.
    pub(super) duration: Duration,
    pub(super) data_wait: Duration,
    /// Steps from here to the end of the run.
    pub(super) steps_left: u64,
}

impl Progress {
    /// Of a run of this many epochs. Shows nothing if not `visible`.
    pub(super) fn new(visible: bool, epochs: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let line = (visible && terminal).then(|| {
            let line = ProgressBar::no_length();
            // What a narrow terminal has no place for is cut off, not wrapped.
            let style = ProgressStyle::with_template("{wide_msg}");
            line.set_style(style.unwrap_or(ProgressStyle::default_bar()));
            show(Some(line.clone()));
            line
        });
        Self {
            epochs,
            line,
            plain: visible && !terminal,
            start: Instant::now(),
            steps: Cell::new(0),
            said: Cell::new(Instant::now()),
        }
    }

    /// A step was made.
    pub(super) fn step(&self, now: &Moment) {
        self.steps.set(self.steps.get() + 1);
        let run_left = || left(self.start.elapsed(), self.steps.get(), now.steps_left);
        if let Some(line) = &self.line {
            let columns = Term::stderr()
                .size_checked()
                .map_or(WIDTH, |(_, own)| own.into());
            line.set_message(running(now, self.epochs, run_left(), columns));
            line.inc(1);
        } else if self.plain && self.said.get().elapsed() >= PLAIN_EVERY {
            say(&running(now, self.epochs, run_left(), WIDTH));
            self.said.set(Instant::now());
        }
    }

    pub(super) fn evaluating(&self, epoch: u64) {
        if let Some(line) = &self.line {
            line.set_message(format!("Epoch {}/{} evaluating", epoch + 1, self.epochs));
        }
    }

    pub(super) fn end(&self, record: &EpochRecord) {
        let text = over(record, self.epochs);
        if let Some(line) = &self.line {
            line.println(text);
        } else if self.plain {
            say(&text);
            self.said.set(Instant::now());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(line) = &self.line {
            line.finish_and_clear();
            show(None);
        }
    }
}

/// A line on standard error. Nobody listening there is no reason to end a run.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The line of an epoch that runs, in at most so many columns if it can be: what matters least is left out first. The bar
/// takes what is left of the width.
fn running(now: &Moment, epochs: u64, run_left: Duration, columns: usize) -> String {
    let epoch_left = left(
        now.duration,
        now.step as u64,
        now.steps.saturating_sub(now.step) as u64,
    );
    let before = format!(
        "Epoch {}/{epochs} {}/{}",
        now.epoch + 1,
        now.step,
        now.steps
    );
    let Metrics { loss, accuracy, .. } = now.metrics;
    let images = rate(now.metrics, now.duration);
    let (left, run) = (clock(epoch_left), clock(run_left));
    let data = share(now.data_wait, now.duration);
    // As they stand, each with its rank.
    let mut parts = vec![
        (3, format!("{images:.0} images/s")),
        (1, format!("loss {loss:.4}")),
        (0, format!("accuracy {:.1} %", 100.0 * accuracy)),
        (2, format!("left {left}, run {run}")),
        (4, format!("data {data}")),
    ];
    let length = |parts: &[(u8, String)]| -> usize {
        before.len() + parts.iter().map(|(_, own)| own.len() + 2).sum::<usize>()
    };
    while length(&parts) + 4 > columns && parts.len() > 1 {
        let last = parts.iter().map(|(rank, _)| *rank).max();
        parts.retain(|(rank, _)| Some(*rank) != last);
    }
    let bar = columns.saturating_sub(length(&parts));
    let bar = bar_of(now.step, now.steps, bar.clamp(4, 20));
    let parts: Vec<_> = parts.into_iter().map(|(_, own)| own).collect();
    format!("{before} {bar} {}", parts.join("  "))
}

/// The line of an epoch that is over.
fn over(record: &EpochRecord, epochs: u64) -> String {
    let Metrics { loss, accuracy, .. } = record.train;
    let (test_loss, test_accuracy) = record.test.map_or(Default::default(), |test| {
        let (loss, percent) = (test.loss, 100.0 * test.accuracy);
        (
            format!(", test {loss:.4}"),
            format!(", test {percent:.2} %"),
        )
    });
    format!(
        "Epoch {}/{epochs}  {}  {:.0} images/s  loss {loss:.4}{test_loss}  accuracy {:.2} %{test_accuracy}  data {}",
        record.epoch + 1,
        took(record.duration),
        rate(record.train, record.duration),
        100.0 * accuracy,
        percent(record.data_wait_share()),
    )
}

/// How long `steps` more take if they go on as those `made` in `duration`.
fn left(duration: Duration, made: u64, steps: u64) -> Duration {
    let seconds = duration.as_secs_f64() / made.max(1) as f64 * steps as f64;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

fn rate(metrics: Metrics, duration: Duration) -> f64 {
    metrics.samples as f64 / duration.as_secs_f64().max(1e-9)
}

/// Of the time, how much was waiting for data.
fn share(data_wait: Duration, duration: Duration) -> String {
    percent(data_wait.as_secs_f64() / duration.as_secs_f64().max(1e-9))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A time that was measured: what is short has tenths of seconds.
fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        _ => clock(duration),
    }
}

/// Minutes and seconds, with hours if there are any: `0:07`, `59:59`, `1:00:00`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (minutes, seconds) = (seconds / 60, seconds % 60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}:{seconds:02}"),
        (hours, minutes) => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

fn bar_of(step: usize, steps: usize, width: usize) -> String {
    let full = (width * step.min(steps)).checked_div(steps).unwrap_or(0);
    format!("{}{}", "━".repeat(full), "┄".repeat(width - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment() -> Moment {
        Moment {
            epoch: 2,
            step: 130,
            steps: 390,
            metrics: Metrics {
                loss: 1.23456,
                accuracy: 0.5678,
                samples: 16_640,
            },
            duration: Duration::from_secs_f64(3.5),
            data_wait: Duration::from_millis(70),
            steps_left: 0,
        }
    }

    fn record() -> EpochRecord {
        let metrics = |loss, accuracy, samples| Metrics {
            loss,
            accuracy,
            samples,
        };
        EpochRecord {
            epoch: 11,
            train: metrics(0.12345, 0.95678, 49_920),
            test: Some(metrics(0.5, 0.9, 10_000)),
            duration: Duration::from_secs_f64(11.05),
            data_wait: Duration::from_millis(90),
        }
    }

    #[test]
    fn a_running_epoch_says_how_far_it_is_how_fast_how_good_and_how_long_it_takes() {
        let line = running(&moment(), 9, Duration::from_secs(754), WIDTH);
        let expected = "Epoch 3/9 130/390 ━┄┄┄┄ 4754 images/s  loss 1.2346  accuracy 56.8 %  left 0:07, run 12:34  data 2 %";
        assert_eq!(line, expected);
        assert_eq!(line.chars().count(), WIDTH);
        let quick = Moment {
            step: 5,
            steps: 10,
            ..moment()
        };
        let line = running(&quick, 5, Duration::from_secs(9), WIDTH);
        let expected = "Epoch 3/5 5/10 ━━━━┄┄┄┄┄ 4754 images/s  loss 1.2346  accuracy 56.8 %  left 0:04, run 0:09  data 2 %";
        assert_eq!(line, expected);
    }

    #[test]
    fn a_narrow_line_leaves_out_what_matters_least() {
        let line = |columns| running(&moment(), 9, Duration::from_secs(754), columns);
        let expected =
            "Epoch 3/9 130/390 ━━━┄┄┄┄┄┄┄ loss 1.2346  accuracy 56.8 %  left 0:07, run 12:34";
        assert_eq!(line(79), expected);
        assert!(
            line(60).ends_with("┄┄┄┄ loss 1.2346  accuracy 56.8 %"),
            "{}",
            line(60)
        );
        for columns in [0, 30, 45, 60, 79, 99, 120, 300] {
            let length = line(columns).chars().count();
            assert!(length <= columns.max(40), "{length} in {columns}");
        }
    }

    #[test]
    fn the_first_moment_and_odd_numbers_make_a_line_too() {
        let nothing = Moment {
            step: 0,
            steps: 0,
            duration: Duration::ZERO,
            data_wait: Duration::ZERO,
            metrics: Metrics {
                loss: f64::NAN,
                accuracy: 0.0,
                samples: 0,
            },
            ..moment()
        };
        let line = running(&nothing, 20, Duration::MAX, 200);
        assert!(line.contains(" 0 images/s  loss NaN"), "{line}");
        assert!(line.ends_with("  data 0 %"), "{line}");
    }

    #[test]
    fn an_epoch_that_is_over_has_one_line_of_100_columns_with_its_test() {
        let line = over(&record(), 20);
        let expected = "Epoch 12/20  0:11  4518 images/s  loss 0.1235, test 0.5000  accuracy 95.68 %, test 90.00 %  data 1 %";
        assert_eq!(line, expected);
        assert_eq!(line.len(), 100);
        let untested = EpochRecord {
            test: None,
            duration: Duration::from_secs_f64(9.24),
            ..record()
        };
        let line = over(&untested, 20);
        let expected = "Epoch 12/20  9.2 s  5403 images/s  loss 0.1235  accuracy 95.68 %  data 1 %";
        assert_eq!(line, expected);
    }

    #[test]
    fn the_time_left_follows_from_the_steps_so_far() {
        assert_eq!(left(Duration::from_secs(6), 3, 10), Duration::from_secs(20));
        assert_eq!(left(Duration::from_secs(6), 3, 0), Duration::ZERO);
        // Before the first step nothing is known.
        assert_eq!(left(Duration::ZERO, 0, 10), Duration::ZERO);
        assert_eq!(left(Duration::MAX, 1, u64::MAX), Duration::MAX);
        let times = [
            (0.4, "0:00"),
            (7.0, "0:07"),
            (59.6, "1:00"),
            (3599.0, "59:59"),
        ];
        for (seconds, expected) in times.into_iter().chain([(36_061.0, "10:01:01")]) {
            assert_eq!(clock(Duration::from_secs_f64(seconds)), expected);
        }
    }
}
