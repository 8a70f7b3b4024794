//! How processes agree and share: all call the same, in the same order.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::World;
use super::frame::MOST_PAYLOAD;
use super::message::{Message, Outcome};
use super::proof;
use super::shared::State;
use crate::collective::{Phase, Place};
use crate::error::{Error, Result, invalid};

/// Failures elsewhere are noticed within this.
const LOOK: Duration = Duration::from_millis(20);

/// Longer values are cut in errors, to this many characters.
const MOST_CHARACTERS: usize = 1000;

/// What has arrived for meetings.
#[derive(Debug, Default)]
pub(super) struct Meetings {
    /// At process 0, the last meeting that each other process has come to.
    entered: BTreeMap<usize, Entered>,
    /// At the others, what came of meetings that they may not have come to yet.
    answers: BTreeMap<u64, (String, Outcome)>,
}

#[derive(Debug)]
struct Entered {
    number: u64,
    name: String,
    values: BTreeMap<String, String>,
}

impl Meetings {
    pub(super) fn enter(
        &mut self,
        process: usize,
        number: u64,
        name: String,
        values: BTreeMap<String, String>,
    ) {
        let entered = Entered {
            number,
            name,
            values,
        };
        self.entered.insert(process, entered);
    }

    pub(super) fn answer(&mut self, number: u64, name: String, outcome: Outcome) {
        self.answers.insert(number, (name, outcome));
    }
}

/// A call by all processes.
struct Call {
    /// Counted from 1.
    number: u64,
    what: &'static str,
    name: String,
}

impl World {
    /// Refuses if the processes' `values` are not all the same: settings, data, versions. All must call this, with the same
    /// words for `what` it is about.
    ///
    /// # Errors
    ///
    /// [`Error::Disagreement`] on all processes, with what differs first; [`Error::Aborted`] if a replica has failed,
    /// [`Error::Deadline`] if one did not come in time, [`Error::Mismatch`] if one called something else, and
    /// [`Error::InvalidArgument`] if the values are longer than 48 KiB.
    pub fn agree(&self, what: &'static str, values: &BTreeMap<String, String>) -> Result<()> {
        let length = serde_json::to_vec(values).map_or(usize::MAX, |bytes| bytes.len());
        if length > MOST_PAYLOAD {
            let found = format!("{length} bytes of {what}");
            return Err(invalid("values to agree on", found, "at most 48 KiB"));
        }
        let name = format!("agreement on {what}");
        let mut number = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let call = self.enter(&mut number, what, name, values);
        let outcome = match self.process() {
            0 => {
                let outcome = self.compare(&call, values)?;
                self.shared.send(&Message::Answer {
                    number: call.number,
                    name: call.name,
                    outcome: outcome.clone(),
                });
                outcome
            }
            _ => self.answer(&call)?,
        };
        match outcome {
            Outcome::Differs {
                rank,
                name,
                found,
                expected,
            } => Err(Error::Disagreement {
                rank,
                name,
                found,
                expected,
            }),
            _ => Ok(()),
        }
    }

    /// Gives process 0's `value`, at most 24 KiB, to all. All must call this, with the same words for `what` it is; the
    /// others pass `None`. Process 0 does not wait for them.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if a replica has failed, [`Error::Deadline`] if process 0 did not come in time,
    /// [`Error::Mismatch`] if it called something else, and [`Error::InvalidArgument`] if process 0 has no value or too
    /// long a one.
    pub fn share(&self, what: &'static str, value: Option<Vec<u8>>) -> Result<Vec<u8>> {
        let name = format!("sharing of {what}");
        let mut number = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.process() != 0 {
            let call = self.enter(&mut number, what, name, &BTreeMap::new());
            return match self.answer(&call)? {
                Outcome::Shared(text) => proof::bytes(&text)
                    .ok_or_else(|| invalid("shared value", "not hexadecimal", "that of process 0")),
                _ => Err(invalid("shared value", "missing", "that of process 0")),
            };
        }
        let Some(value) = value else {
            return Err(invalid("value to share", "missing", "one from process 0"));
        };
        if value.len() > MOST_PAYLOAD / 2 {
            let found = format!("{} bytes of {what}", value.len());
            return Err(invalid("value to share", found, "at most 24 KiB"));
        }
        self.roll().check()?;
        let call = self.enter(&mut number, what, name, &BTreeMap::new());
        self.shared.send(&Message::Answer {
            number: call.number,
            name: call.name,
            outcome: Outcome::Shared(proof::hexadecimal(&value)),
        });
        Ok(value)
    }

