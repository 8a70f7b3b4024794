//! When the tuner looks, and at what.

use super::meter::{ConsumerClock, ConsumerTimes, Meter, WorkerTimes};
use super::tuner::{Interval, Tuner};

/// When the tuner looks, and at what.
pub(super) struct Tuning {
    pub(super) tuner: Tuner,
    /// Batches that are not looked at, since they were begun before the last change.
    settle: usize,
    since: Reading,
}

/// What the clocks showed.
#[derive(Clone, Copy)]
struct Reading {
    consumer: ConsumerTimes,
    workers: WorkerTimes,
}

impl Tuning {
    pub(super) fn new(tuner: Tuner) -> Self {
        Self {
            // Not the first batches, for which everything is waited for.
            settle: tuner.setting().workers,
            tuner,
            since: Reading::default(),
        }
    }

    /// Looks, if it is time for it, and says why if that changes the setting.
    pub(super) fn look(&mut self, clock: &ConsumerClock, meter: &Meter) -> Option<&'static str> {
        if self.tuner.is_fixed() {
            return None;
        }
        let consumer = clock.times();
        if self.settle > 0 {
            let batches = consumer.batches - self.since.consumer.batches;
            if batches >= self.settle as u64 {
                self.settle = 0;
                self.since = Reading::of(consumer, meter);
            }
            return None;
        }
        let before = &self.since;
        let mut interval = Interval {
            active: consumer.elapsed() - before.consumer.elapsed(),
            waiting: consumer.waiting - before.consumer.waiting,
            batches: consumer.batches - before.consumer.batches,
            ..Interval::default()
        };
        if !self.tuner.is_due(&interval) {
            return None;
        }
        let now = Reading::of(consumer, meter);
        interval.busy = now.workers.stages.busy() - before.workers.stages.busy();
        interval.cpu = now.workers.cpu - before.workers.cpu;
        self.since = now;
        let change = self.tuner.look(&interval);
        if change.is_some() {
            self.settle = self.tuner.setting().workers;
        }
        change
    }
}

impl Reading {
    fn of(consumer: ConsumerTimes, meter: &Meter) -> Self {
        Self {
            consumer,
            workers: meter.times(),
        }
    }
}

impl Default for Reading {
    fn default() -> Self {
        Self::of(ConsumerTimes::default(), &Meter::default())
    }
}
