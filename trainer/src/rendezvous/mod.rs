//! How the processes of a run find each other, and notice who fails.
//!
//! Process 0 listens at the address and port of the [`Launch`]; the others connect to it, and stay connected until they
//! end. Each proves to the other that it knows the run's secret, which is the variable `FEEDLINE_SECRET`, or else the run's
//! own name: that keeps runs apart that use one port, but no stranger out who can guess it. Control messages travel over
//! these connections, never tensors: where each replica is, that one has failed, small values that all must have. They are
//! proven when processes meet, but **not encrypted**, and nothing proves those that follow: use a network that you trust.
//!
//! What is heard of the others is written on a [`Roll`], where every wait of this process looks: a replica that fails, a
//! process that ends without a word or is silent for half the deadline ends the waiting everywhere, with its rank, the
//! reason and where it was seen last.
//!
//! ```
//! use feedline_trainer::launch::Launch;
//! use feedline_trainer::rendezvous::World;
//! use std::thread;
//! use std::time::Duration;
//!
//! # let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
//! // Two processes, here two threads.
//! let processes = [0, 1].map(|process| {
//!     thread::spawn(move || {
//!         let launch = Launch::new(process, 2, "127.0.0.1", port)?.with_local(process, 2)?;
//!         // Process 1 has two replicas.
//!         let world = World::join(&launch, 1 + process, Duration::from_secs(30))?;
//!         let value = (process == 0).then(|| b"from process 0".to_vec());
//!         assert_eq!(world.share("greeting", value)?, b"from process 0");
//!         Ok::<_, feedline_trainer::Error>((world.ranks(), world.world_size()))
//!     })
//! });
//! let [first, second] = processes.map(|process| process.join().unwrap());
//! assert_eq!((first?, second?), ((0..1, 3), (1..3, 3)));
//! # Ok::<(), feedline_trainer::Error>(())
//! ```

mod fault;
mod frame;
mod host;
mod link;
mod meetings;
mod member;
mod message;
mod proof;
mod shared;
mod terms;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::TcpStream;
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use fault::RendezvousFault;

use crate::collective::Roll;
use crate::error::{Error, Result, invalid};
use crate::launch::Launch;
use link::{Link, Parcel};
use message::{Message, Person};
use proof::Secret;
use shared::{Shared, State};
use terms::Terms;

/// Shorter ones would pass between two heartbeats; longer ones are a mistake.
const DEADLINES: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(30 * 24 * 60 * 60);

/// How long a process that ends waits for the others to hear of it.
const GOODBYE: Duration = Duration::from_secs(2);

/// The processes of a run, as one of them sees them.
///
/// Dropping it says goodbye, after which the others do not take the end of this process for a failure, unless they
/// still wait for it in a call. Process 0 stays for two seconds at most until the others have ended too; after
/// that they do not hear of each other's failures any more, so that process 0 had best be the last to end.
#[derive(Debug)]
pub struct World {
    // Ends first.
    links: Vec<Link>,
    shared: Arc<Shared>,
    /// The number of the last call in which processes agree or share. One thread calls at a time.
    turn: Mutex<u64>,
}

