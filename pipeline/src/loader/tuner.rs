//! How many workers fill batches, and how many batches ahead: decided while they flow.
//!
//! The tuner looks at what has happened since it last looked, and changes at most one number:
//!
//! | what it sees | what it does |
//! |---|---|
//! | workers take more than their share of the processors | fewer workers, at once |
//! | the consumer waits, and the workers are busy | twice as many workers, as far as the share of the processors goes |
//! | the consumer waits, and the workers have nothing to fill | twice as many batches ahead, as far as the budget goes |
//! | more workers have made nothing faster, or more batches something slower | takes that back, and leaves it for a while |
//! | the consumer doesn't wait | gives back a worker that isn't needed |
//!
//! It only ever sees durations, so that it can be tried out on models of loaders.

use std::time::Duration;

/// How long the consumer must have been at work between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A consumer that waits less of its time is left alone: there is next to nothing to gain.
const STARVED: f64 = 0.03;

/// Workers that are busy for so much of their time are what the consumer waits for.
const BUSY: f64 = 0.8;

/// By how much more workers must make things faster to be kept, unless there is less than twice as much to gain; and how much
/// slower more batches ahead may seem: they take nothing but memory that was granted, and consumers that take many at once make
/// looks differ.
const GAIN: f64 = 0.04;

/// Workers that use so much of their share of the processors gain next to nothing from more of them.
const SATURATED: f64 = 0.92;

/// How far above its share the workers' processor time may be measured before there are fewer of them.
const TOLERANCE: f64 = 1.1;

/// For how many looks what was in vain is not tried again: the first time, as looks may deceive, and at the most.
const SHORT_REST: u32 = 4;
const LONG_REST: u32 = 32;

/// So many workers too many are given back, one a look.
const SPARE: f64 = 1.5;

/// What a loader has done between two looks.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interval {
    /// Without the consumer's pauses between epochs. What workers do in those counts nevertheless: rather too much than too
    /// little.
    pub(super) active: Duration,
    /// In which the consumer waited for a batch.
    pub(super) waiting: Duration,
    /// In which workers filled batches, all of them together.
    pub(super) busy: Duration,
    /// Of processors, which workers used.
    pub(super) cpu: Duration,
    pub(super) batches: u64,
}

/// Between what a number may move. One that was asked for does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first: usize,
    pub(super) most: usize,
}

/// How many threads work, on how many batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) workers: usize,
    pub(super) slots: usize,
}

/// A number that is tuned.
#[derive(Debug)]
struct Knob {
    now: usize,
    first: usize,
    most: usize,
    /// For how many looks it stays where it is,
    rest: u32,
    /// and for how many the next time.
    next_rest: u32,
}

impl Knob {
    /// Stays where it is for a while, each time longer.
    fn rest(&mut self) {
        self.rest = self.next_rest;
        self.next_rest = (2 * self.next_rest).min(LONG_REST);
    }
}

/// A change that must prove itself.
#[derive(Debug)]
struct Trial {
    of: Which,
    from: Setting,
    /// Batches a second from which it is worth keeping.
    worth: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Workers,
    Slots,
}

/// How much processor time workers may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) processors: f64,
    /// Whether there are no others, so that more than that can't be taken.
    pub(super) all: bool,
}

#[derive(Debug)]
pub(super) struct Tuner {
    workers: Knob,
    slots: Knob,
    /// Into how many parts a batch is cut.
    parts: usize,
    limit: Limit,
    trial: Option<Trial>,
}

impl Tuner {
    pub(super) fn new(workers: Bounds, slots: Bounds, parts: usize, limit: Limit) -> Self {
        let knob = |bounds: Bounds| Knob {
            now: bounds.first,
            first: bounds.first,
            most: bounds.most,
            rest: 0,
            next_rest: SHORT_REST,
        };
        Self {
            workers: knob(workers),
            slots: knob(slots),
            parts,
            limit,
            trial: None,
        }
    }

    /// Whether there is anything to decide.
    pub(super) fn is_fixed(&self) -> bool {
        self.workers.first == self.workers.most && self.slots.first == self.slots.most
    }

    pub(super) fn setting(&self) -> Setting {
        Setting {
            workers: self.workers.now,
            slots: self.slots.now,
        }
    }

    /// The consumer goes on only with so many slots. Whether there may be so many.
    pub(super) fn needs_slots(&mut self, count: usize) -> bool {
        let allowed = count <= self.slots.most;
        if allowed {
            self.trial = None;
            self.slots.now = self.slots.now.max(count);
        }
        allowed
    }

