//! The order of one epoch.

use std::sync::Arc;

#[cfg(doc)]
use super::Order;
use super::Permutation;
use super::block::EpochBlocks;
use super::grouped::Groups;
use super::weighted::AliasTable;

/// What stands at one position of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Draw {
    /// The index of the sample.
    pub index: usize,
    /// Tells the draws of one sample in one epoch apart, so that each can be augmented in its own way: 0 in orders
    /// that visit each sample once, else the number of the cycle ([`Order::grouped`]) or of the draw
    /// ([`Order::weighted`]).
    pub repeat: u64,
}

impl Draw {
    pub(super) fn once(index: usize) -> Self {
        Self { index, repeat: 0 }
    }
}

/// The order of one epoch: a function from positions to samples. Cheap to clone: tables are shared.
#[derive(Debug, Clone)]
pub struct EpochOrder {
    pub(super) kind: EpochKind,
    pub(super) skip: usize,
    pub(super) len: usize,
}

/// The numbers are keys.
#[derive(Debug, Clone)]
pub(super) enum EpochKind {
    Sequential,
    Shuffled(Permutation),
    Blocks(EpochBlocks),
    Groups(Arc<Groups>, u64),
    Weights(Arc<AliasTable>, u64),
}

impl EpochOrder {
    /// The sample at `position`, and which draw of it this is.
    ///
    /// # Panics
    ///
    /// Panics if `position` is not below the length of the epoch.
    pub fn draw(&self, position: usize) -> Draw {
        self.draw_absolute(self.absolute(position))
    }

    fn draw_absolute(&self, position: usize) -> Draw {
        match &self.kind {
            EpochKind::Sequential => Draw::once(position),
            EpochKind::Shuffled(permutation) => {
                Draw::once(permutation.apply(position as u64) as usize)
            }
            EpochKind::Blocks(blocks) => Draw::once(blocks.index(position)),
            EpochKind::Groups(groups, key) => groups.draw(*key, position as u64),
            EpochKind::Weights(table, key) => table.draw(*key, position as u64),
        }
    }

    /// Replaces what is in `draws` by the [`draw`](Self::draw)s at `positions`. Where the order is
    /// [`block_shuffled`](Order::block_shuffled), that takes less time than one draw after the other, if positions that
    /// follow each other lie in one window.
    ///
    /// # Panics
    ///
    /// As [`draw`](Self::draw).
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// let epoch = Order::block_shuffled(1000, 10, 4, 42)?.epoch(0);
    /// let mut draws = Vec::new();
    /// epoch.draw_into(100..164, &mut draws);
    /// assert_eq!((draws.len(), draws[7]), (64, epoch.draw(107)));
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn draw_into(&self, positions: impl Iterator<Item = usize>, draws: &mut Vec<Draw>) {
        draws.clear();
        let positions = positions.map(|position| self.absolute(position));
        if let EpochKind::Blocks(blocks) = &self.kind {
            draws.extend(positions.map(Draw::once));
            blocks.apply_to(draws);
        } else {
            draws.extend(positions.map(|position| self.draw_absolute(position)));
        }
    }

    /// The index of the sample at `position`; short for [`draw`](Self::draw).
    ///
    /// # Panics
    ///
    /// As [`draw`](Self::draw).
    pub fn index(&self, position: usize) -> usize {
        self.draw(position).index
    }

    /// The number of positions.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The position before anything was skipped.
    pub(super) fn absolute(&self, position: usize) -> usize {
        assert!(
            position < self.len,
            "position {position} of an epoch of {}",
            self.len
        );
        self.skip + position
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::orders;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_draws_at_once_are_those_one_by_one(
            samples in 2usize..200, seed: u64, skip in 0usize..100,
            positions in prop::collection::vec(0usize..200, 0..50), start in 0usize..200,
        ) {
            for order in orders(samples, seed) {
                let order = order.skip(skip % samples).unwrap();
                let epoch = order.epoch(1);
                // From anywhere to anywhere, and in a row as loaders draw.
                let scattered = positions.iter().map(|position| position % order.len()).collect();
                for positions in [scattered, (start.min(order.len())..order.len()).collect::<Vec<_>>()] {
                    let expected: Vec<_> = positions.iter().map(|&position| epoch.draw(position)).collect();
                    let mut draws = vec![Draw::once(7)];
                    epoch.draw_into(positions.into_iter(), &mut draws);
                    prop_assert_eq!(draws, expected);
                }
            }
        }
    }
}
