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
        let position = self.absolute(position);
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