    /// Whether so much has happened that a look is worth it: batches come in bunches of as many as there are workers.
    pub(super) fn is_due(&self, interval: &Interval) -> bool {
        interval.active >= LOOK && interval.batches >= 4.max(2 * self.workers.now as u64)
    }

    /// Decides, and says why if that changes anything.
    pub(super) fn look(&mut self, interval: &Interval) -> Option<&'static str> {
        let active = interval.active.as_secs_f64();
        let rate = interval.batches as f64 / active;
        let waiting = interval.waiting.as_secs_f64() / active;
        let busy = interval.busy.as_secs_f64() / active;
        let used = interval.cpu.as_secs_f64() / active;
        for knob in [&mut self.workers, &mut self.slots] {
            knob.rest = knob.rest.saturating_sub(1);
        }
        let Limit { processors, all } = self.limit;
        if !all && used > processors * TOLERANCE && self.workers.first < self.workers.most {
            let fair = (self.workers.now as f64 * processors / used) as usize;
            if fair.max(1) < self.workers.now {
                self.trial = None;
                self.workers.now = fair.max(1);
                self.workers.rest();
                return Some("the workers took more than their share of the processors");
            }
        }
        if let Some(trial) = self.trial.take() {
            if rate < trial.worth {
                self.set(trial.from);
                self.knob(trial.of).rest();
                return Some(match trial.of {
                    Which::Workers => "more workers made nothing faster",
                    Which::Slots => "more batches ahead made things slower",
                });
            }
            self.knob(trial.of).next_rest = SHORT_REST;
        }
        if waiting <= STARVED {
            let needed = (busy * SPARE).ceil() as usize;
            if self.workers.now > needed.max(self.workers.first) {
                self.workers.now -= 1;
                return Some("the consumer doesn't wait: fewer workers are enough");
            }
            return None;
        }
        let can_work = self.workers.now.min(self.slots.now * self.parts);
        let order = if busy >= BUSY * can_work as f64 {
            [Which::Workers, Which::Slots]
        } else {
            [Which::Slots, Which::Workers]
        };
        let worth = |of| match of {
            Which::Workers => rate * (1.0 + GAIN.min(waiting / 2.0)),
            Which::Slots => rate * (1.0 - GAIN),
        };
        for of in order {
            let (from, to) = (self.setting(), self.more(of, used));
            if self.knob(of).rest > 0 || to == from {
                continue;
            }
            self.set(to);
            let worth = worth(of);
            self.trial = Some(Trial { of, from, worth });
            return Some(match of {
                Which::Workers => "the consumer waits for busy workers",
                Which::Slots => "the consumer waits, and the workers have nothing to fill",
            });
        }
        None
    }

    /// Anything that is allowed, as no time passes in a model.
    #[cfg(shuttle)]
    pub(super) fn change_at_random(&mut self) -> Option<&'static str> {
        use shuttle::rand::{Rng, thread_rng};
        self.set(Setting {
            workers: thread_rng().gen_range(1..=self.workers.most),
            slots: thread_rng().gen_range(1..=self.slots.most),
        });
        Some("the model says so")
    }

    /// What may be tried next.
    fn more(&self, of: Which, used: f64) -> Setting {
        let Setting { workers, slots } = self.setting();
        if of == Which::Slots {
            let slots = (2 * slots).min(self.slots.most);
            return Setting { workers, slots };
        }
        let processors = self.limit.processors;
        // Rounded up, as those that wait in between leave room for another one: if that is too much, the next look sees it.
        let fair = match used > SATURATED * processors {
            true => workers as f64,
            false => (workers as f64 * processors / used.max(f64::MIN_POSITIVE)).ceil(),
        };
        // What is in the consumer's hands can't be filled, and more threads than there is to fill would sleep.
        let fillable = (self.slots.most - 1).max(1).saturating_mul(self.parts);
        let most = (fair as usize).min(self.workers.most).min(fillable);
        let more = (2 * workers).min(most).max(workers);
        // One batch that is filled, and one that is ready, for each worker that has got one for itself.
        let wanted = 2 * more.div_ceil(self.parts) + 1;
        Setting {
            workers: more,
            slots: if more == workers {
                slots
            } else {
                wanted.min(self.slots.most).max(slots)
            },
        }
    }

    fn set(&mut self, setting: Setting) {
        (self.workers.now, self.slots.now) = (setting.workers, setting.slots);
    }

    fn knob(&mut self, of: Which) -> &mut Knob {
        match of {
            Which::Workers => &mut self.workers,
            Which::Slots => &mut self.slots,
        }
    }
}

#[cfg(all(test, not(shuttle)))]
#[path = "tuner/tests.rs"]
mod tests;
