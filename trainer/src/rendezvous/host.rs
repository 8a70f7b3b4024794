//! How process 0 receives the others.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::RendezvousFault;
use super::frame;
use super::message::{Greeting, Join, PROTOCOL, Person, Ticket};
use super::proof::{self, Nonce};
use super::terms::{Terms, processes};
use crate::error::Result;

/// As many may be greeted at a time. The one that is silent for longest makes room for a new one, so that who connects
/// and says nothing keeps nobody out.
const MOST_GUESTS: usize = 128;

/// Who has not proven yet that it belongs to the run may say no more than this.
const MOST_BYTES: usize = 4096;

/// More replicas in a process are taken for a mistake.
pub(super) const MOST_REPLICAS: usize = 1024;

/// How often those who are here hear who is not.
const WAITING: Duration = Duration::from_millis(200);

/// As many processes that did not come are named.
const MOST_NAMED: usize = 8;

/// As many processes of a [`Greeting::Roster`] fit a message.
const ROSTER: usize = 100;

/// What stops a run.
type Stop = (RendezvousFault, String);

struct Host<'a> {
    terms: &'a Terms<'a>,
    listener: TcpListener,
    guests: VecDeque<Guest>,
    /// Those who belong to the run, from process 1 on.
    members: Vec<Option<(TcpStream, Person)>>,
    /// How many had another secret, and the last of them.
    strangers: (usize, Option<SocketAddr>),
}

/// Who has connected, and is to prove that it belongs to the run.
struct Guest {
    stream: TcpStream,
    from: SocketAddr,
    challenge: Nonce,
    since: Instant,
    arrived: Vec<u8>,
}

/// Waits until all are here, and returns them from process 1 on.
pub(super) fn gather(terms: &Terms<'_>) -> Result<Vec<(TcpStream, Person)>> {
    let listener = listen(terms)?;
    let others = terms.launch.processes() - 1;
    let mut host = Host {
        terms,
        listener,
        guests: VecDeque::new(),
        members: (0..others).map(|_| None).collect(),
        strangers: (0, None),
    };
    match host.wait() {
        Ok(()) => Ok(host.introduce()),
        Err((fault, reason)) => {
            host.tell(&Greeting::Failed {
                fault,
                reason: reason.clone(),
            });
            Err(terms.error(fault, reason))
        }
    }
}

/// Listens on this machine alone, if all processes are on it, else for all who can reach it.
fn listen(terms: &Terms<'_>) -> Result<TcpListener> {
    let port = terms.launch.port();
    let mut addresses: Vec<SocketAddr> = vec![
        (Ipv6Addr::UNSPECIFIED, port).into(),
        (Ipv4Addr::UNSPECIFIED, port).into(),
    ];
    if terms.launch.is_one_machine()
        && let Ok(named) = terms.addresses(terms.rest())
        && !named.is_empty()
        && named.iter().all(|address| address.ip().is_loopback())
    {
        addresses = named;
    }
    let listen = || {
        let listener = TcpListener::bind(&addresses[..])?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error: io::Error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program listens on port {port} here, which `ss -ltnp` shows; end it, or set MASTER_PORT or FEEDLINE_PORT to a free port, the same in all processes"
            ),
            _ => format!(
                "process 0 can't listen on port {port} ({error}); set MASTER_PORT or FEEDLINE_PORT to a port that it may use, the same in all processes"
            ),
        };
        terms.error(RendezvousFault::Taken, reason)
    })
}

