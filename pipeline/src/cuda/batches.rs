//! Epochs as an iterator.

use std::iter::FusedIterator;

use super::{CudaBatch, CudaElement, CudaLoader};
use crate::error::{Error, Result};
use crate::loader::LoaderState;

/// The batches of one or more epochs, in order. Made by [`CudaLoader::epoch`] and [`CudaLoader::epochs`].
#[derive(Debug)]
#[must_use = "iterators are lazy: nothing is delivered until next() is called"]
pub struct CudaBatches<'a, T: CudaElement = f32> {
    loader: &'a mut CudaLoader<T>,
    remaining: u64,
    /// Why there are none.
    refusal: Option<Error>,
}

impl<'a, T: CudaElement> CudaBatches<'a, T> {
    pub(super) fn new(loader: &'a mut CudaLoader<T>, steps: Result<u64>) -> Self {
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

    /// Where the loader stands, before the batch that [`next`](Iterator::next) would give.
    ///
    /// # Errors
    ///
    /// As [`CudaLoader::state`].
    pub fn state(&self) -> Result<LoaderState> {
        self.loader.state()
    }
}

impl<T: CudaElement> Iterator for CudaBatches<'_, T> {
    type Item = Result<CudaBatch<T>>;

    /// The next batch. Waits until its filling is begun, not until it is done: what is launched on the GPU's stream waits
    /// for that.
    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
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

impl<T: CudaElement> FusedIterator for CudaBatches<'_, T> {}
