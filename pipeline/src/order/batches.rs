//! An epoch as a sequence of global batches, each cut into one slice per replica.

use std::ops::Range;

use super::{Draw, EpochOrder, Shard};
use crate::error::{Result, invalid};
use crate::random::Random;

/// Keeps the repeats of samples that come again because an epoch wraps around apart from all others.
const WRAP: u64 = u64::from_be_bytes(*b"wrap\0\0\0\0");

/// What becomes of the last samples of an epoch when they do not fill a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Tail {
    /// They are left out of this epoch. Usual for training: the next epoch leaves out others.
    #[default]
    Drop,
    /// The last batch is filled with masked rows that count for nothing: zero pixels, label 0, and not among
    /// [`Rows::samples`]. Usual for evaluation: every sample counts exactly once on any number of replicas.
    Pad,
    /// The last batch is filled with samples from the start of the epoch's own order.
    Wrap,
}

/// How `len` samples become the steps of an epoch.
///
/// The global batch of step `s` is the positions `s · B .. (s + 1) · B`, whatever the world size; each
/// replica gets a slice of it. So all replicas take the same number of steps, and together see the same
/// batches as one alone would.
///
/// ```
/// use feedline_pipeline::order::{GlobalBatches, Shard, Tail};
///
/// let batches = GlobalBatches::new(10, 4, Tail::Pad)?;
/// assert_eq!(batches.steps(), 3);
/// let last = batches.rows(2, Shard::new(0, 2)?);
/// assert_eq!((last.first_position, last.rows, last.samples), (8, 2, 2));
/// let last = batches.rows(2, Shard::new(1, 2)?);
/// assert_eq!((last.first_position, last.rows, last.samples), (10, 2, 0)); // padding only
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GlobalBatches {
    len: usize,
    batch_size: usize,
    tail: Tail,
}

/// One replica's slice of one global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// The position of the first row in the epoch's order, before wrapping.
    pub first_position: usize,
    /// The first row's place in the global batch.
    pub first_row: usize,
    /// Rows in the slice; the same at every step.
    pub rows: usize,
    /// How many of them are samples: the first ones. The others are padding.
    pub samples: usize,
    /// How many rows of the whole global batch are samples, over all replicas.
    pub global_samples: usize,
}

impl GlobalBatches {
    /// Batches of `batch_size` rows over `len` samples.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no sample, if `batch_size` is 0,
    /// or if an epoch would have no step at all because [`Tail::Drop`] drops everything.
    pub fn new(len: usize, batch_size: usize, tail: Tail) -> Result<Self> {
        if batch_size == 0 {
            return Err(invalid("batch size", batch_size, "at least 1"));
        }
        if len == 0 {
            return Err(invalid(
                "number of samples",
                len,
                "at least 1: the source is empty",
            ));
        }
        if tail == Tail::Drop && batch_size > len {
            return Err(invalid(
                "batch size",
                batch_size,
                format!("at most {len}, the number of samples, or Tail::Pad or Tail::Wrap"),
            ));
        }
        Ok(Self {
            len,
            batch_size,
            tail,
        })
    }

    /// Rows of a global batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Steps in an epoch: the same number on every replica.
    pub fn steps(&self) -> usize {
        match self.tail {
            Tail::Drop => self.len / self.batch_size,
            Tail::Pad | Tail::Wrap => self.len.div_ceil(self.batch_size),
        }
    }

    /// `shard`'s slice of the global batch of `step`.
    ///
    /// # Panics
    ///
    /// Panics if `step` is not below [`steps`](Self::steps).
    pub fn rows(&self, step: usize, shard: Shard) -> Rows {
        assert!(step < self.steps(), "step {step} of {}", self.steps());
        let slice = shard.rows(self.batch_size);
        let start = step * self.batch_size;
        let global_samples = match self.tail {
            Tail::Pad => self.batch_size.min(self.len - start),
            Tail::Drop | Tail::Wrap => self.batch_size,
        };
        Rows {
            first_position: start + slice.start,
            first_row: slice.start,
            rows: slice.len(),
            samples: global_samples.clamp(slice.start, slice.end) - slice.start,
            global_samples,
        }
    }

    /// The position in the epoch's order of a row's sample: beyond the end it starts anew ([`Tail::Wrap`]).
    pub fn position(&self, rows: &Rows, row: usize) -> usize {
        (rows.first_position + row) % self.len
    }

