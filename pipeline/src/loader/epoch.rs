//! One epoch as an iterator.

use std::iter::FusedIterator;

use super::Loader;
use crate::error::Result;
use crate::sink::{Host, Sink};

/// The batches of one epoch, in order. Made by [`Loader::epoch`].
#[derive(Debug)]
pub struct Epoch<'a, K: Sink = Host> {
    loader: &'a mut Loader<K>,
    remaining: usize,
}

impl<'a, K: Sink> Epoch<'a, K> {
    pub(super) fn new(loader: &'a mut Loader<K>, steps: usize) -> Self {
        Self {
            loader,
            remaining: steps,
        }
    }
}

impl<K: Sink> Iterator for Epoch<'_, K> {
    type Item = Result<K::Batch>;

    /// The next batch; waits for it if no worker has finished it yet.
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let batch = self.loader.next_batch();
        self.remaining = if batch.is_ok() { self.remaining - 1 } else { 0 };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // An error ends the epoch early.
        (self.remaining.min(1), Some(self.remaining))
    }
}

impl<K: Sink> FusedIterator for Epoch<'_, K> {}
