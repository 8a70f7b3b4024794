//! Which gradients travel together.

use std::iter;
use std::ops::Range;

/// How large buckets are, in bytes of `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketSizes {
    /// Of the bucket that is full first: small, so that the replicas begin to talk early.
    pub first: usize,
    /// Of all others: large, so that what each call costs hardly counts.
    pub others: usize,
}

impl Default for BucketSizes {
    /// 1 MiB and 25 MiB, as PyTorch's DistributedDataParallel has it (Li et al.: "PyTorch Distributed: Experiences on
    /// Accelerating Data Parallel Training", VLDB 2020).
    fn default() -> Self {
        Self {
            first: 1 << 20,
            others: 25 << 20,
        }
    }
}

/// A plan that cuts a flat buffer of gradients into buckets, each of which is summed over the replicas as soon as its
/// gradients are final.
///
/// The buffer holds one parameter after the other in the model's order, and a few more numbers (loss, right answers)
/// behind them, which must be final first. The backward pass finishes the last layers first, so buckets are filled from
/// the buffer's end. A bucket is closed by the parameter with which it reaches its size; no parameter is cut. All this
/// follows from the parameters' lengths, so it is the same on all replicas.
///
/// ```
/// use feedline_trainer::collective::{BucketSizes, Buckets};
///
/// let sizes = BucketSizes { first: 4 * 4, others: 4 * 8 };
/// // Three parameters, and two numbers behind them.
/// let mut buckets = Buckets::with_sizes([6, 3, 4], 2, sizes);
/// assert_eq!(buckets.ranges(), [9..15, 0..9]);
///
/// // In each step, as the gradients become final from the end on:
/// buckets.restart();
/// assert_eq!(buckets.ready(9).collect::<Vec<_>>(), [(0, 9..15)]);
/// assert_eq!(buckets.ready(6).next(), None);
/// assert_eq!(buckets.ready(0).collect::<Vec<_>>(), [(1, 0..9)]);
/// ```
#[derive(Debug, Clone)]
pub struct Buckets {
    ranges: Vec<Range<usize>>,
    /// The first bucket that was not full yet.
    next: usize,
}

impl Buckets {
    /// Buckets of the usual sizes for parameters of these lengths, with `extra` numbers behind them.
    pub fn new(lengths: impl IntoIterator<Item = usize>, extra: usize) -> Self {
        Self::with_sizes(lengths, extra, BucketSizes::default())
    }

    /// As [`new`](Self::new), with sizes of one's own. Of size 0, each parameter is a bucket.
    pub fn with_sizes(
        lengths: impl IntoIterator<Item = usize>,
        extra: usize,
        sizes: BucketSizes,
    ) -> Self {
        let lengths: Vec<usize> = lengths.into_iter().collect();
        let mut start: usize = lengths.iter().sum();
        let mut end = start + extra;
        let mut ranges = Vec::new();
        for length in lengths.into_iter().rev() {
            start -= length;
            let size = match ranges.is_empty() {
                true => sizes.first,
                false => sizes.others,
            };
            if start < end && (end - start) * size_of::<f32>() >= size {
                ranges.push(start..end);
                end = start;
            }
        }
        if end > 0 {
            ranges.push(0..end);
        }
        Self { ranges, next: 0 }
    }

    /// All buckets, in the order in which they become full: the last of the buffer first.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// How many numbers the buffer has.
    pub fn length(&self) -> usize {
        self.ranges.first().map_or(0, |first| first.end)
    }

    /// Begins a new step: no bucket is full.
    pub fn restart(&mut self) {
        self.next = 0;
    }

    /// The buckets that became full, each with its number, now that everything at `from` and behind it is final. Each
    /// bucket comes once in a step; one that the iterator was not asked for comes in the next call.
    pub fn ready(&mut self, from: usize) -> impl Iterator<Item = (usize, Range<usize>)> + '_ {
        iter::from_fn(move || {
            let range = self.ranges.get(self.next).filter(|own| own.start >= from)?;
            self.next += 1;
            Some((self.next - 1, range.clone()))
        })
    }

    /// Whether every bucket of this step was full.
    pub fn is_complete(&self) -> bool {
        self.next == self.ranges.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lengths of parameters (some of 0), numbers behind them, and sizes.
    fn plans() -> impl Strategy<Value = (Vec<usize>, usize, BucketSizes)> {
        let sizes = (0usize..200, 0usize..400);
        let sizes = sizes.prop_map(|(first, others)| BucketSizes { first, others });
        (prop::collection::vec(0usize..60, 0..12), 0usize..4, sizes)
    }

    proptest! {
        #[test]
        fn buckets_partition_the_buffer_from_its_end_and_cut_no_parameter(
            (lengths, extra, sizes) in plans(),
        ) {
            let buckets = Buckets::with_sizes(lengths.clone(), extra, sizes);
            let total = lengths.iter().sum::<usize>() + extra;
            prop_assert_eq!(buckets.length(), total);
            let mut starts = vec![0];
            for length in &lengths {
                starts.push(starts[starts.len() - 1] + length);
            }
            let mut end = total;
            for range in buckets.ranges() {
                prop_assert!(range.end == end && range.start < end, "{:?}", buckets);
                prop_assert!(starts.contains(&range.start), "{:?}", buckets);
                end = range.start;
            }
            prop_assert_eq!(end, 0);
        }

        #[test]
        fn a_bucket_is_closed_by_the_parameter_that_fills_it((lengths, extra, sizes) in plans()) {
            let buckets = Buckets::with_sizes(lengths.clone(), extra, sizes);
            let mut ends = vec![0];
            for length in lengths.iter().filter(|&&length| length > 0) {
                ends.push(ends[ends.len() - 1] + length);
            }
            for (index, range) in buckets.ranges().iter().enumerate() {
                let size = if index == 0 { sizes.first } else { sizes.others };
                if range.start > 0 {
                    prop_assert!(4 * range.len() >= size);
                }
                // Without its first parameter it would not have been full, or would have been empty.
                let Some(second) = ends.iter().find(|&&end| end > range.start) else { continue };
                prop_assert!(*second >= range.end || 4 * (range.end - second) < size.max(1)
                    || *second == ends[ends.len() - 1]);
            }
        }

        #[test]
        fn each_bucket_comes_once_as_soon_as_it_is_final(
            (lengths, extra, sizes) in plans(),
            calls in prop::collection::vec((0usize..700, 0usize..4), 0..12),
        ) {
            let mut buckets = Buckets::with_sizes(lengths, extra, sizes);
            for _step in 0..2 {
                buckets.restart();
                let mut seen = Vec::new();
                for &(from, most) in &calls {
                    let before = seen.len();
                    seen.extend(buckets.ready(from).take(most));
                    for (_, range) in &seen[before..] {
                        prop_assert!(range.start >= from);
                    }
                    let left = buckets.ready(from).collect::<Vec<_>>();
                    seen.extend(left);
                    let waiting = buckets.ranges().get(seen.len());
                    prop_assert!(waiting.is_none_or(|own| own.start < from));
                }
                seen.extend(buckets.ready(0));
                prop_assert!(buckets.is_complete());
                let all = buckets.ranges().iter().cloned().enumerate();
                prop_assert_eq!(seen, all.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_large_model_has_a_small_bucket_first() {
        let lengths = [5_000_000, 3_000_000, 4_000_000, 200_000, 100_000];
        let buckets = Buckets::new(lengths, 2);
        let expected = [12_000_000..12_300_002, 5_000_000..12_000_000, 0..5_000_000];
        assert_eq!(buckets.ranges(), expected);
    }
}
