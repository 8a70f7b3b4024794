//! What has taken how long, on both sides of the channel.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::batch::StageTimes;

/// What all workers together have done so far.
///
/// These are the standard library's atomics under the model checker, too: nobody waits for them.
#[derive(Debug, Default)]
pub(super) struct Meter {
    read: AtomicU64,
    transform: AtomicU64,
    idle: AtomicU64,
    cpu: AtomicU64,
}

/// What a [`Meter`] shows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WorkerTimes {
    pub(super) stages: StageTimes,
    /// In which they had nothing to fill.
    pub(super) idle: Duration,
    /// Of processors.
    pub(super) cpu: Duration,
}

impl Meter {
    pub(super) fn add(&self, times: WorkerTimes) {
        let add = |sum: &AtomicU64, time: Duration| {
            // Five hundred years fit in.
            sum.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
        };
        add(&self.read, times.stages.read);
        add(&self.transform, times.stages.transform);
        add(&self.idle, times.idle);
        add(&self.cpu, times.cpu);
    }

    pub(super) fn times(&self) -> WorkerTimes {
        let get = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        WorkerTimes {
            stages: StageTimes {
                read: get(&self.read),
                transform: get(&self.transform),
            },
            idle: get(&self.idle),
            cpu: get(&self.cpu),
        }
    }
}

/// How one worker's time goes by.
pub(super) struct WorkerClock {
    last: Instant,
    last_cpu: Option<Duration>,
}

impl WorkerClock {
    pub(super) fn start() -> Self {
        Self {
            last: Instant::now(),
            last_cpu: thread_cpu_time(),
        }
    }

    /// The time since this was last asked.
    pub(super) fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.last, now)
    }

    /// The processor time since this was last asked; where the system doesn't tell, `busy`.
    pub(super) fn cpu(&mut self, busy: Duration) -> Duration {
        let now = thread_cpu_time();
        let last = std::mem::replace(&mut self.last_cpu, now);
        match (now, last) {
            (Some(now), Some(last)) => now.saturating_sub(last),
            _ => busy,
        }
    }
}

/// The processor time of this thread.
fn thread_cpu_time() -> Option<Duration> {
    #[cfg(all(unix, not(miri)))]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        time.try_into().ok()
    }
    #[cfg(not(all(unix, not(miri))))]
    None
}

/// How the consumer's time goes by, from batch to batch.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConsumerTimes {
    /// For workers to finish a batch.
    pub(super) waiting: Duration,
    /// In the sink.
    pub(super) delivering: Duration,
    /// Its own.
    pub(super) consuming: Duration,
    pub(super) batches: u64,
    pub(super) samples: u64,
}

impl ConsumerTimes {
    pub(super) fn elapsed(&self) -> Duration {
        self.waiting + self.delivering + self.consuming
    }
}

/// Who fills in [`ConsumerTimes`]: it knows at each moment what the time since the last one went into.
#[derive(Debug, Default)]
pub(super) struct ConsumerClock {
    times: ConsumerTimes,
    /// `None` before the first batch, and while the consumer does not want any.
    last: Option<Instant>,
}

impl ConsumerClock {
    pub(super) fn times(&self) -> ConsumerTimes {
        self.times
    }

    /// A batch is asked for.
    pub(super) fn request(&mut self) {
        let time = self.lap();
        self.times.consuming += time;
    }

    /// It is there.
    pub(super) fn receive(&mut self) {
        let time = self.lap();
        self.times.waiting += time;
    }

    /// The sink has made of it what it should be.
    pub(super) fn deliver(&mut self, samples: usize) {
        let time = self.lap();
        self.times.delivering += time;
        self.times.batches += 1;
        self.times.samples += samples as u64;
    }

    /// No batch is asked for any more, for now: the time until the next one is nobody's.
    pub(super) fn pause(&mut self) {
        let time = self.lap();
        self.times.consuming += time;
        self.last = None;
    }

    /// As [`pause`](Self::pause), but what the time since the last batch went into is not known.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        let last = self.last.replace(now);
        last.map_or(Duration::ZERO, |last| now - last)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A clock for which an hour has gone by since it was last asked. Instants may not go back that far.
    fn an_hour_later(clock: &mut ConsumerClock) -> Option<()> {
        clock.last = Some(Instant::now().checked_sub(HOUR)?);
        Some(())
    }

    #[test]
    fn time_goes_to_who_it_went_by_for() {
        let mut clock = ConsumerClock::default();
        let steps: [fn(&mut ConsumerClock); 4] = [
            ConsumerClock::request,
            ConsumerClock::receive,
            |clock| clock.deliver(7),
            ConsumerClock::pause,
        ];
        for step in steps {
            if an_hour_later(&mut clock).is_none() {
                return;
            }
            step(&mut clock);
        }
        let times = clock.times();
        let hours = |time: Duration| time.as_secs() / HOUR.as_secs();
        assert_eq!(hours(times.waiting), 1);
        assert_eq!(hours(times.delivering), 1);
        assert_eq!(hours(times.consuming), 2);
        assert_eq!((times.batches, times.samples), (1, 7));
    }

    #[test]
    fn time_between_epochs_is_nobodys() {
        let mut clock = ConsumerClock::default();
        // Before the first batch, and after the last: there is no moment to count from.
        clock.request();
        clock.pause();
        assert!(clock.last.is_none());
        if an_hour_later(&mut clock).is_some() {
            clock.forget();
            clock.request();
        }
        assert!(clock.times().elapsed() < HOUR);
    }
}
