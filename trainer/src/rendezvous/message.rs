//! What processes say to each other.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::RendezvousFault;
use crate::collective::Sighting;

/// The version of all this.
pub(super) const PROTOCOL: u32 = 1;

/// What process 0 says until all are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Greeting {
    /// Prove that you belong to this run.
    Challenge { feedline: u32, nonce: String },
    /// You do, and so do I.
    Accepted { proof: String },
    /// You don't.
    WrongSecret,
    /// You do, but can't come in.
    Refused { reason: String },
    /// Others have not come yet: the first of them, and how many.
    Waiting { first: Vec<usize>, count: usize },
    /// We shall not come together.
    Failed {
        fault: RendezvousFault,
        reason: String,
    },
    /// All are here: some of them.
    Roster { all: usize, some: Vec<Person> },
}

/// What the others say: a [`Ticket`] in JSON, and the proof that it is from one of the run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Join {
    pub(super) ticket: String,
    pub(super) nonce: String,
    pub(super) proof: String,
}

/// Who wants to come in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ticket {
    /// This crate's.
    pub(super) version: String,
    pub(super) process: usize,
    pub(super) processes: usize,
    pub(super) person: Person,
}

/// A process that is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Person {
    pub(super) host: String,
    pub(super) id: u32,
    pub(super) replicas: usize,
}

impl Person {
    /// This process.
    pub(super) fn own(replicas: usize) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
        let variable = || {
            let names = ["HOSTNAME", "COMPUTERNAME"];
            names.into_iter().find_map(|name| std::env::var(name).ok())
        };
        let host = host.or_else(variable).unwrap_or_default();
        let host: String = host.trim().chars().take(64).collect();
        Self {
            host: match host.is_empty() {
                true => "an unknown host".into(),
                false => host,
            },
            id: std::process::id(),
            replicas,
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, process id {}", self.host, self.id)
    }
}

/// What is said once all are here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Message {
    /// Where replicas are; also a sign of life.
    Sightings(Vec<Sighting>),
    /// A replica has failed.
    Abort { rank: usize, reason: String },
    /// To process 0: I am at the meeting of this number.
    Enter {
        number: u64,
        name: String,
        values: BTreeMap<String, String>,
    },
    /// From process 0: what has come of it.
    Answer {
        number: u64,
        name: String,
        outcome: Outcome,
    },
    /// I end, and have not failed.
    Goodbye,
}

/// What comes of a meeting.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// All have the same values.
    Agreed,
    /// One has others.
    Differs {
        rank: usize,
        name: String,
        found: String,
        expected: String,
    },
    /// Process 0's bytes, in hexadecimal.
    Shared(String),
}