impl World {
    /// Meets the other processes of `launch`, of which this one has `replicas` replicas. Waits for them until `deadline`,
    /// which is also how long processes wait for each other later.
    ///
    /// # Errors
    ///
    /// [`Error::Rendezvous`] if not all processes came together, which says who is missing or does not fit,
    /// [`Error::Environment`] if `FEEDLINE_SECRET` is no text, and [`Error::InvalidArgument`] if there are no replicas, or
    /// more than 1,024, or the deadline is below 100 ms or above 30 days.
    pub fn join(launch: &Launch, replicas: usize, deadline: Duration) -> Result<Arc<Self>> {
        let secret = secret(std::env::var_os("FEEDLINE_SECRET"), launch)?;
        Self::join_as(
            launch,
            replicas,
            deadline,
            secret,
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// As [`join`](Self::join), with this secret and version of the crate.
    fn join_as(
        launch: &Launch,
        replicas: usize,
        deadline: Duration,
        secret: Secret,
        version: &str,
    ) -> Result<Arc<Self>> {
        if !(1..=host::MOST_REPLICAS).contains(&replicas) {
            let expected = format!("1 to {}", host::MOST_REPLICAS);
            return Err(invalid("number of replicas", replicas, expected));
        }
        if !DEADLINES.contains(&deadline) {
            let found = format!("{deadline:?}");
            let expected = format!("from {:?} to {:?}", DEADLINES.start(), DEADLINES.end());
            return Err(invalid("deadline", found, expected));
        }
        let terms = Terms {
            launch,
            secret,
            version,
            person: Person::own(replicas),
            deadline,
            start: Instant::now(),
        };
        // Who they are, in their order, and the connections that this process has, with whom they are.
        let mut people = vec![terms.person.clone()];
        let mut streams: Vec<(usize, TcpStream)> = Vec::new();
        if launch.process() > 0 {
            let (stream, all) = member::join(&terms)?;
            people = all;
            streams.push((0, stream));
        } else if launch.processes() > 1 {
            for (i, (stream, person)) in host::gather(&terms)?.into_iter().enumerate() {
                people.push(person);
                streams.push((i + 1, stream));
            }
        }
        Self::start(launch, people, streams, deadline).map_err(|error| {
            let reason = format!("the system can't start threads for the connections ({error})");
            terms.error(RendezvousFault::Lost, reason)
        })
    }

    fn start(
        launch: &Launch,
        people: Vec<Person>,
        streams: Vec<(usize, TcpStream)>,
        deadline: Duration,
    ) -> std::io::Result<Arc<Self>> {
        let roll = Roll::new(people.iter().map(|person| person.replicas).sum());
        let (outboxes, inboxes): (Vec<_>, Vec<Receiver<_>>) =
            streams.iter().map(|_| channel()).unzip();
        let wake = outboxes.clone();
        roll.on_abort(move || {
            for outbox in &wake {
                // A link whose writer has ended leads nowhere.
                let _ = outbox.send(Parcel::Look);
            }
        });
        let shared = Arc::new(Shared {
            launch: launch.clone(),
            people,
            deadline,
            calls: roll.beside(),
            roll,
            outboxes,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            is_leaving: AtomicBool::new(false),
        });
        let mut world = Self {
            links: Vec::new(),
            shared,
            turn: Mutex::new(0),
        };
        for ((peer, stream), inbox) in streams.into_iter().zip(inboxes) {
            let link = Link::start(&world.shared, peer, stream, inbox)?;
            world.links.push(link);
        }
        Ok(Arc::new(world))
    }

    /// This process's number, from 0.
    pub fn process(&self) -> usize {
        self.shared.process()
    }

    /// How many processes there are.
    pub fn processes(&self) -> usize {
        self.shared.people.len()
    }

    /// What the launcher said.
    pub fn launch(&self) -> &Launch {
        &self.shared.launch
    }

    /// The ranks of this process's replicas: they are counted over the processes in their order.
    pub fn ranks(&self) -> Range<usize> {
        self.shared.ranks()
    }

    /// How many replicas all processes have together.
    pub fn world_size(&self) -> usize {
        self.roll().world_size()
    }

    /// Where all replicas are, and whether one has failed: what is noted, entered or aborted here reaches all processes.
    pub fn roll(&self) -> &Roll {
        &self.shared.roll
    }

    /// How long processes wait for each other.
    pub fn deadline(&self) -> Duration {
        self.shared.deadline
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.is_leaving.store(true, SeqCst);
        shared.roll.leave(shared.ranks());
        shared.send(&Message::Goodbye);
        // Until the others have heard it: bytes that a system still has are lost if a connection is broken off.
        let limit = GOODBYE.min(shared.deadline);
        let is_open = |state: &mut State| state.ended < self.links.len();
        let waited = shared
            .changed
            .wait_timeout_while(shared.state(), limit, is_open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        for outbox in &shared.outboxes {
            // A writer that has ended need not be told.
            let _ = outbox.send(Parcel::End);
        }
    }
}

/// What all processes of the run know, if FEEDLINE_SECRET is `variable`.
fn secret(variable: Option<OsString>, launch: &Launch) -> Result<Secret> {
    let refuse = |variables: &str, reason: &str| Error::Environment {
        variables: variables.into(),
        reason: reason.into(),
    };
    match variable.map(OsString::into_string) {
        None => Ok(Secret::new(launch.run())),
        Some(Ok(secret)) if !secret.is_empty() => Ok(Secret::new(secret)),
        Some(Ok(_)) => Err(refuse(
            "FEEDLINE_SECRET is empty",
            "set it to the same secret in all processes, or unset it",
        )),
        // Not what it is: it is a secret.
        Some(Err(_)) => Err(refuse(
            "FEEDLINE_SECRET is not Unicode",
            "set it to the same text in all processes, or unset it",
        )),
    }
}
