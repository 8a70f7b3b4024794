//! How a loader is set.

use std::fmt;
use std::str::FromStr;

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::sink::Sink;
use serde::{Deserialize, Serialize};

pub(crate) const WORKERS: [usize; 5] = [1, 2, 4, 8, 16];
pub(crate) const AHEAD: [usize; 3] = [1, 4, 16];

/// A number of workers and a prefetch depth, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Setting {
    Fixed { workers: usize, ahead: usize },
    Tuned,
}

impl Setting {
    /// The grid and the tuner. Each round begins at another place, so that none is always the first or the last.
    pub(crate) fn in_turn(round: usize) -> Vec<Self> {
        let grid = WORKERS.iter().flat_map(|&workers| {
            let fixed = move |&ahead: &usize| Self::Fixed { workers, ahead };
            AHEAD.iter().map(fixed)
        });
        let mut all: Vec<Self> = grid.chain([Self::Tuned]).collect();
        let begin = round * 5 % all.len();
        all.rotate_left(begin);
        all
    }

    pub(crate) fn apply<K: Sink>(self, builder: LoaderBuilder<K>) -> LoaderBuilder<K> {
        match self {
            Self::Fixed { workers, ahead } => builder.workers(workers).prefetch(ahead),
            Self::Tuned => builder,
        }
    }
}

/// As in `4x16`: workers, and batches ahead.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed { workers, ahead } => write!(f, "{workers}x{ahead}"),
            Self::Tuned => f.write_str("tuned"),
        }
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "tuned" {
            return Ok(Self::Tuned);
        }
        let numbers = text
            .split_once('x')
            .and_then(|(workers, ahead)| Some((workers.parse().ok()?, ahead.parse().ok()?)));
        let (workers, ahead) = numbers.ok_or_else(|| format!("{text} is no setting"))?;
        Ok(Self::Fixed { workers, ahead })
    }
}
