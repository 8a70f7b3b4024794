//! Epochs as an iterator.

use std::iter::FusedIterator;

use super::{Loader, LoaderState, Stats};
use crate::error::{Error, Result};
use crate::sink::{Host, Sink};

/// The batches of one or more epochs, in order. Made by [`Loader::epoch`] and [`Loader::epochs`].
///
/// In a `for` loop the loop has it; to ask for the [`state`](Self::state) between batches, keep it:
/// `while let Some(batch) = batches.next()`.
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is read until next() is called"]
pub struct Batches<'a, K: Sink = Host> {
    loader: &'a mut Loader<K>,
    remaining: u64,
    /// Why there are none.
    refusal: Option<Error>,
}

impl<'a, K: Sink> Batches<'a, K> {
    pub(super) fn new(loader: &'a mut Loader<K>, steps: Result<u64>) -> Self {
        let (remaining, refusal) = match steps {
            Ok(steps) => (steps, None),
            Err(error) => (1, Some(error)),
        };
        Self {
            loader,
            remaining,
            refusal,
        }
    }

    /// Where the loader stands: what [`LoaderBuilder::resume`](super::LoaderBuilder::resume) needs to go on with the
    /// batch that [`next`](Iterator::next) would give.
    ///
    /// # Errors
    ///
    /// As [`Loader::state`].
    pub fn state(&self) -> Result<LoaderState> {
        self.loader.state()
    }

    /// Says that no batch is asked for for a while. What has gone by since the last one was the consumer's work, in the loader's
    /// [`stats`](Self::stats), and what goes by until the next is nobody's. At the end of an epoch
    /// [`next`](Iterator::next) does that when it has no more; this is for who doesn't ask it again.
    pub fn pause(&mut self) {
        self.loader.pause();
    }

    /// What the loader's time has gone into; as [`Loader::stats`].
    pub fn stats(&self) -> Stats {
        self.loader.stats()
    }
}

impl<K: Sink> Iterator for Batches<'_, K> {
    type Item = Result<K::Batch>;

    /// The next batch; waits for it if no worker has finished it yet.
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            self.loader.pause();
            return None;
        }
        let batch = match self.refusal.take() {
            Some(error) => Err(error),
            None => self.loader.next_batch(),
        };
        self.remaining = if batch.is_ok() { self.remaining - 1 } else { 0 };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends the epoch early.
        let most = usize::try_from(self.remaining).ok();
        (self.remaining.min(1) as usize, most)
    }
}

impl<K: Sink> FusedIterator for Batches<'_, K> {}