impl Host<'_> {
    fn wait(&mut self) -> Result<(), Stop> {
        let mut told = Instant::now();
        while self.members.iter().any(Option::is_none) {
            if self.terms.rest().is_zero() {
                return Err((RendezvousFault::Late, self.late()));
            }
            let is_busy = self.admit();
            self.greet()?;
            self.look_after()?;
            if told.elapsed() >= WAITING {
                told = Instant::now();
                let (first, count) = self.awaited();
                self.tell(&Greeting::Waiting { first, count });
            }
            if !is_busy {
                thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// Lets in who has connected. Returns whether more may be waiting.
    fn admit(&mut self) -> bool {
        for _ in 0..MOST_GUESTS / 4 {
            let Ok((stream, from)) = self.listener.accept() else {
                return false;
            };
            if self.guests.len() == MOST_GUESTS {
                self.guests.pop_front();
            }
            // Who can't be greeted is gone already.
            self.guests.extend(Guest::new(stream, from));
        }
        true
    }

    /// Goes on with the greetings.
    fn greet(&mut self) -> Result<(), Stop> {
        let limit = self.terms.greeting();
        for mut guest in std::mem::take(&mut self.guests) {
            if guest.since.elapsed() > limit {
                continue;
            }
            match guest.listen() {
                Ok(None) => self.guests.push_back(guest),
                Ok(Some(join)) => self.decide(guest, &join)?,
                // Whoever says something else does not belong here.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Takes in a guest, or not.
    fn decide(&mut self, guest: Guest, join: &Join) -> Result<(), Stop> {
        let Terms {
            secret,
            launch,
            person: own,
            version,
            ..
        } = self.terms;
        let (challenge, nonce) = (&guest.challenge[..], join.nonce.as_bytes());
        let parts = [b"join", challenge, nonce, join.ticket.as_bytes()];
        if !secret.is_proven(&parts, &join.proof) {
            self.strangers = (self.strangers.0 + 1, Some(guest.from));
            guest.answer(&Greeting::WrongSecret);
            return Ok(());
        }
        let refuse = |reason: String, stops: bool| {
            guest.answer(&Greeting::Refused {
                reason: reason.clone(),
            });
            match stops {
                true => Err((RendezvousFault::Refused, reason)),
                false => Ok(()),
            }
        };
        let Ok(ticket) = serde_json::from_str::<Ticket>(&join.ticket) else {
            let reason = format!(
                "process 0 ({own}) can't read the greeting of a process at {}; both must be the same program",
                guest.from
            );
            return refuse(reason, true);
        };
        let Ticket {
            process, person, ..
        } = &ticket;
        if ticket.version != *version {
            let reason = format!(
                "process {process} ({person}) has version {} of feedline-trainer, process 0 ({own}) version {version}; start the same program everywhere",
                ticket.version
            );
            return refuse(reason, true);
        }
        let all = launch.processes();
        if ticket.processes != all {
            let reason = format!(
                "process {process} ({person}) was started as one of {}, process 0 ({own}) as one of {all}; set the same WORLD_SIZE everywhere",
                ticket.processes
            );
            return refuse(reason, true);
        }
        if !(1..=MOST_REPLICAS).contains(&person.replicas) {
            let reason = format!(
                "process {process} ({person}) has {} replicas, expected 1 to {MOST_REPLICAS}",
                person.replicas
            );
            return refuse(reason, true);
        }
        let seat = process.checked_sub(1);
        let Some(seat) = seat.and_then(|seat| self.members.get_mut(seat)) else {
            let reason = format!(
                "both {own} and {person} were started as process {process}; give each a RANK of its own"
            );
            return refuse(reason, false);
        };
        if let Some((_, first)) = seat {
            let reason = format!(
                "both {first} and {person} were started as process {process}; give each a RANK of its own"
            );
            return refuse(reason, false);
        }
        let proof = secret.prove(&[b"welcome", nonce, challenge]);
        guest.answer(&Greeting::Accepted { proof });
        *seat = Some((guest.stream, ticket.person));
        Ok(())
    }

    /// Looks for members that have ended meanwhile.
    fn look_after(&self) -> Result<(), Stop> {
        for (i, member) in self.members.iter().enumerate() {
            let Some((stream, person)) = member else {
                continue;
            };
            let is_here = match stream.peek(&mut [0]) {
                Ok(count) => count > 0,
                Err(error) => frame::is_late(&error),
            };
            if !is_here {
                let (first, count) = self.awaited();
                let reason = format!(
                    "process {} ({person}) came and ended again while {} {} awaited; look at its output",
                    i + 1,
                    processes(&first, count),
                    if count == 1 { "was" } else { "were" }
                );
                return Err((RendezvousFault::Lost, reason));
            }
        }
        Ok(())
    }

    /// The first of those who have not come, and how many they are.
    fn awaited(&self) -> (Vec<usize>, usize) {
        let late = || {
            let members = self.members.iter().enumerate();
            members.filter(|(_, member)| member.is_none())
        };
        let first = late().take(MOST_NAMED).map(|(i, _)| i + 1).collect();
        (first, late().count())
    }

    fn late(&self) -> String {
        let (first, count) = self.awaited();
        let mut reason = format!(
            "{} of {} did not come within {:?}; was each started, with the same MASTER_ADDR and MASTER_PORT, and can its machine reach {}?",
            processes(&first, count),
            self.terms.launch.processes(),
            self.terms.deadline,
            self.terms.person.host
        );
        if let (strangers @ 1.., Some(last)) = self.strangers {
            reason += &format!(
                " {strangers} with another secret, the last from {last}, could not come in: FEEDLINE_SECRET must be the same in all processes"
            );
        }
        reason
    }

    /// Says something to all who are here. Who can't be told will be missed elsewhere.
    fn tell(&self, greeting: &Greeting) {
        for (stream, _) in self.members.iter().flatten() {
            let _ = frame::write(stream, greeting, self.terms.greeting());
        }
    }

    /// Tells all who the others are.
    fn introduce(self) -> Vec<(TcpStream, Person)> {
        let members: Vec<_> = self.members.into_iter().flatten().collect();
        let own = std::iter::once(self.terms.person.clone());
        let others = members.iter().map(|(_, person)| person.clone());
        let people: Vec<_> = own.chain(others).collect();
        for (stream, _) in &members {
            // One that can't be told has ended, which is noticed when its messages are read.
            let _ = stream.set_nonblocking(false);
            for some in people.chunks(ROSTER) {
                let roster = Greeting::Roster {
                    all: people.len(),
                    some: some.to_vec(),
                };
                let _ = frame::write(stream, &roster, self.terms.greeting());
            }
        }
        members
    }
}

impl Guest {
    fn new(stream: TcpStream, from: SocketAddr) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        stream.set_nodelay(true).ok()?;
        let guest = Self {
            stream,
            from,
            challenge: proof::nonce().ok()?,
            since: Instant::now(),
            arrived: Vec::new(),
        };
        guest.answer(&Greeting::Challenge {
            feedline: PROTOCOL,
            nonce: proof::hexadecimal(&guest.challenge),
        });
        Some(guest)
    }

    /// What it has said, once it is whole.
    fn listen(&mut self) -> io::Result<Option<Join>> {
        let mut bytes = [0; MOST_BYTES];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.arrived.extend_from_slice(&bytes[..count]),
            Err(error) if frame::is_late(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        frame::take(&mut self.arrived, MOST_BYTES)
    }

    /// Few bytes on a new connection never wait; who is gone need not be told.
    fn answer(&self, greeting: &Greeting) {
        let _ = frame::write(&self.stream, greeting, Duration::from_secs(1));
    }
}
