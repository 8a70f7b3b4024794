//! How long a worker's stages take, without measuring every sample.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Samples that take less than this are not all timed: to look at the clock would take a noticeable part of it.
const ALL: Duration = Duration::from_micros(10);

/// Of short samples one in so many is timed.
const AT_MOST_EVERY: u32 = 64;

/// How many bytes apart a sample's memory is touched: less than a page.
const PAGE: usize = 4096;

/// Times some of a worker's samples, stage by stage.
#[derive(Debug)]
pub(crate) struct StageTimer {
    every: u32,
    until_next: u32,
    read: Duration,
    transform: Duration,
    /// Of the time of the samples that were timed last, the part that went into reading.
    read_share: f64,
}

/// How long each stage of a part took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StageTimes {
    pub(crate) read: Duration,
    pub(crate) transform: Duration,
}

impl StageTimes {
    pub(crate) fn busy(&self) -> Duration {
        self.read + self.transform
    }
}

/// The stages of one sample, while they are timed.
pub(super) struct Timing {
    began: Instant,
    read: Duration,
}

impl StageTimer {
    pub(crate) fn new() -> Self {
        Self {
            every: 1,
            until_next: 0,
            read: Duration::ZERO,
            transform: Duration::ZERO,
            read_share: 0.0,
        }
    }

    /// Begins with a sample. `None` if it is not one of those that are timed.
    pub(super) fn begin(&mut self) -> Option<Timing> {
        if self.until_next > 0 {
            self.until_next -= 1;
            return None;
        }
        self.until_next = self.every - 1;
        let (began, read) = (Instant::now(), Duration::ZERO);
        Some(Timing { began, read })
    }

    /// Ends with a sample.
    pub(super) fn end(&mut self, timing: Option<Timing>) {
        let Some(Timing { began, read }) = timing else {
            return;
        };
        let whole = began.elapsed();
        self.read += read;
        self.transform += whole.saturating_sub(read);
        let every = ALL.as_nanos() / whole.as_nanos().max(1);
        self.every = (every as u32).clamp(1, AT_MOST_EVERY);
    }

    /// Splits the `whole` time of a part as that of its timed samples was split.
    pub(crate) fn split(&mut self, whole: Duration) -> StageTimes {
        let timed = self.read + self.transform;
        if !timed.is_zero() {
            self.read_share = self.read.as_secs_f64() / timed.as_secs_f64();
        }
        (self.read, self.transform) = (Duration::ZERO, Duration::ZERO);
        let read = whole.mul_f64(self.read_share).min(whole);
        StageTimes {
            read,
            transform: whole - read,
        }
    }
}

impl Timing {
    /// The source has lent `bytes`. Those of a mapped file come from the disk only when they are touched, which is what
    /// reading is.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for page in bytes.chunks(PAGE) {
            black_box(page[0]);
        }
        self.read = self.began.elapsed();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_time_are_all_of_it() {
        let mut timer = StageTimer::new();
        let whole = Duration::from_millis(100);
        assert_eq!(timer.split(whole).transform, whole);
        timer.read = Duration::from_micros(3);
        timer.transform = Duration::from_micros(9);
        let times = timer.split(whole);
        assert_eq!(times.read + times.transform, whole);
        assert_eq!(times.read, Duration::from_millis(25));
        // Until other samples are timed, what is known stays.
        assert_eq!(timer.split(whole).read, times.read);
    }

    #[test]
    fn long_samples_are_all_timed_and_short_ones_seldom() {
        let mut timer = StageTimer::new();
        let timed = |timer: &mut StageTimer, length| {
            let mut count = 0;
            for _ in 0..640 {
                let timing = timer.begin().map(|timing| Timing {
                    began: timing.began.checked_sub(length).unwrap_or(timing.began),
                    ..timing
                });
                count += u32::from(timing.is_some());
                timer.end(timing);
            }
            count
        };
        assert_eq!(timed(&mut timer, Duration::from_millis(1)), 640);
        timer.every = AT_MOST_EVERY;
        timer.until_next = AT_MOST_EVERY - 1;
        // Nothing is as fast as that on a machine that is busy with other things.
        let begun = (0..640).filter(|_| timer.begin().is_some()).count();
        assert_eq!(begun, 10);
    }
}