    /// Replaces what is in `draws` by the samples of `some` of a slice's rows.
    pub(crate) fn draw(
        &self,
        order: &EpochOrder,
        rows: &Rows,
        some: Range<usize>,
        draws: &mut Vec<Draw>,
    ) {
        let positions = some.clone().map(|row| self.position(rows, row));
        order.draw_into(positions, draws);
        if rows.first_position + some.end <= order.len() {
            return;
        }
        // Beyond the end, an epoch wraps around to samples that it has had: they are augmented anew.
        for (draw, row) in draws.iter_mut().zip(some) {
            let lap = (rows.first_position + row) / order.len();
            if lap > 0 {
                draw.repeat = Random::new([WRAP, draw.repeat, lap as u64]).next_u64();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tails() -> impl Strategy<Value = Tail> {
        prop_oneof![Just(Tail::Drop), Just(Tail::Pad), Just(Tail::Wrap)]
    }

    /// The positions of the samples of one global batch, from the shards of a world.
    fn gathered(batches: &GlobalBatches, step: usize, world_size: usize) -> Vec<usize> {
        let mut positions = Vec::new();
        for rank in 0..world_size {
            let rows = batches.rows(step, Shard::new(rank, world_size).unwrap());
            assert_eq!(
                rows.first_row,
                rows.first_position - step * batches.batch_size
            );
            positions.extend((0..rows.samples).map(|row| batches.position(&rows, row)));
        }
        positions
    }

    proptest! {
        #[test]
        fn global_batches_do_not_depend_on_the_world_size(
            len in 1usize..300, batch_size in 1usize..40, world_size in 1usize..12, tail in tails(),
        ) {
            if let Ok(batches) = GlobalBatches::new(len, batch_size, tail) {
                for step in 0..batches.steps() {
                    prop_assert_eq!(
                        gathered(&batches, step, world_size),
                        gathered(&batches, step, 1)
                    );
                }
            }
        }

        #[test]
        fn shards_partition_the_epoch(
            len in 1usize..300, batch_size in 1usize..40, world_size in 1usize..12,
        ) {
            let batches = GlobalBatches::new(len, batch_size, Tail::Pad).unwrap();
            let visited: Vec<usize> =
                (0..batches.steps()).flat_map(|step| gathered(&batches, step, world_size)).collect();
            prop_assert!(visited.into_iter().eq(0..len));
        }

        #[test]
        fn tails_differ_only_in_the_last_batch(
            len in 1usize..300, batch_size in 1usize..40,
        ) {
            prop_assume!(batch_size <= len);
            let [dropped, padded, wrapped] = [Tail::Drop, Tail::Pad, Tail::Wrap]
                .map(|tail| GlobalBatches::new(len, batch_size, tail).unwrap());
            let all = |b: &GlobalBatches| -> Vec<usize> {
                (0..b.steps()).flat_map(|step| gathered(b, step, 1)).collect()
            };
            prop_assert!(all(&dropped).into_iter().eq(0..len / batch_size * batch_size));
            prop_assert!(all(&padded).into_iter().eq(0..len));
            let full = len.div_ceil(batch_size) * batch_size;
            prop_assert!(all(&wrapped).into_iter().eq((0..full).map(|p| p % len)));
        }

        #[test]
        fn a_replica_has_the_same_number_of_rows_at_every_step(
            len in 1usize..300, batch_size in 1usize..40, world_size in 1usize..12, tail in tails(),
        ) {
            if let Ok(batches) = GlobalBatches::new(len, batch_size, tail) {
                for rank in 0..world_size {
                    let shard = Shard::new(rank, world_size).unwrap();
                    let rows = batches.rows(0, shard).rows;
                    prop_assert!(rows.abs_diff(batch_size / world_size) <= 1);
                    for step in 0..batches.steps() {
                        prop_assert_eq!(batches.rows(step, shard).rows, rows);
                    }
                }
            }
        }
    }

    #[test]
    fn an_epoch_without_a_step_is_an_error() {
        assert!(GlobalBatches::new(10, 0, Tail::Pad).is_err());
        assert!(GlobalBatches::new(0, 4, Tail::Pad).is_err());
        let error = GlobalBatches::new(3, 4, Tail::Drop)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("batch size is 4, expected at most 3"),
            "{error}"
        );
        assert_eq!(GlobalBatches::new(3, 4, Tail::Wrap).unwrap().steps(), 1);
    }
}
