//! The shapes of work: what makes loading slow, and what consumes.

use std::time::Duration;

use feedline_pipeline::source::Access;

use crate::consumer::Consumer;
use crate::input::Input;

pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// The work in a few words.
    pub(crate) about: &'static str,
    pub(crate) input: Input,
    pub(crate) consumer: Consumer,
}

/// All shapes of work.
pub(crate) fn all() -> Vec<Work> {
    let milliseconds = Duration::from_millis;
    vec![
        Work {
            name: "transform",
            about: "a transform that computes, some 0.2 ms a sample; nothing else to do",
            input: Input::Computed { turns: 130_000 },
            consumer: Consumer::Idle,
        },
        Work {
            name: "network",
            about: "a store that answers after 2 ms; a device that takes 6 ms a batch of 32",
            input: Input::Distant {
                delay: milliseconds(2),
            },
            consumer: Consumer::Device {
                step: milliseconds(6),
            },
        },
        Work {
            name: "training",
            about: "a step on all cores for each batch, some 10 ms; a transform of some 20 us a sample",
            input: Input::Computed { turns: 13_000 },
            consumer: Consumer::Cores { turns: 13_000_000 },
        },
        Work {
            name: "bursts",
            about: "16 batches at once, then a pause of 40 ms; a transform of some 60 us a sample",
            input: Input::Computed { turns: 40_000 },
            consumer: Consumer::Bursts {
                batches: 16,
                pause: milliseconds(40),
            },
        },
        Work {
            name: "cold shuffled",
            about: "a mapped file that is not in memory, 50 batches of its samples in a random order an epoch",
            input: Input::File {
                samples: Some(1600),
                access: Access::Mapped,
            },
            consumer: Consumer::Idle,
        },
        Work {
            name: "cold shuffled read",
            about: "the same, but read sample by sample instead of mapped",
            input: Input::File {
                samples: Some(1600),
                access: Access::Read,
            },
            consumer: Consumer::Idle,
        },
        Work {
            name: "cold in order",
            about: "a mapped file that is not in memory, from beginning to end",
            input: Input::File {
                samples: None,
                access: Access::Mapped,
            },
            consumer: Consumer::Idle,
        },
    ]
}

impl Work {
    pub(crate) fn reads_file(&self) -> bool {
        matches!(self.input, Input::File { .. })
    }

    /// After how many batches the work repeats itself.
    pub(crate) fn period(&self, steps: usize) -> usize {
        match (&self.input, &self.consumer) {
            (Input::File { .. }, _) => steps,
            (_, Consumer::Bursts { batches, .. }) => *batches,
            _ => 1,
        }
    }
}
