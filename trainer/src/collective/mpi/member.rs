//! One process's end of the connection.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffers::{Buffers, Element};
use super::call::{self, Kind, WORDS};
use super::engine::Engine;
use super::link::Link;
use super::waiting::{For, Wait};
use crate::collective::{Collective, Phase, Place, Roll};
use crate::error::{Error, Result};

/// How many bytes travel at once, which bounds the memory for it.
const PIECE: usize = 4 << 20;

/// Up to so many bytes are sent to everybody at once, as it takes less time to add up more than to wait twice.
const SHORT: usize = 1 << 10;

/// One process's end of the connection between processes, over MPI. [`Mpi::collective`](super::Mpi::collective) makes it.
///
/// Each call begins with a few numbers of each rank that say what it calls, so that nobody's values meet another call's,
/// and those who wait for the others leave the processor to them. Then values travel in pieces: each rank adds up its
/// share of the piece, in the order of the ranks, and shows it to all. So the sums are those of
/// [`ThreadCollective`](crate::collective::ThreadCollective), to the bit, whatever the library, the machines and the
/// network.
///
/// No call of MPI waits: a thread polls, for MPI, for others' failures and for the deadline. After a failure what was on its
/// way is left behind, with its memory, and MPI is never ended.
#[derive(Debug)]
pub struct MpiCollective {
    engine: Arc<Engine>,
    /// `None` only while this is dropped.
    link: Option<Link>,
    rank: usize,
    world_size: usize,
    pub(super) roll: Roll,
    deadline: Duration,
    /// What calls belong to.
    place: Mutex<Option<Place>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    words: Buffers<u64>,
    single: Buffers<f32>,
    double: Buffers<f64>,
    /// Who calls nothing any more.
    ended: Option<usize>,
}

impl MpiCollective {
    pub(super) fn new(engine: Arc<Engine>, link: Link, roll: Roll, deadline: Duration) -> Self {
        Self {
            engine,
            rank: link.rank(),
            world_size: link.world_size(),
            link: Some(link),
            roll,
            deadline,
            place: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// As [`duplicate`](Collective::duplicate), on this roll.
    pub(super) fn another(&self, roll: Roll) -> Result<Self> {
        let mut state = self.state();
        let wait = self.enter(&mut state, Kind::Duplicate, 0)?;
        let made = wait.finish(self.link()?.duplicate(), For::Values)?;
        let link = made.link().map_err(|error| wait.fail(error))?;
        Ok(Self::new(
            Arc::clone(&self.engine),
            link,
            roll,
            self.deadline,
        ))
    }

    /// Waits until all ranks are here, for the same.
    fn enter(&self, state: &mut State, kind: Kind, length: usize) -> Result<Wait<'_>> {
        let place = *self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = Wait {
            roll: &self.roll,
            rank: self.rank,
            place: place.unwrap_or(Place {
                step: 0,
                phase: Phase::Other(kind.name()),
            }),
            start: Instant::now(),
            deadline: self.deadline,
        };
        self.roll
            .enter(self.rank, wait.place.step, wait.place.phase);
        self.roll.check()?;
        if state.ended.is_none() {
            let mut words = std::mem::take(&mut state.words);
            kind.announce(length, self.world_size, &mut words);
            state.words = wait.finish(self.link()?.gather(words, WORDS), For::Others)?;
            state.ended = call::ended(&state.words);
        }
        if let Some(rank) = state.ended {
            let reason = "it has ended while others still wait for it".into();
            return Err(Error::Aborted { rank, reason });
        }
        call::compare(&state.words).map_err(|error| wait.fail(error))?;
        Ok(wait)
    }

    fn sum<T: Element>(
        &self,
        kind: Kind,
        values: &mut [T],
        buffers: impl Fn(&mut State) -> &mut Buffers<T>,
    ) -> Result<()> {
        let mut state = self.state();
        let wait = self.enter(&mut state, kind, values.len())?;
        for piece in values.chunks_mut(PIECE / size_of::<T>()) {
            let own = std::mem::take(buffers(&mut state));
            *buffers(&mut state) = self.sum_piece(&wait, piece, own)?;
        }
        Ok(())
    }

    fn sum_piece<T: Element>(
        &self,
        wait: &Wait<'_>,
        piece: &mut [T],
        mut buffers: Buffers<T>,
    ) -> Result<Buffers<T>> {
        let (link, length) = (self.link()?, piece.len());
        if size_of_val(piece) <= SHORT {
            buffers.reserve(length, length * self.world_size);
            buffers.sent[..length].copy_from_slice(piece);
            buffers = wait.finish(link.gather(buffers, length), For::Values)?;
            buffers.add_up(length, self.world_size);
            piece.copy_from_slice(&buffers.sent[..length]);
            return Ok(buffers);
        }
        // The last share may be longer than what there is.
        let share = length.div_ceil(self.world_size);
        let room = share * self.world_size;
        buffers.reserve(room, room);
        buffers.sent[..length].copy_from_slice(piece);
        buffers = wait.finish(link.exchange(buffers, share), For::Values)?;
        buffers.add_up(share, self.world_size);
        buffers = wait.finish(link.gather(buffers, share), For::Values)?;
        piece.copy_from_slice(&buffers.received[..length]);
        Ok(buffers)
    }

    fn link(&self) -> Result<&Link> {
        self.link.as_ref().ok_or_else(|| Error::Aborted {
            rank: self.rank,
            reason: "its connection has ended".into(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collective for MpiCollective {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<()> {
        self.sum(Kind::Sum, values, |state| &mut state.single)
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<()> {
        self.sum(Kind::SumDouble, values, |state| &mut state.double)
    }

    fn broadcast(&self, values: &mut [f32]) -> Result<()> {
        let mut state = self.state();
        let wait = self.enter(&mut state, Kind::Broadcast, values.len())?;
        for piece in values.chunks_mut(PIECE / size_of::<f32>()) {
            let mut buffers = std::mem::take(&mut state.single);
            buffers.reserve(piece.len(), 0);
            buffers.sent[..piece.len()].copy_from_slice(piece);
            buffers = wait.finish(self.link()?.broadcast(buffers, piece.len()), For::Values)?;
            piece.copy_from_slice(&buffers.sent[..piece.len()]);
            state.single = buffers;
        }
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        self.enter(&mut self.state(), Kind::Barrier, 0).map(drop)
    }

    fn duplicate(&self) -> Result<Box<dyn Collective>> {
        // All ranks make it now, and therefore in the same order as their other duplicates.
        Ok(Box::new(self.another(self.roll.beside())?))
    }

    fn note(&self, step: u64, phase: Phase) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place { step, phase });
        self.roll.note(self.rank, step, phase);
    }

    fn abort(&self, reason: &str) {
        self.roll.abort(self.rank, reason);
    }
}

impl Drop for MpiCollective {
    /// Tells those who still wait here that this rank comes no more, without waiting for them.
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let Some(link) = self.link.take() else {
            return;
        };
        if self.roll.check().is_err() {
            return;
        }
        if state.ended.is_some() {
            // Then this rank's last call was another's end, and nobody expects more.
            link.free();
            return;
        }
        let mut words = std::mem::take(&mut state.words);
        Kind::End.announce(0, self.world_size, &mut words);
        if let Ok(pending) = link.gather(words, WORDS) {
            self.engine.farewell(link, pending);
        }
    }
}
