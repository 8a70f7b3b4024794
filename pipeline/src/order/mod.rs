//! Which sample comes when: a pure function of (seed, epoch, position).
//!
//! Nothing here has state. Position `k` of epoch `e` is computed, not looked up, so that resuming, sharding
//! and any number of workers all see the same order, and a full shuffle of any length costs no memory.
//!
//! | order | an epoch | memory |
//! |---|---|---|
//! | [`Order::sequential`] | every sample once, as stored | none |
//! | [`Order::shuffled`] | every sample once, shuffled over the whole source | none |
//! | [`Order::block_shuffled`] | every sample once, shuffled so that files larger than memory are read in blocks | none |
//! | [`Order::class_balanced`] | every class equally often | 4 bytes a sample |
//! | [`Order::mixed`] | several sources, each in its share | a few bytes a source |
//! | [`Order::weighted`] | every draw from one distribution, with replacement | 8 bytes a sample |

mod balance;
mod batches;
mod block;
mod epoch;
mod grouped;
mod permutation;
#[cfg(test)]
mod quality;
mod shard;
mod weighted;
mod windows;

use std::sync::Arc;

pub use batches::{GlobalBatches, Rows, Tail};
pub use epoch::{Draw, EpochOrder};
pub use grouped::{Group, Members};
pub use permutation::Permutation;
pub use shard::Shard;

use crate::error::{Result, invalid};
use crate::random::Random;
use epoch::EpochKind;

/// Orders have keys of their own: others begin with a seed, too, and go on with a small number.
const ORDER: u64 = u64::from_be_bytes(*b"order\0\0\0");

/// Which sample comes when, in every epoch. Cheap to clone: tables are shared.
#[derive(Debug, Clone)]
pub struct Order {
    kind: Kind,
    seed: u64,
    samples: usize,
    /// Epochs are the positions `skip..skip + len`.
    skip: usize,
    len: usize,
}

#[derive(Debug, Clone)]
enum Kind {
    Sequential,
    Shuffled,
    Blocks(block::Layout),
    Groups(Arc<grouped::Groups>),
    Weights(Arc<weighted::AliasTable>),
}

impl Order {
    /// Every epoch visits `0, 1, …, len - 1`.
    pub fn sequential(len: usize) -> Self {
        Self::new(Kind::Sequential, len, 0)
    }

    /// Every epoch visits all `len` samples once, in an order of its own that follows from `seed`.
    pub fn shuffled(len: usize, seed: u64) -> Self {
        Self::new(Kind::Shuffled, len, seed)
    }

    fn new(kind: Kind, samples: usize, seed: u64) -> Self {
        Self {
            kind,
            seed,
            samples,
            skip: 0,
            len: samples,
        }
    }

    /// The number of samples of the source that the order was made for. All indices are below it.
    pub fn samples(&self) -> usize {
        self.samples
    }

