//! What the threads of a process know of the run.

use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::link::Parcel;
use super::meetings::Meetings;
use super::message::{Message, Person};
use crate::collective::Roll;
use crate::launch::Launch;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) launch: Launch,
    pub(super) people: Vec<Person>,
    pub(super) deadline: Duration,
    pub(super) roll: Roll,
    /// Of the calls by which processes agree and share, which are calls on a connection of their own.
    pub(super) calls: Roll,
    /// To the writers of the links.
    pub(super) outboxes: Vec<Sender<Parcel>>,
    pub(super) state: Mutex<State>,
    /// Wakes who waits for the state to change.
    pub(super) changed: Condvar,
    /// Whether this process says goodbye, so that the end of a connection is no surprise.
    pub(super) is_leaving: AtomicBool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) meetings: Meetings,
    /// How many links have nothing more to be read.
    pub(super) ended: usize,
}

impl Shared {
    pub(super) fn process(&self) -> usize {
        self.launch.process()
    }

    /// The ranks of a process's replicas.
    pub(super) fn ranks_of(&self, process: usize) -> Range<usize> {
        let count = |people: &[Person]| people.iter().map(|person| person.replicas).sum();
        let first: usize = count(&self.people[..process]);
        first..first + self.people[process].replicas
    }

    /// The ranks of this process's replicas.
    pub(super) fn ranks(&self) -> Range<usize> {
        self.ranks_of(self.process())
    }

    /// Fails for all, as a process has. `how` says what was noticed of it.
    pub(super) fn lose(&self, process: usize, how: impl FnOnce(&str) -> String) {
        let rank = self.ranks_of(process).start;
        let who = format!("its process {process} ({})", self.people[process]);
        let mut reason = how(&who);
        if let Some(place) = self.roll.seen(rank) {
            reason += &format!("; last seen at: {place}");
        }
        // What is known of it is a heartbeat old; what this process knows of itself is not.
        let own = self.ranks().start;
        if let Some(place) = self.roll.seen(own) {
            reason += &format!("; replica {own} was then at: {place}");
        }
        self.roll.abort(rank, &reason);
    }

    /// Sends a message to all processes that this one has a link to.
    pub(super) fn send(&self, message: &Message) {
        for outbox in &self.outboxes {
            // A link whose writer has ended leads nowhere.
            let _ = outbox.send(Parcel::Message(message.clone()));
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
