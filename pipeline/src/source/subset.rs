//! Some samples of a source.

use super::{Sample, Shape, Source};
use crate::error::{Result, invalid};

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
}