    /// Positions in an epoch: as many as there are samples, unless [`take`](Self::take) or
    /// [`skip`](Self::skip) changed that.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a length to compute with, not a container's"
    )]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Leaves out the first `positions` of every epoch. An order that visits each sample once becomes shorter by
    /// as many; the others have no end, and their epochs stay as long as they are.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there are not so many positions.
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// let order = Order::sequential(10).skip(3)?.take(2)?;
    /// let epoch = order.epoch(0);
    /// assert_eq!([epoch.index(0), epoch.index(1)], [3, 4]);
    /// assert_eq!((order.len(), order.samples()), (2, 10));
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn skip(mut self, positions: usize) -> Result<Self> {
        if self.visits_once() {
            let Some(rest) = self.len.checked_sub(positions) else {
                let expected = format!("at most {}, the samples of an epoch", self.len);
                return Err(invalid("number of skipped samples", positions, expected));
            };
            (self.skip, self.len) = (self.skip + positions, rest);
        } else {
            // The end must be countable, too.
            let end = positions.checked_add(self.skip + self.len);
            let Some(end) = end else {
                let expected = "a number that leaves positions to count";
                return Err(invalid("number of skipped samples", positions, expected));
            };
            self.skip = end - self.len;
        }
        Ok(self)
    }

    /// Makes every epoch `positions` long. Orders that draw samples again and again can be longer than the
    /// source; those that visit each sample once cannot.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `positions` is 0, or more than there are.
    pub fn take(mut self, positions: usize) -> Result<Self> {
        let (most, why) = if self.visits_once() {
            (self.len, "the samples of an epoch")
        } else {
            (usize::MAX - self.skip, "what can be counted")
        };
        if positions == 0 || positions > most {
            let expected = format!("from 1 to {most}, {why}");
            return Err(invalid("number of taken samples", positions, expected));
        }
        self.len = positions;
        Ok(self)
    }

    fn visits_once(&self) -> bool {
        match self.kind {
            Kind::Sequential | Kind::Shuffled | Kind::Blocks(_) => true,
            Kind::Groups(_) | Kind::Weights(_) => false,
        }
    }

    /// The order of one epoch.
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// let epoch = Order::shuffled(5, 42).epoch(0);
    /// let mut visited: Vec<usize> = (0..5).map(|position| epoch.index(position)).collect();
    /// visited.sort();
    /// assert_eq!(visited, [0, 1, 2, 3, 4]);
    /// ```
    pub fn epoch(&self, epoch: u64) -> EpochOrder {
        let mut random = Random::new([ORDER, self.seed, epoch]);
        let kind = match &self.kind {
            Kind::Sequential => EpochKind::Sequential,
            Kind::Shuffled => {
                EpochKind::Shuffled(Permutation::new(self.samples as u64, random.next_u64()))
            }
            Kind::Blocks(layout) => EpochKind::Blocks(layout.epoch(random)),
            Kind::Groups(groups) => EpochKind::Groups(Arc::clone(groups), random.next_u64()),
            Kind::Weights(table) => EpochKind::Weights(Arc::clone(table), random.next_u64()),
        };
        EpochOrder {
            kind,
            skip: self.skip,
            len: self.len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One order of each kind, for the same number of samples.
    pub(super) fn orders(samples: usize, seed: u64) -> [Order; 6] {
        [
            Order::sequential(samples),
            Order::shuffled(samples, seed),
            Order::block_shuffled(samples, 7, 3, seed).unwrap(),
            Order::class_balanced((0..samples).map(|i| i as u32 % 3), 3, seed).unwrap(),
            Order::mixed(&[(samples / 2, 1), (samples - samples / 2, 2)], seed).unwrap(),
            Order::weighted(&vec![1.0; samples], seed).unwrap(),
        ]
    }

    fn draws(order: &Order, epoch: u64) -> Vec<Draw> {
        let epoch = order.epoch(epoch);
        (0..order.len())
            .map(|position| epoch.draw(position))
            .collect()
    }

    proptest! {
        #[test]
        fn taking_and_skipping_cut_a_piece_out_of_the_epoch(
            samples in 2usize..200, seed: u64, a in 0usize..200, b in 0usize..200,
        ) {
            let (start, end) = (a.min(b) % samples, a.max(b) % samples);
            prop_assume!(start < end);
            for order in orders(samples, seed) {
                let whole = draws(&order, 1);
                let piece = order.skip(start).unwrap().take(end - start).unwrap();
                prop_assert_eq!(piece.samples(), samples);
                prop_assert_eq!(&draws(&piece, 1), &whole[start..end]);
            }
        }

        #[test]
        fn no_sample_is_drawn_twice_with_the_same_number(samples in 2usize..200, seed: u64) {
            for order in orders(samples, seed) {
                let order = if order.visits_once() { order } else { order.take(3 * samples).unwrap() };
                let all = draws(&order, 0);
                prop_assert!(all.iter().all(|draw| draw.index < samples));
                let distinct: std::collections::HashSet<_> = all.iter().collect();
                prop_assert_eq!(distinct.len(), all.len());
            }
        }
    }

    #[test]
    fn orders_never_change_between_versions() {
        // Golden from here on: whoever resumes a run with a newer version must see the same samples. The numbers
        // are those of a second implementation, in Python.
        let first = |order: Order, epoch| -> Vec<usize> {
            let epoch = order.epoch(epoch);
            (0..order.len().min(8))
                .map(|position| epoch.index(position))
                .collect()
        };
        assert_eq!(
            first(Order::shuffled(50_000, 42), 0),
            [48_673, 5315, 45_013, 25_507, 12_108, 31_512, 37_564, 38_642]
        );
        assert_eq!(
            first(Order::shuffled(50_000, 42), 1),
            [23_240, 3517, 15_819, 32_914, 6977, 27_189, 21_433, 5180]
        );
        assert_eq!(first(Order::shuffled(8, 0), 3), [2, 7, 4, 5, 3, 6, 1, 0]);
        let [_, _, blocks, balanced, mixed, weighted] = orders(1000, 42);
        assert_eq!(first(blocks, 1), [75, 713, 77, 266, 261, 712, 73, 71]);
        assert_eq!(first(balanced, 1), [896, 349, 702, 950, 480, 874, 623, 694]);
        assert_eq!(first(mixed, 1), [553, 853, 213, 691, 496, 514, 906, 803]);
        assert_eq!(first(weighted, 1), [840, 92, 301, 331, 138, 54, 175, 725]);
    }

    #[test]
    fn every_epoch_and_every_seed_has_an_order_of_its_own() {
        let same =
            |a: &[Draw], b: &[Draw]| a.iter().zip(b).filter(|(a, b)| a.index == b.index).count();
        for (order, other) in orders(1000, 7).into_iter().zip(orders(1000, 8)).skip(1) {
            let (a, b) = (draws(&order, 0), draws(&order, 1));
            assert!(same(&a, &b) < 12, "{order:?}: {}", same(&a, &b));
            assert!(same(&a, &draws(&other, 0)) < 12, "{order:?}");
            assert_eq!(draws(&order, 1), b);
        }
    }

    #[test]
    fn lengths_that_an_order_does_not_have_are_errors() {
        let once = Order::shuffled(10, 0);
        assert_eq!(once.clone().skip(4).unwrap().len(), 6);
        let error = once.clone().skip(4).unwrap().take(7).unwrap_err();
        assert!(error.to_string().contains("from 1 to 6"), "{error}");
        assert!(once.clone().skip(11).is_err());
        assert!(once.clone().take(0).is_err());
        assert!(once.take(11).is_err());

        let endless = Order::weighted(&[1.0, 2.0], 0).unwrap();
        assert_eq!(endless.clone().skip(4).unwrap().len(), 2);
        assert_eq!(endless.clone().take(100).unwrap().len(), 100);
        assert!(endless.clone().take(0).is_err());
        assert!(endless.clone().skip(usize::MAX).is_err());
        assert!(endless.skip(5).unwrap().take(usize::MAX).is_err());
    }

    #[test]
    fn printing_an_order_does_not_print_its_tables() {
        for order in orders(1000, 7) {
            assert!(format!("{order:?}").len() < 300, "{order:?}");
            let epoch = order.epoch(0);
            assert!(format!("{epoch:?}").len() < 700, "{epoch:?}");
        }
    }
}
