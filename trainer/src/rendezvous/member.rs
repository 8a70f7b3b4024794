//! How the other processes come to process 0.

use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::RendezvousFault::{Late, Lost, Refused};
use super::frame;
use super::host::MOST_REPLICAS;
use super::message::{Greeting, Join, PROTOCOL, Person, Ticket};
use super::proof;
use super::terms::{Terms, processes};
use crate::error::{Error, Result};

/// Why one try was in vain.
enum Vain {
    /// The next may succeed.
    Now(String),
    /// None will.
    Forever(Error),
}

impl From<Error> for Vain {
    fn from(error: Error) -> Self {
        Self::Forever(error)
    }
}

/// Comes to process 0, which may start later than this one, and returns the connection to it and who all are.
pub(super) fn join(terms: &Terms<'_>) -> Result<(TcpStream, Vec<Person>)> {
    let mut pause = Duration::from_millis(20);
    loop {
        let trouble = match greet(terms) {
            Ok(stream) => {
                let people = wait(terms, &stream)?;
                return Ok((stream, people));
            }
            Err(Vain::Forever(error)) => return Err(error),
            Err(Vain::Now(trouble)) => trouble,
        };
        let rest = terms.rest();
        thread::sleep(pause.min(rest));
        // No time is left for another try.
        if rest <= pause {
            let reason = format!(
                "process {} ({}) could not reach process 0 within {:?}: {trouble}; was process 0 started, is its host {}, and can this machine reach its port {}?",
                terms.launch.process(),
                terms.person,
                terms.deadline,
                terms.launch.address(),
                terms.launch.port()
            );
            return Err(terms.error(Late, reason));
        }
        pause = (2 * pause).min(Duration::from_millis(500));
    }
}

/// Connects and proves that it belongs to the run.
fn greet(terms: &Terms<'_>) -> Result<TcpStream, Vain> {
    let stream = connect(terms)?;
    let read = |limit| {
        frame::read::<Greeting>(&stream, limit).map_err(|error| {
            let trouble = match error.kind() {
                io::ErrorKind::InvalidData => {
                    "what listens there is no process of a run".to_owned()
                }
                _ => format!("what listens there says nothing ({error})"),
            };
            Vain::Now(trouble)
        })
    };
    let Greeting::Challenge {
        feedline,
        nonce: challenge,
    } = read(terms.rest().min(terms.greeting()))?
    else {
        return Err(Vain::Now("what listens there speaks out of turn".into()));
    };
    if feedline != PROTOCOL {
        let reason = format!(
            "process 0 greets as version {feedline} of the protocol, this process as version {PROTOCOL}; start the same program everywhere"
        );
        return Err(Vain::Forever(terms.error(Refused, reason)));
    }
    let challenge = proof::bytes(&challenge).unwrap_or_default();
    let nonce = proof::hexadecimal(&proof::nonce()?);
    let ticket = Ticket {
        version: terms.version.into(),
        process: terms.launch.process(),
        processes: terms.launch.processes(),
        person: terms.person.clone(),
    };
    let lost = |error: io::Error| Vain::Now(format!("the connection broke ({error})"));
    let ticket = serde_json::to_string(&ticket).map_err(|error| lost(error.into()))?;
    let parts = [b"join", &challenge[..], nonce.as_bytes(), ticket.as_bytes()];
    let join = Join {
        proof: terms.secret.prove(&parts),
        nonce: nonce.clone(),
        ticket,
    };
    frame::write(&stream, &join, terms.greeting()).map_err(lost)?;
    // Once process 0 may have let this in, trying again would look like an end.
    match read(terms.rest())? {
        Greeting::Accepted { proof } => {
            let parts = [b"welcome", nonce.as_bytes(), &challenge[..]];
            match terms.secret.is_proven(&parts, &proof) {
                true => Ok(stream),
                false => Err(Vain::Forever(terms.error(Refused, wrong_secret(terms)))),
            }
        }
        Greeting::WrongSecret => Err(Vain::Forever(terms.error(Refused, wrong_secret(terms)))),
        Greeting::Refused { reason } => Err(Vain::Forever(terms.error(Refused, reason))),
        Greeting::Failed { fault, reason } => Err(Vain::Forever(terms.error(fault, reason))),
        _ => Err(Vain::Now("what listens there speaks out of turn".into())),
    }
}

fn wrong_secret(terms: &Terms<'_>) -> String {
    format!(
        "process 0 there has another secret than process {} ({}), or belongs to another run than {:?}; set FEEDLINE_SECRET to the same in all processes, and MASTER_PORT or FEEDLINE_PORT to a port that no other run uses",
        terms.launch.process(),
        terms.person,
        terms.launch.run()
    )
}

fn connect(terms: &Terms<'_>) -> Result<TcpStream, Vain> {
    let host = terms.launch.address();
    let addresses = terms
        .addresses(terms.rest())
        .map_err(|error| Vain::Now(format!("the name {host:?} is not known ({error})")))?;
    let mut trouble = format!("the name {host:?} has no address");
    for address in addresses {
        let limit = terms.rest().min(terms.greeting());
        if limit.is_zero() {
            break;
        }
        let connect = || -> io::Result<TcpStream> {
            let stream = TcpStream::connect_timeout(&address, limit)?;
            // The system may connect a port of this machine to itself where nobody listens.
            if stream.local_addr()? == stream.peer_addr()? {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        match connect() {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                trouble = "nobody listens there".into();
            }
            Err(error) => trouble = format!("{error}"),
        }
    }
    Err(Vain::Now(trouble))
}

/// Waits until all are here, and returns who they are.
fn wait(terms: &Terms<'_>, stream: &TcpStream) -> Result<Vec<Person>> {
    let mut people: Vec<Person> = Vec::new();
    let mut awaited = String::from("others");
    loop {
        match frame::read::<Greeting>(stream, terms.rest()) {
            Ok(Greeting::Waiting { first, count }) => awaited = processes(&first, count),
            Ok(Greeting::Failed { fault, reason }) => return Err(terms.error(fault, reason)),
            Ok(Greeting::Roster { all, some }) => {
                let can_be = |person: &Person| (1..=MOST_REPLICAS).contains(&person.replicas);
                people.extend(some.into_iter().filter(can_be));
                if people.len() >= all && all == terms.launch.processes() {
                    people.truncate(all);
                    return Ok(people);
                }
            }
            Ok(_) => {}
            Err(error) if frame::is_late(&error) => {
                let reason = format!(
                    "{awaited} of {} did not come within {:?}, for which process {} ({}) waited; was each started, with the same MASTER_ADDR and MASTER_PORT?",
                    terms.launch.processes(),
                    terms.deadline,
                    terms.launch.process(),
                    terms.person
                );
                return Err(terms.error(Late, reason));
            }
            Err(error) => {
                let reason = format!(
                    "process 0 ended while {awaited} of {} were awaited ({error}); look at its output",
                    terms.launch.processes()
                );
                return Err(terms.error(Lost, reason));
            }
        }
    }
}
