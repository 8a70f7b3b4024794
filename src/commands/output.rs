//! Where results go.

use std::fmt::Display;
use std::path::Path;

use feedline::{Error, Result, is_first, print, say};
use feedline_pipeline::loader::Stats;
use serde_json::{Value, json};

/// A path for JSON, which has no other letters than Unicode's.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// As in `1 epoch`, `2 epochs`.
pub(crate) fn count(number: impl TryInto<u64>, one: &str) -> String {
    match number.try_into().unwrap_or(u64::MAX) {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// What a loader's time went into, for JSON, in which there is no number for a headroom without end.
pub(crate) fn loading(stats: &Stats) -> Value {
    json!({
        "words": stats.to_string(),
        "waiting_share": stats.waiting_share(),
        "headroom": stats.headroom(),
        "slowest": stats.slowest().name(),
        "seconds": {
            "waiting": stats.waiting.as_secs_f64(),
            "delivering": stats.delivering.as_secs_f64(),
            "consuming": stats.consuming.as_secs_f64(),
            "reading": stats.reading.as_secs_f64(),
            "transforming": stats.transforming.as_secs_f64(),
            "idle": stats.idle.as_secs_f64(),
        },
        "workers": stats.workers,
        "slots": stats.slots,
    })
}

/// Results on standard output, as words or as JSON. That nobody reads them any more, as behind `| head`, is no error.
pub(crate) struct Output {
    json: bool,
    /// Of several processes that train together the first speaks for all.
    is_silent: bool,
}

impl Output {
    /// Of a command whose processes may have been started `together`.
    pub(crate) fn new(json: bool, together: bool) -> Self {
        let is_silent = together && !is_first();
        Self { json, is_silent }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A result, in words or as JSON.
    pub(crate) fn result(&self, words: impl Display, value: &Value) -> Result<()> {
        match self.json {
            _ if self.is_silent => Ok(()),
            true => print(value),
            false => print(words),
        }
    }

    /// Words that are no result: with JSON on standard error.
    pub(crate) fn words(&self, words: impl Display) -> Result<()> {
        match self.json {
            _ if self.is_silent => Ok(()),
            false => print(words),
            true => {
                say(words);
                Ok(())
            }
        }
    }

    /// What ended the program, for programs that read JSON.
    pub(crate) fn error(&self, error: &Error) -> Result<()> {
        match self.json {
            true => print(json!({ "error": error.to_string() })),
            false => Ok(()),
        }
    }
}
