//! On what terms this process meets the others.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::RendezvousFault;
use super::message::Person;
use super::proof::Secret;
use crate::error::Error;
use crate::launch::Launch;

/// A greeting must be over after this.
const GREETING: Duration = Duration::from_secs(5);

/// What this process knows before it meets the others.
pub(super) struct Terms<'a> {
    pub(super) launch: &'a Launch,
    pub(super) secret: Secret,
    /// This crate's.
    pub(super) version: &'a str,
    pub(super) person: Person,
    pub(super) deadline: Duration,
    /// Since when it waits.
    pub(super) start: Instant,
}

impl Terms<'_> {
    /// The time that is left.
    pub(super) fn rest(&self) -> Duration {
        self.deadline.saturating_sub(self.start.elapsed())
    }

    /// How long a greeting may take.
    pub(super) fn greeting(&self) -> Duration {
        self.deadline.min(GREETING)
    }

    pub(super) fn error(&self, fault: RendezvousFault, reason: impl Into<String>) -> Error {
        Error::Rendezvous {
            address: place(self.launch),
            fault,
            reason: reason.into(),
        }
    }

    /// Where process 0 is. Asking for names takes as long as the system likes, but is not waited for longer than `limit`.
    pub(super) fn addresses(&self, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = (self.launch.address().to_owned(), self.launch.port());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let (sender, found) = mpsc::channel();
        let ask = move || {
            let addresses = (host.as_str(), port).to_socket_addrs();
            // Nobody listens any more if it took too long.
            let _ = sender.send(addresses.map(Iterator::collect));
        };
        std::thread::Builder::new()
            .name("name-of-process-0".into())
            .spawn(ask)?;
        found
            .recv_timeout(limit)
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Where the processes of `launch` meet.
pub(super) fn place(launch: &Launch) -> String {
    match launch.address().contains(':') {
        true => format!("[{}]:{}", launch.address(), launch.port()),
        false => format!("{}:{}", launch.address(), launch.port()),
    }
}

/// "process 1", "process 1 and process 4", "process 1, process 2 and 7 more" for the first of `count` processes.
pub(super) fn processes(first: &[usize], count: usize) -> String {
    let mut names: Vec<_> = first
        .iter()
        .map(|process| format!("process {process}"))
        .collect();
    if count > first.len() {
        names.push(format!("{} more", count - first.len()));
    }
    match names.pop() {
        None => "nobody".into(),
        Some(last) if names.is_empty() => last,
        Some(last) => format!("{} and {last}", names.join(", ")),
    }
}
