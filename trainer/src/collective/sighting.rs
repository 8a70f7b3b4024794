//! What processes tell each other of the places of their replicas.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::roll::{Phase, Place, Roll};

/// Connections beyond these aren't told of.
pub(super) const MOST_LINES: usize = 64;

/// Where a replica is, to be told to other processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sighting {
    /// Whose.
    pub(crate) rank: usize,
    /// The step, and what it is at in it.
    place: Option<(u64, Said)>,
    /// Of each connection, how many calls it has entered.
    calls: Vec<u64>,
    /// Whether it has ended, without a failure.
    gone: bool,
}

/// A [`Phase`], for travelling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Said {
    Start,
    Weights,
    Data,
    Gradients,
    BatchNorm,
    Bucket(usize),
    Optimizer,
    Statistics,
    Evaluation,
    Other(String),
}

impl From<Phase> for Said {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Start => Self::Start,
            Phase::Weights => Self::Weights,
            Phase::Data => Self::Data,
            Phase::Gradients => Self::Gradients,
            Phase::BatchNorm => Self::BatchNorm,
            Phase::Bucket(number) => Self::Bucket(number),
            Phase::Optimizer => Self::Optimizer,
            Phase::Statistics => Self::Statistics,
            Phase::Evaluation => Self::Evaluation,
            Phase::Other(what) => Self::Other(what.chars().take(MOST_CHARACTERS).collect()),
        }
    }
}

impl From<Said> for Phase {
    fn from(said: Said) -> Self {
        match said {
            Said::Start => Self::Start,
            Said::Weights => Self::Weights,
            Said::Data => Self::Data,
            Said::Gradients => Self::Gradients,
            Said::BatchNorm => Self::BatchNorm,
            Said::Bucket(number) => Self::Bucket(number),
            Said::Optimizer => Self::Optimizer,
            Said::Statistics => Self::Statistics,
            Said::Evaluation => Self::Evaluation,
            Said::Other(what) => Self::Other(kept(&what)),
        }
    }
}

const MOST_WORDS: usize = 256;
const MOST_CHARACTERS: usize = 80;

/// The same words, kept for the life of the process: there are few, and no more than a table holds.
fn kept(what: &str) -> &'static str {
    static WORDS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.iter().find(|&&known| known == what) {
        return known;
    }
    if words.len() == MOST_WORDS || what.chars().count() > MOST_CHARACTERS {
        return "something else";
    }
    let new: &'static str = Box::leak(what.into());
    words.push(new);
    new
}

impl Roll {
    /// Where these ranks are, for other processes.
    pub(crate) fn report(&self, ranks: Range<usize>) -> Vec<Sighting> {
        let entries = self.entries();
        let ranks = ranks.start..ranks.end.min(entries.places.len());
        let sighting = |rank: usize| Sighting {
            rank,
            place: entries.places[rank].map(|place| (place.step, place.phase.into())),
            calls: entries
                .calls
                .iter()
                .take(MOST_LINES)
                .map(|calls| calls[rank])
                .collect(),
            gone: entries.gone[rank],
        };
        ranks.map(sighting).collect()
    }

    /// Takes over what another process has reported of its ranks.
    pub(crate) fn hear(&self, sightings: Vec<Sighting>) {
        let mut entries = self.entries();
        for sighting in sightings {
            let rank = sighting.rank;
            if rank >= entries.places.len() {
                continue;
            }
            if let Some((step, said)) = sighting.place {
                let phase = said.into();
                entries.places[rank] = Some(Place { step, phase });
            }
            for (line, &calls) in sighting.calls.iter().enumerate().take(MOST_LINES) {
                entries.reach(line);
                entries.calls[line][rank] = calls;
            }
            entries.gone[rank] |= sighting.gone;
        }
    }

    /// These ranks enter no more calls, but have not failed.
    pub(crate) fn leave(&self, ranks: Range<usize>) {
        let mut entries = self.entries();
        for rank in ranks {
            if let Some(gone) = entries.gone.get_mut(rank) {
                *gone = true;
            }
        }
    }

    /// Who has left before a call that one of `ranks` is in: that waits in vain.
    pub(crate) fn missed(&self, ranks: Range<usize>) -> Option<usize> {
        let entries = self.entries();
        let is_missed = |rank: usize| {
            let behind = |calls: &Vec<u64>| {
                let mut own = calls.iter().take(ranks.end).skip(ranks.start);
                own.any(|&own| own > calls[rank])
            };
            entries.gone[rank] && entries.calls.iter().take(MOST_LINES).any(behind)
        };
        (0..entries.gone.len()).find(|&rank| !ranks.contains(&rank) && is_missed(rank))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn travel(sightings: &[Sighting]) -> Vec<Sighting> {
        serde_json::from_slice(&serde_json::to_vec(sightings).unwrap()).unwrap()
    }

    #[test]
    fn places_and_calls_arrive_as_they_were() {
        let here = Roll::new(3);
        let other = here.beside();
        let phases = [
            Phase::Start,
            Phase::Weights,
            Phase::Data,
            Phase::Gradients,
            Phase::BatchNorm,
            Phase::Bucket(7),
            Phase::Optimizer,
            Phase::Statistics,
            Phase::Evaluation,
            Phase::Other("a word of one's own"),
        ];
        let there = Roll::new(3);
        for (step, phase) in phases.into_iter().enumerate() {
            here.enter(1, step as u64, phase);
            there.hear(travel(&here.report(1..2)));
            assert_eq!(there.seen(1), here.seen(1));
        }
        other.enter(1, 4, Phase::Data);
        there.hear(travel(&here.report(1..2)));
        // What was heard of a connection before it was made here counts on it.
        let beside = there.beside();
        beside.enter(2, 1, Phase::Data);
        let missing: Vec<_> = beside.missing(2).iter().map(|late| late.rank).collect();
        assert_eq!(missing, [0]);
        there.enter(0, 1, Phase::Data);
        assert_eq!(there.missing(1).len(), 2);
    }

    #[test]
    fn who_left_is_missed_only_by_those_who_came_further() {
        let roll = Roll::new(3);
        roll.enter(0, 1, Phase::Data);
        roll.enter(2, 1, Phase::Data);
        roll.leave(2..3);
        assert_eq!(roll.missed(0..2), None);
        roll.enter(1, 2, Phase::Data);
        assert_eq!(roll.missed(0..2), None);
        roll.enter(1, 3, Phase::Data);
        assert_eq!(roll.missed(0..2), Some(2));
        // Others who only come later are not in vain waited for.
        assert_eq!(roll.missed(0..1), None);
    }

    #[test]
    fn words_of_others_are_bounded() {
        assert_eq!(kept("twice"), kept("twice"));
        assert_eq!(kept(&"x".repeat(100)), "something else");
        for word in 0..2 * MOST_WORDS {
            kept(&format!("word {word}"));
        }
        assert_eq!(kept("one too many"), "something else");
    }

    #[test]
    fn ranks_that_do_not_exist_are_ignored() {
        let mut sightings = Roll::new(1).report(0..1);
        sightings[0].rank = 9;
        let roll = Roll::new(2);
        roll.hear(sightings);
        roll.leave(5..7);
        assert!(roll.report(1..9).len() == 1 && roll.missed(0..1).is_none());
    }
}