    fn enter(
        &self,
        number: &mut u64,
        what: &'static str,
        name: String,
        values: &BTreeMap<String, String>,
    ) -> Call {
        *number += 1;
        let place = self.place(what);
        for rank in self.ranks() {
            self.shared.calls.enter(rank, place.step, place.phase);
        }
        if self.process() != 0 {
            self.shared.send(&Message::Enter {
                number: *number,
                name: name.clone(),
                values: values.clone(),
            });
        }
        Call {
            number: *number,
            what,
            name,
        }
    }

    /// Where this process's replicas are in a call about `what`.
    fn place(&self, what: &'static str) -> Place {
        let seen = self.roll().seen(self.ranks().start);
        Place {
            step: seen.map_or(0, |place| place.step),
            phase: Phase::Other(what),
        }
    }

    /// At process 0: waits until all have come, and compares what they bring.
    fn compare(&self, call: &Call, own: &BTreeMap<String, String>) -> Result<Outcome> {
        let others = self.processes() - 1;
        let entered = self.wait(call, |state| {
            let entered = &mut state.meetings.entered;
            let mut here = entered.values();
            let is_other = here.any(|own| own.number == call.number && own.name != call.name);
            let here = entered.values().filter(|own| own.number == call.number);
            (is_other || here.count() == others).then(|| std::mem::take(entered))
        })?;
        for (process, other) in entered {
            if other.number == call.number && other.name != call.name {
                let rank = self.shared.ranks_of(process).start;
                return Err(self.mismatch(rank, other.name, 0, call.name.clone()));
            }
            let keys = own.keys().chain(other.values.keys());
            let differs = |key: &&String| own.get(*key) != other.values.get(*key);
            // The first by name, wherever it is missing.
            if let Some(key) = keys.filter(differs).min() {
                let value = |values: &BTreeMap<String, String>| match values.get(key) {
                    None => "missing".to_owned(),
                    Some(value) => value.chars().take(MOST_CHARACTERS).collect(),
                };
                return Ok(Outcome::Differs {
                    rank: self.shared.ranks_of(process).start,
                    name: key.chars().take(MOST_CHARACTERS).collect(),
                    found: value(&other.values),
                    expected: value(own),
                });
            }
        }
        Ok(Outcome::Agreed)
    }

    /// At another process: waits for what process 0 says.
    fn answer(&self, call: &Call) -> Result<Outcome> {
        let (name, outcome) =
            self.wait(call, |state| state.meetings.answers.remove(&call.number))?;
        match name == call.name {
            true => Ok(outcome),
            false => {
                let own = self.ranks().start;
                Err(self.mismatch(own, call.name.clone(), 0, name))
            }
        }
    }

    /// Waits until `ready` finds what it looks for, all fail, or the deadline has come.
    fn wait<T>(&self, call: &Call, mut ready: impl FnMut(&mut State) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        let deadline = self.deadline();
        let mut state = self.shared.state();
        loop {
            if let Some(found) = ready(&mut state) {
                return Ok(found);
            }
            self.roll().check()?;
            let waited = start.elapsed();
            if waited >= deadline {
                // Failing wakes others, who may need the state.
                drop(state);
                let rank = self.ranks().start;
                let error = Error::Deadline {
                    rank,
                    place: self.place(call.what),
                    missing: self.shared.calls.missing(rank),
                    waited,
                };
                self.roll().abort(rank, &error.to_string());
                return Err(error);
            }
            let limit = LOOK.min(deadline - waited);
            let changed = self.shared.changed.wait_timeout(state, limit);
            state = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn mismatch(&self, rank: usize, found: String, other: usize, expected: String) -> Error {
        let error = Error::Mismatch {
            rank,
            found,
            other,
            expected,
        };
        self.roll().abort(rank, &error.to_string());
        error
    }
}
