//! The tuner against models of loaders, for which the best setting can be worked out.

use super::*;
use crate::random::Random;
use proptest::prelude::*;

/// A loader and its consumer, in seconds.
#[derive(Debug, Clone, Copy)]
struct Model {
    /// That a worker takes for a batch,
    fill: f64,
    /// and how much of that it needs a processor.
    cpu: f64,
    /// That the consumer takes for a batch, without needing a processor.
    consumer: f64,
    processors: f64,
    /// Which part of them the workers may take.
    share: f64,
    /// More workers at a time make a disk slower, or don't: how many are worth while.
    useful: f64,
}

impl Model {
    /// Batches a second.
    fn rate(&self, setting: Setting) -> f64 {
        // One slot is in the consumer's hands.
        let workers = setting.workers.min(setting.slots.max(2) - 1) as f64;
        let by_workers = workers.min(self.useful) / self.fill;
        let by_processors = self.processors / (self.fill * self.cpu).max(1e-12);
        by_workers.min(by_processors).min(1.0 / self.consumer)
    }

    /// How many processors that takes.
    fn used(&self, setting: Setting) -> f64 {
        self.rate(setting) * self.fill * self.cpu
    }

    fn limit(&self) -> Limit {
        Limit {
            processors: self.processors * self.share,
            all: self.share == 1.0,
        }
    }

    /// Of all settings that keep within the share.
    fn best(&self, workers: Bounds, slots: Bounds) -> f64 {
        let all = (1..=workers.most)
            .flat_map(|workers| (1..=slots.most).map(move |slots| Setting { workers, slots }));
        let kept = all.filter(|&setting| self.used(setting) <= self.limit().processors);
        kept.map(|setting| self.rate(setting)).fold(0.0, f64::max)
    }

    /// What is seen between two looks, a few percent off.
    fn interval(&self, setting: Setting, random: &mut Random) -> Interval {
        let noise = 1.0 + 0.02 * (random.below(1000) as f64 / 500.0 - 1.0);
        let rate = self.rate(setting) * noise;
        let seconds = Duration::from_secs_f64;
        let waiting = (1.0 - rate * self.consumer).clamp(0.0, 1.0);
        let workers = setting.workers.min(setting.slots.max(2) - 1) as f64;
        // A worker that waits for a processor, or for a disk, is busy.
        let busy = if waiting > 0.001 {
            workers
        } else {
            (rate * self.fill).min(workers)
        };
        Interval {
            active: seconds(1.0),
            waiting: seconds(waiting),
            busy: seconds(busy),
            cpu: seconds(self.used(setting) * noise),
            batches: (rate as u64).max(1_000_000),
        }
        .with_rate(rate)
    }
}

impl Interval {
    /// As many batches as that many a second are, counted finely enough not to be rounded.
    fn with_rate(self, rate: f64) -> Self {
        let scale = self.batches as f64 / rate;
        let long = |time: Duration| time.mul_f64(scale);
        Self {
            active: long(self.active),
            waiting: long(self.waiting),
            busy: long(self.busy),
            cpu: long(self.cpu),
            batches: self.batches,
        }
    }
}

const SLOTS: Bounds = Bounds { first: 5, most: 65 };
const WORKERS: Bounds = Bounds { first: 2, most: 16 };

/// Where the tuner is after so many looks.
fn tuned(model: &Model, workers: Bounds, slots: Bounds, looks: usize, seed: u64) -> Tuner {
    let mut tuner = Tuner::new(workers, slots, 1, model.limit());
    let mut random = Random::new([seed]);
    for _ in 0..looks {
        let interval = model.interval(tuner.setting(), &mut random);
        tuner.look(&interval);
        let Setting {
            workers: w,
            slots: s,
        } = tuner.setting();
        assert!((1..=workers.most).contains(&w) && (1..=slots.most).contains(&s));
    }
    tuner
}

