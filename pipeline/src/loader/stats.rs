//! What a loader's time goes into, and what that means.

use std::fmt;
use std::time::Duration;

use super::meter::{ConsumerTimes, WorkerTimes};
use super::tuner::Setting;

/// A consumer that waits less of its time than this is not slowed down by its loader in any way that matters.
const INPUT_BOUND: f64 = 0.05;

/// What a loader's time goes into: how long its stages take, and who waits for whom. Made by
/// [`Loader::stats`](super::Loader::stats).
///
/// The consumer's time, from one batch to the next, is split into [`waiting`](Self::waiting) for the loader,
/// [`delivering`](Self::delivering) and [`consuming`](Self::consuming); what goes by between the end of an epoch and the
/// first request of the next is not counted. The workers' times are those of all workers together. Their stages are timed
/// sample by sample where samples take long; of those that take less than ten microseconds it is up to one in 64, and the time of
/// whole batches is split in that proportion.
///
/// As text it says what there is to know:
///
/// ```
/// use std::time::Duration;
/// use feedline_pipeline::source::InMemory;
/// use feedline_pipeline::{Loader, Shape, Transform};
///
/// // A transform that takes a millisecond for every picture.
/// let slow = Transform::new().map(|_| {
///     std::thread::sleep(Duration::from_millis(1));
///     Ok(())
/// });
/// let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
/// let mut loader = Loader::builder(source).batch_size(10).transform(slow).build()?;
/// for batch in loader.epoch(0) {
///     let _pixels = batch?.pixels();
/// }
/// let stats = loader.stats();
/// assert_eq!(stats.batches, 10);
/// assert!(stats.waiting_share() > 0.5);
/// assert_eq!(stats.slowest().name(), "transform");
/// // "input-bound: the consumer waited 99 % of its time for batches; transform is the slowest stage, …"
/// println!("{stats}");
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches that were delivered.
    pub batches: u64,
    /// Samples in them.
    pub samples: u64,
    /// How long the consumer waited for batches that were not ready.
    pub waiting: Duration,
    /// How long the sink took to make of batches what the consumer wants, on the consumer's thread.
    pub delivering: Duration,
    /// How long the consumer was at work on its batches.
    pub consuming: Duration,
    /// How long the workers, all of them together, waited for the source: for samples to be read and, where they have to be,
    /// decoded.
    pub reading: Duration,
    /// How long the workers, all of them together, transformed samples and wrote them into batches.
    pub transforming: Duration,
    /// How long the workers, all of them together, had nothing to fill, since all batches ahead were ready.
    pub idle: Duration,
    /// Processor time of all workers together; where the system doesn't tell, the time in which they were busy.
    pub cpu: Duration,
    /// How many workers there are now.
    pub workers: usize,
    /// How many batches exist now: those ahead, and the one that the consumer holds.
    pub slots: usize,
}

/// A stage of a loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The source: reading samples, and decoding those that are stored encoded. On the workers.
    Read,
    /// The transform. On the workers.
    Transform,
    /// The sink. On the consumer's thread.
    Deliver,
}

impl Stage {
    /// In a word: `read`, `transform` or `deliver`. Spans are called that, too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Transform => "transform",
            Self::Deliver => "deliver",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Stats {
    pub(super) fn new(consumer: ConsumerTimes, workers: WorkerTimes, setting: Setting) -> Self {
        Self {
            batches: consumer.batches,
            samples: consumer.samples,
            waiting: consumer.waiting,
            delivering: consumer.delivering,
            consuming: consumer.consuming,
            reading: workers.stages.read,
            transforming: workers.stages.transform,
            idle: workers.idle,
            cpu: workers.cpu,
            workers: setting.workers,
            slots: setting.slots,
        }
    }

    /// What has happened since `earlier`, of the same loader: of an epoch, say. The numbers of workers and slots are those of
    /// now.
    ///
    /// ```
    /// # use feedline_pipeline::source::InMemory;
    /// # use feedline_pipeline::{Loader, Shape};
    /// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
    /// let mut loader = Loader::builder(source).batch_size(10).build()?;
    /// for epoch in 0..3 {
    ///     let before = loader.stats();
    ///     loader.epoch(epoch).try_for_each(|batch| batch.map(drop))?;
    ///     assert_eq!(loader.stats().since(&before).samples, 100);
    /// }
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            batches: self.batches.saturating_sub(earlier.batches),
            samples: self.samples.saturating_sub(earlier.samples),
            waiting: self.waiting.saturating_sub(earlier.waiting),
            delivering: self.delivering.saturating_sub(earlier.delivering),
            consuming: self.consuming.saturating_sub(earlier.consuming),
            reading: self.reading.saturating_sub(earlier.reading),
            transforming: self.transforming.saturating_sub(earlier.transforming),
            idle: self.idle.saturating_sub(earlier.idle),
            cpu: self.cpu.saturating_sub(earlier.cpu),
            workers: self.workers,
            slots: self.slots,
        }
    }

    /// The consumer's time: waiting, delivering and consuming.
    pub fn elapsed(&self) -> Duration {
        self.waiting + self.delivering + self.consuming
    }

    /// The part of its time that the consumer waited for batches: from 0 to 1.
    pub fn waiting_share(&self) -> f64 {
        share(self.waiting, self.elapsed())
    }

    /// How many times as fast the consumer would be with a loader that takes no time at all: 1 is no gain. Infinite for a
    /// consumer that does nothing but ask for the next batch.
    pub fn headroom(&self) -> f64 {
        if self.elapsed().is_zero() {
            return 1.0;
        }
        self.elapsed().as_secs_f64() / self.consuming.as_secs_f64()
    }

    /// The stage that a batch spends most time in, if workers share theirs.
    pub fn slowest(&self) -> Stage {
        let filling = (self.reading + self.transforming).as_secs_f64() / self.workers.max(1) as f64;
        if self.delivering.as_secs_f64() > filling {
            Stage::Deliver
        } else if self.reading > self.transforming {
            Stage::Read
        } else {
            Stage::Transform
        }
    }
}

