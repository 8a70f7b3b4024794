//! A connection between process 0 and another one, after they have met: a thread that writes and one that reads.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::frame;
use super::message::Message;
use super::shared::Shared;

/// As many sightings fit a message.
const SIGHTINGS: usize = 32;

/// No reason is longer, in characters.
const MOST_REASON: usize = 4000;

/// What a writer is asked to do.
#[derive(Debug)]
pub(super) enum Parcel {
    Message(Message),
    /// To look whether a replica has failed.
    Look,
    /// To write no more: the other side is leaving.
    Close,
    /// To end.
    End,
}

#[derive(Debug)]
pub(super) struct Link {
    stream: Arc<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Link {
    /// The link to process `peer`.
    pub(super) fn start(
        shared: &Arc<Shared>,
        peer: usize,
        stream: TcpStream,
        inbox: Receiver<Parcel>,
    ) -> io::Result<Self> {
        let mut link = Self {
            stream: Arc::new(stream),
            threads: Vec::new(),
        };
        let (stream, known) = (Arc::clone(&link.stream), Arc::clone(shared));
        let reader = move || Reader::new(&known, peer).run(&stream);
        link.spawn(format!("from-process-{peer}"), reader)?;
        let (stream, known) = (Arc::clone(&link.stream), Arc::clone(shared));
        let writer = move || Writer::new(&known, peer, &stream).run(&inbox);
        link.spawn(format!("to-process-{peer}"), writer)?;
        Ok(link)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(Builder::new().name(name).spawn(work)?);
        Ok(())
    }
}

impl Drop for Link {
    /// Ends the threads, whose writer has been told to.
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.stream.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            // A thread of a link has nothing to say.
            let _ = thread.join();
        }
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    peer: usize,
    stream: &'a TcpStream,
    is_open: bool,
    has_told_failure: bool,
}

impl<'a> Writer<'a> {
    fn new(shared: &'a Shared, peer: usize, stream: &'a TcpStream) -> Self {
        Self {
            shared,
            peer,
            stream,
            is_open: true,
            has_told_failure: false,
        }
    }

    fn run(mut self, inbox: &Receiver<Parcel>) {
        let least = Duration::from_millis(10);
        // In a large run less often, as process 0 tells everybody of everybody; but several times in what is silence.
        let crowd = (self.shared.people.len() / 16).clamp(1, 8) as u32;
        let interval = (self.shared.deadline / 60).clamp(least, Duration::from_secs(1));
        let interval = (interval * crowd).min(self.shared.deadline / 8).max(least);
        let mut next = Instant::now();
        loop {
            let rest = next.saturating_duration_since(Instant::now());
            let parcel = match inbox.recv_timeout(rest) {
                Ok(parcel) => parcel,
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + interval;
                    self.beat();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            self.tell_failure();
            match parcel {
                Parcel::Message(message) => {
                    // Others shall know where everybody is, and who is gone, before they hear more.
                    self.report();
                    self.write(&message);
                }
                Parcel::Look => {}
                Parcel::Close => self.close(Shutdown::Write),
                Parcel::End => return,
            }
        }
    }

    /// A sign of life, and a look at who is missed.
    fn beat(&mut self) {
        let shared = self.shared;
        if let Some(rank) = shared.roll.missed(shared.ranks())
            && !shared.is_leaving.load(SeqCst)
        {
            let reason = "it has ended while others still wait for it";
            shared.roll.abort(rank, reason);
        }
        self.tell_failure();
        self.report();
    }

    /// Process 0 tells of all replicas but those who are told, the others of their own.
    fn report(&mut self) {
        let shared = self.shared;
        let mut sightings = match shared.process() {
            0 => shared.roll.report(0..shared.roll.world_size()),
            _ => shared.roll.report(shared.ranks()),
        };
        let theirs = shared.ranks_of(self.peer);
        sightings.retain(|sighting| !theirs.contains(&sighting.rank));
        for some in sightings.chunks(SIGHTINGS) {
            self.write(&Message::Sightings(some.to_vec()));
        }
    }

    fn tell_failure(&mut self) {
        if self.has_told_failure {
            return;
        }
        if let Some((rank, reason)) = self.shared.roll.aborted() {
            self.has_told_failure = true;
            let reason = reason.chars().take(MOST_REASON).collect();
            self.write(&Message::Abort { rank, reason });
        }
    }

    fn write(&mut self, message: &Message) {
        let limit = self.shared.deadline / 2;
        if self.is_open && frame::write(self.stream, message, limit).is_err() {
            // The reader notices who does not listen any more.
            self.close(Shutdown::Both);
        }
    }

    fn close(&mut self, how: Shutdown) {
        self.is_open = false;
        // An error means that it has ended already.
        let _ = self.stream.shutdown(how);
    }
}

struct Reader<'a> {
    shared: &'a Shared,
    peer: usize,
    /// Whether the other side has said goodbye.
    has_left: bool,
}

impl<'a> Reader<'a> {
    fn new(shared: &'a Shared, peer: usize) -> Self {
        Self {
            shared,
            peer,
            has_left: false,
        }
    }

    fn run(mut self, stream: &TcpStream) {
        let shared = self.shared;
        let silence = shared.deadline / 2;
        let end = loop {
            match frame::read(stream, silence) {
                Ok(message) => self.hear(message),
                Err(error) => break error,
            }
        };
        if !self.has_left && !shared.is_leaving.load(SeqCst) {
            shared.lose(self.peer, |who| {
                if frame::is_late(&end) {
                    return format!(
                        "nothing was heard of {who}, or of the network to it, for {silence:?}"
                    );
                }
                match end.kind() {
                    io::ErrorKind::InvalidData => format!("{who} said what can't be read ({end})"),
                    _ => format!("{who} has ended without a word"),
                }
            });
        }
        shared.state().ended += 1;
        shared.changed.notify_all();
    }

    fn hear(&mut self, message: Message) {
        let shared = self.shared;
        match message {
            Message::Sightings(mut sightings) => {
                // Nobody knows better than a process itself where its replicas are.
                let own = shared.ranks();
                let theirs = shared.ranks_of(self.peer);
                sightings.retain(|sighting| match shared.process() {
                    0 => theirs.contains(&sighting.rank),
                    _ => !own.contains(&sighting.rank),
                });
                shared.roll.hear(sightings);
            }
            Message::Abort { rank, reason } => {
                let rank = rank.min(shared.roll.world_size() - 1);
                shared.roll.abort(rank, &reason);
            }
            Message::Enter {
                number,
                name,
                values,
            } => {
                let mut state = shared.state();
                state.meetings.enter(self.peer, number, name, values);
                shared.changed.notify_all();
            }
            Message::Answer {
                number,
                name,
                outcome,
            } => {
                shared.state().meetings.answer(number, name, outcome);
                shared.changed.notify_all();
            }
            Message::Goodbye => {
                self.has_left = true;
                if shared.process() == 0 {
                    // It waits for this, so that nothing of what it said is lost.
                    let outbox = &shared.outboxes[self.peer - 1];
                    let _ = outbox.send(Parcel::Close);
                }
            }
        }
    }
}