fn model() -> impl Strategy<Value = Model> {
    let times = (0.0001f64..0.1, 0.01f64..1.0, 0.0001f64..0.1);
    (
        times,
        prop::sample::select(vec![
            (1.0, 1.0),
            (2.0, 1.0),
            (4.0, 1.0),
            (4.0, 0.5),
            (8.0, 0.25),
        ]),
        1.0f64..32.0,
    )
        .prop_map(
            |((fill, cpu, consumer), (processors, share), useful)| Model {
                fill,
                cpu,
                consumer,
                processors,
                share,
                useful,
            },
        )
}

proptest! {
    #[test]
    fn whatever_the_work_it_ends_close_to_the_best_setting(model in model(), seed: u64) {
        let workers = Bounds { first: model.limit().processors as usize, most: 16 };
        let slots = Bounds { first: 2 * workers.first + 1, ..SLOTS };
        let best = model.best(workers, slots);
        // A look at any time, also while something is tried out: the median of some.
        let mut rates: Vec<_> = (40..55)
            .map(|looks| model.rate(tuned(&model, workers, slots, looks, seed).setting()))
            .collect();
        rates.sort_by(f64::total_cmp);
        prop_assert!(rates[7] >= 0.9 * best, "{} of {best}", rates[7]);
    }

    #[test]
    fn workers_keep_within_their_share_of_the_processors(model in model(), seed: u64) {
        // More than they need threads for.
        let workers = Bounds { first: 8, most: 16 };
        let looks = 20..60;
        let used = looks.clone().map(|looks| model.used(tuned(&model, workers, SLOTS, looks, seed).setting()));
        // What is tried out may be too much, once in a while.
        let used = used.sum::<f64>() / looks.len() as f64;
        prop_assert!(used <= model.limit().processors * (TOLERANCE + 0.05), "{used}");
    }

    #[test]
    fn what_was_asked_for_stays(model in model(), seed: u64) {
        let fixed = |number| Bounds { first: number, most: number };
        let tuner = tuned(&model, fixed(3), SLOTS, 40, seed);
        prop_assert_eq!(tuner.setting().workers, 3);
        let tuner = tuned(&model, WORKERS, fixed(4), 40, seed);
        prop_assert_eq!(tuner.setting().slots, 4);
        prop_assert!(Tuner::new(fixed(3), fixed(4), 1, model.limit()).is_fixed());
    }
}

const WAITING: Model = Model {
    fill: 0.05,
    cpu: 0.02,
    consumer: 0.0001,
    processors: 2.0,
    share: 1.0,
    useful: 100.0,
};

#[test]
fn workers_that_mostly_wait_become_many() {
    assert_eq!(tuned(&WAITING, WORKERS, SLOTS, 10, 1).setting().workers, 16);
}

#[test]
fn workers_that_compute_stay_as_many_as_processors() {
    let computing = Model {
        cpu: 1.0,
        ..WAITING
    };
    assert_eq!(
        tuned(&computing, WORKERS, SLOTS, 40, 1).setting().workers,
        2
    );
}

#[test]
fn workers_that_make_nothing_faster_are_taken_back() {
    let disk = Model {
        useful: 2.0,
        ..WAITING
    };
    // Tried out in the first look, taken back in the second.
    assert_eq!(tuned(&disk, WORKERS, SLOTS, 1, 1).setting().workers, 4);
    assert_eq!(tuned(&disk, WORKERS, SLOTS, 2, 1).setting().workers, 2);
}

#[test]
fn workers_that_are_not_needed_any_more_are_given_back() {
    let mut tuner = tuned(&WAITING, WORKERS, SLOTS, 10, 1);
    let slow = Model {
        consumer: 1.0,
        ..WAITING
    };
    let mut random = Random::new([2]);
    for _ in 0..40 {
        tuner.look(&slow.interval(tuner.setting(), &mut random));
    }
    assert_eq!(tuner.setting().workers, WORKERS.first);
}

#[test]
fn a_share_of_less_than_a_processor_still_has_one_worker() {
    let computing = Model {
        cpu: 1.0,
        share: 0.25,
        ..WAITING
    };
    let workers = Bounds { first: 1, most: 16 };
    assert_eq!(
        tuned(&computing, workers, SLOTS, 40, 1).setting().workers,
        1
    );
}