impl fmt::Display for Stats {
    /// Who waits for whom, which stage is the slowest, and what there is to gain.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.batches == 0 {
            return f.write_str("no batch was delivered yet");
        }
        let percent = |part, whole| 100.0 * share(part, whole);
        let waited = percent(self.waiting, self.elapsed());
        let busy = self.reading + self.transforming;
        let idle = percent(self.idle, busy + self.idle);
        let slowest = self.slowest();
        let of_work = match slowest {
            Stage::Read => format!("{:.0} % of the workers' work", percent(self.reading, busy)),
            Stage::Transform => format!(
                "{:.0} % of the workers' work",
                percent(self.transforming, busy)
            ),
            Stage::Deliver => "on the consumer's own thread".into(),
        };
        if self.waiting_share() > INPUT_BOUND {
            write!(
                f,
                "input-bound: the consumer waited {waited:.1} % of its time for batches; {slowest} is the slowest stage, \
                 {of_work}, and the workers had nothing to do {idle:.0} % of their time; "
            )?;
        } else {
            write!(
                f,
                "not input-bound: the consumer waited {waited:.1} % of its time for batches, and the workers had nothing to do \
                 {idle:.0} % of theirs; what takes longest is {slowest}, {of_work}; "
            )?;
        }
        let headroom = self.headroom();
        if headroom.is_finite() && headroom < 1e3 {
            write!(
                f,
                "with an infinitely fast loader the consumer would be {headroom:.2} times as fast"
            )?;
        } else {
            f.write_str("the consumer does next to nothing itself")?;
        }
        let (workers, ahead) = (self.workers, self.slots.saturating_sub(1));
        let worker = if workers == 1 { "worker" } else { "workers" };
        let batch = if ahead == 1 { "batch" } else { "batches" };
        write!(f, " ({workers} {worker}, {ahead} {batch} ahead)")
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        return 0.0;
    }
    part.as_secs_f64() / whole.as_secs_f64()
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    fn stats() -> Stats {
        let seconds = Duration::from_secs;
        Stats {
            batches: 10,
            samples: 100,
            waiting: seconds(71),
            delivering: seconds(4),
            consuming: seconds(25),
            reading: seconds(20),
            transforming: seconds(180),
            idle: seconds(0),
            cpu: seconds(190),
            workers: 2,
            slots: 5,
        }
    }

    #[test]
    fn words_say_who_waits_and_for_what() {
        assert_eq!(
            stats().to_string(),
            "input-bound: the consumer waited 71.0 % of its time for batches; transform is the slowest stage, 90 % of the \
             workers' work, and the workers had nothing to do 0 % of their time; with an infinitely fast loader the consumer \
             would be 4.00 times as fast (2 workers, 4 batches ahead)"
        );
        let fed = Stats {
            waiting: Duration::from_secs(1),
            delivering: Duration::from_secs(150),
            idle: Duration::from_secs(600),
            consuming: Duration::from_secs(1000),
            ..stats()
        };
        let words = fed.to_string();
        assert!(
            words.starts_with("not input-bound: the consumer waited 0.1 %"),
            "{words}"
        );
        assert!(
            words.contains("what takes longest is deliver, on the consumer's own thread"),
            "{words}"
        );
        assert!(words.contains("nothing to do 75 %"), "{words}");
    }

    #[test]
    fn a_consumer_that_only_asks_has_no_end_of_headroom() {
        let asking = Stats {
            consuming: Duration::ZERO,
            ..stats()
        };
        assert_eq!(asking.headroom(), f64::INFINITY);
        assert!(asking.to_string().contains("next to nothing itself"));
    }

    #[test]
    fn nothing_yet_is_no_division_by_zero() {
        let none = stats().since(&stats());
        assert_eq!((none.headroom(), none.waiting_share()), (1.0, 0.0));
        assert_eq!(none.to_string(), "no batch was delivered yet");
    }

    #[test]
    fn stages_are_compared_as_a_batch_goes_through_them() {
        let with = |reading, transforming, delivering| Stats {
            reading: Duration::from_secs(reading),
            transforming: Duration::from_secs(transforming),
            delivering: Duration::from_secs(delivering),
            ..stats()
        };
        assert_eq!(with(3, 2, 1).slowest(), Stage::Read);
        assert_eq!(with(2, 3, 1).slowest(), Stage::Transform);
        // Two workers do five seconds of work in two and a half.
        assert_eq!(with(2, 3, 3).slowest(), Stage::Deliver);
    }
}
