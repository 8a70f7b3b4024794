//! Some samples of a source.

use std::ops::Range;

use super::{Sample, Shape, Source, fingerprint};
use crate::error::{Result, invalid};

/// Some samples of another source, in an order of one's own.
#[derive(Debug, Clone)]
pub struct Subset<S> {
    source: S,
    indices: Vec<usize>,
}

/// What the system reads and maps at once anyway.
const GAP_BYTES: usize = 64 << 10;

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

    /// Calls `with` with each run of samples of the source that `samples` are. What lies between two of them that are
    /// close is counted in: a hint about a little more costs less than one more hint.
    fn runs(&self, samples: Range<usize>, mut with: impl FnMut(Range<usize>)) {
        let near = (GAP_BYTES / self.shape().elements().max(1)).max(1);
        let samples = self.indices[samples].chunk_by(|&a, &b| a <= b && b - a <= near);
        for run in samples {
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

    fn scratch_bytes(&self) -> usize {
        self.source.scratch_bytes()
    }

    fn fingerprint(&self) -> Result<u64> {
        let indices = self.indices.iter();
        Ok(indices.fold(self.source.fingerprint()?, |hash, &index| {
            fingerprint::add(hash, index as u64)
        }))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::InMemory;
    use proptest::prelude::*;

    /// The hints for all samples at `indices` of a thousand, of which 16 take up a gap.
    fn runs(indices: &[usize]) -> Vec<Range<usize>> {
        let shape = Shape::new(1, 64, 64);
        let pixels = vec![0; 1000 * shape.elements()];
        let source = InMemory::new(shape, 1, pixels, vec![0; 1000]).unwrap();
        let subset = Subset::new(source, indices.to_vec()).unwrap();
        let mut runs = Vec::new();
        subset.runs(0..indices.len(), |run| runs.push(run));
        runs
    }

    #[test]
    fn neighbours_share_one_hint_even_with_a_gap_between_them() {
        let mut most: Vec<usize> = (0..500).filter(|index| index % 5 != 0).collect();
        most.push(700);
        assert_eq!(runs(&most), [1..500, 700..701]);
        assert_eq!(runs(&[3, 4, 100, 101]), [3..5, 100..102]);
        assert_eq!(runs(&[7, 6, 6]), [7..8, 6..7]);
        assert!(runs(&[]).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn hints_leave_no_sample_out(indices in prop::collection::vec(0usize..1000, 0..50)) {
            let runs = runs(&indices);
            prop_assert!(indices.iter().all(|index| runs.iter().any(|run| run.contains(index))));
        }
    }
}
