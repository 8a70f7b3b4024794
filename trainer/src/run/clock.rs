//! What ran when in a run, noted step by step.

use std::time::{Duration, Instant};

use super::Span;

/// More spans than can be told apart in a picture; neighbours are joined beyond it.
const MOST: usize = 4096;

const ROWS: [&str; 4] = ["wait for data", "train", "evaluate", "save, else"];

/// Notes what the replica with rank 0 does.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    /// When the last thing ended.
    mark: Duration,
    /// The epoch of the step before, and how long it had taken then.
    epoch: Option<u64>,
    trained: Duration,
    waited: Duration,
    /// From and to, by row.
    rows: [Vec<[Duration; 2]>; ROWS.len()],
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            mark: Duration::ZERO,
            epoch: None,
            trained: Duration::ZERO,
            waited: Duration::ZERO,
            rows: Default::default(),
        }
    }

    /// A step is over, and its epoch has taken so long, of which it waited for data so long.
    pub(super) fn step(&mut self, epoch: u64, duration: Duration, data_wait: Duration) {
        self.step_at(self.start.elapsed(), epoch, duration, data_wait);
    }

    fn step_at(&mut self, now: Duration, epoch: u64, duration: Duration, data_wait: Duration) {
        if self.epoch.replace(epoch) != Some(epoch) {
            (self.trained, self.waited) = (Duration::ZERO, Duration::ZERO);
        }
        let own = duration.saturating_sub(self.trained);
        let wait = data_wait.saturating_sub(self.waited).min(own);
        (self.trained, self.waited) = (duration, data_wait);
        // An epoch that was gone on with began before this clock.
        let begun = now.saturating_sub(own).max(self.mark);
        let waited = (begun + wait).min(now);
        self.note(3, self.mark, begun);
        self.note(0, begun, waited);
        self.note(1, waited, now);
        self.mark = now;
    }

    /// An epoch's evaluation is over.
    pub(super) fn evaluated(&mut self) {
        let now = self.start.elapsed();
        self.note(2, self.mark, now);
        self.mark = now;
    }

    fn note(&mut self, row: usize, from: Duration, to: Duration) {
        let row = &mut self.rows[row];
        if to > from {
            row.push([from, to]);
        }
        if row.len() >= MOST {
            // Both from where the first began: they are too short for the difference to be seen.
            let pairs = row.chunks(2).map(|pair| {
                let length: Duration = pair.iter().map(|[from, to]| *to - *from).sum();
                [pair[0][0], pair[0][0] + length]
            });
            *row = pairs.collect();
        }
    }

    pub(super) fn spans(&self) -> Vec<Span> {
        let rows = ROWS.iter().zip(&self.rows);
        let spans = rows.flat_map(|(stage, row)| {
            row.iter().map(|&[start, end]| Span {
                stage: (*stage).into(),
                start,
                end,
            })
        });
        spans.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn total(clock: &Clock, row: usize) -> Duration {
        clock.rows[row].iter().map(|[from, to]| *to - *from).sum()
    }

    #[test]
    fn what_was_waited_trained_and_neither_adds_up() {
        let mut clock = Clock::new();
        // Two epochs of two steps of 10 ms, 3 of them waiting, with 5 ms before each epoch.
        for epoch in 0..2 {
            for step in 1..=2 {
                let now = milliseconds(epoch * 25 + 5 + 10 * step);
                let (duration, waited) = (milliseconds(10 * step), milliseconds(3 * step));
                clock.step_at(now, epoch, duration, waited);
            }
        }
        assert_eq!(total(&clock, 0), milliseconds(12));
        assert_eq!(total(&clock, 1), milliseconds(28));
        assert_eq!(total(&clock, 3), milliseconds(10));
        assert_eq!(clock.rows[0][2], [milliseconds(30), milliseconds(33)]);
        assert_eq!(clock.spans().len(), 10);
    }

    #[test]
    fn a_long_run_takes_no_more_memory_and_stays_as_busy() {
        let mut clock = Clock::new();
        for step in 1..=20_000 {
            clock.step_at(
                milliseconds(2 * step),
                0,
                milliseconds(step),
                Duration::ZERO,
            );
        }
        assert!(clock.spans().len() < 2 * MOST);
        assert_eq!(total(&clock, 1), milliseconds(20_000));
    }
}
