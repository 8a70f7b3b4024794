//! Some samples of a source.

use std::ops::Range;

use super::{Sample, Shape, Source};
use crate::error::{Result, invalid};
use crate::random::mix;

/// Some samples of another source, in an order of one's own.
#[derive(Debug, Clone)]
pub struct Subset<S> {
    source: S,
    indices: Vec<usize>,
}

impl<S: Source> Subset<S> {
    /// The samples of `source` at `indices`; an index may occur more than once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if an index is not below the source's length.
    pub fn new(source: S, indices: Vec<usize>) -> Result<Self> {
        match indices.iter().find(|&&index| index >= source.len()) {
            Some(index) => Err(invalid(
                "index",
                index,
                format!("below {}, the source's length", source.len()),
            )),
            None => Ok(Self { source, indices }),
        }
    }

    /// Calls `with` with each run of consecutive samples of the source that `samples` are.
    fn runs(&self, samples: Range<usize>, with: impl Fn(Range<usize>)) {
        for run in self.indices[samples].chunk_by(|a, b| a + 1 == *b) {
            with(run[0]..run[run.len() - 1] + 1);
        }
    }

    /// The indices in the source of the samples of this subset.
    pub fn indices(&self) -> &[usize] {
        &self.indices
    }
}

impl<S: Source> Source for Subset<S> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn shape(&self) -> Shape {
        self.source.shape()
    }

    fn classes(&self) -> usize {
        self.source.classes()
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        self.source.sample(self.indices[index], scratch)
    }

    fn label(&self, index: usize) -> Result<u32> {
        self.source.label(self.indices[index])
    }

    fn fingerprint(&self) -> Result<u64> {
        let mut hash = self.source.fingerprint()?;
        for &index in &self.indices {
            hash = mix(hash ^ index as u64).wrapping_add(hash.rotate_left(17));
        }
        Ok(hash)
    }

    fn verify(&self) -> Result<()> {
        self.source.verify()
    }

    fn prefetch(&self, index: usize) {
        self.source.prefetch(self.indices[index]);
    }

    fn will_need(&self, samples: Range<usize>) {
        self.runs(samples, |run| self.source.will_need(run));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.runs(samples, |run| self.source.done_with(run));
    }
}
