//! A shuffle that reads a file block by block: for files larger than memory.

use std::ops::Range;

use super::{Draw, Kind, Order, Permutation};
use crate::error::{Result, invalid};
use crate::random::Random;

impl Order {
    /// Every epoch visits all `len` samples once, in an order that reads the source in blocks of `block`
    /// consecutive samples and needs at most `window_blocks` of them, and a short one, at a time. Each epoch
    ///
    /// 1. cuts the source into blocks at a random offset, so that they begin elsewhere each time, and one wraps
    ///    around the end;
    /// 2. shuffles the blocks;
    /// 3. cuts the row of blocks into windows of at most `window_blocks`, as equal as whole blocks allow, and
    ///    shuffles the samples within each window. The short block that is left over belongs to the last one.
    ///
    /// Each sample comes at each position equally often, but samples of a block come close to each other. That
    /// is weaker than [`shuffled`](Self::shuffled) where neighbours in the file are alike; the worst case is a
    /// file that is sorted by class. Measured on 50,000 sorted samples of 10 classes, in blocks of 341 (1 MiB of
    /// CIFAR-10's records), as a mean of 5 epochs; χ² tells how far the classes in a batch of 128 are from equal
    /// numbers, and the mean move how far a sample comes from its place in the file, in lengths of the file:
    ///
    /// | window of at most | χ² of a batch | χ² of the worst | neighbours of one class | longest run | mean move |
    /// |---|---|---|---|---|---|
    /// | all samples, shuffled | 9 | 24 | 10 % | 5 | 33.3 % |
    /// | 64 blocks | 26 | 73 | 11 % | 6 | 33.7 % |
    /// | 16 blocks | 72 | 164 | 15 % | 7 | 33.1 % |
    /// | 4 blocks | 273 | 790 | 31 % | 23 | 33.1 % |
    /// | not shuffled | 1141 | 1152 | 100 % | 5000 | 0.0 % |
    ///
    /// Samples move as far as in a full shuffle, as blocks do; what is weaker is how they are mixed.
    /// A batch by chance has a χ² of 9, and one from a window of `w` blocks about 9 · (1 + 128 / `w`), or less where
    /// that is a good part of all blocks. So shuffle such files once when they are written, or take a window as
    /// large as memory allows; a window of all blocks is a full shuffle. Xu et al. ("In-Database Machine Learning
    /// with CorgiPile: Stochastic Gradient Descent without Full Data Shuffle", SIGMOD 2022) find that shuffled
    /// blocks, and a shuffled buffer of several of them, train about as well as a full shuffle.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `block` or `window_blocks` is 0.
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// let order = Order::block_shuffled(1000, 10, 4, 42)?;
    /// let epoch = order.epoch(0);
    /// let mut visited: Vec<usize> = (0..1000).map(|position| epoch.index(position)).collect();
    /// visited.sort();
    /// assert!(visited.into_iter().eq(0..1000));
    ///
    /// // The first 40 samples come from the four blocks of the first window.
    /// assert_eq!(epoch.windows(), 25);
    /// assert_eq!((epoch.window_of(39), epoch.window_of(40)), (Some(0), Some(1)));
    /// let first = epoch.index(0);
    /// assert!(epoch.window_ranges(0).any(|range| range.contains(&first)));
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn block_shuffled(
        len: usize,
        block: usize,
        window_blocks: usize,
        seed: u64,
    ) -> Result<Self> {
        if block == 0 {
            return Err(invalid("block", block, "at least 1 sample"));
        }
        if window_blocks == 0 {
            return Err(invalid("window", window_blocks, "at least 1 block"));
        }
        let layout = Layout::new(len, block, window_blocks);
        Ok(Self::new(Kind::Blocks(layout), len, seed))
    }
}

/// How many blocks there are, and how they make up windows: the same in all epochs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    len: usize,
    block: usize,
    /// Full blocks. What is left over is one short block, `len % block` long.
    blocks: usize,
    pub(super) windows: usize,
}

impl Layout {
    fn new(len: usize, block: usize, window_blocks: usize) -> Self {
        // A block that is too long is one of everything.
        let block = block.min(len.max(1));
        let blocks = len / block;
        Self {
            len,
            block,
            blocks,
            windows: blocks.div_ceil(window_blocks),
        }
    }

    /// The first block of a window. The first windows have one block more than the last ones, where the
    /// number of windows does not divide the number of blocks.
    fn first_block(&self, window: usize) -> usize {
        let (fewest, longer) = (self.blocks / self.windows, self.blocks % self.windows);
        window * fewest + window.min(longer)
    }

    pub(super) fn window_of(&self, position: usize) -> usize {
        // The short block belongs to the last window.
        let block = (position / self.block).min(self.blocks - 1);
        let (fewest, longer) = (self.blocks / self.windows, self.blocks % self.windows);
        let in_longer = longer * (fewest + 1);
        if block < in_longer {
            block / (fewest + 1)
        } else {
            longer + (block - in_longer) / fewest
        }
    }

    /// The positions of a window.
    fn positions(&self, window: usize) -> Range<usize> {
        let start = self.first_block(window) * self.block;
        if window + 1 == self.windows {
            start..self.len
        } else {
            start..self.first_block(window + 1) * self.block
        }
    }

    pub(super) fn epoch(self, mut random: Random) -> EpochBlocks {
        EpochBlocks {
            layout: self,
            offset: random.below(self.len.max(1) as u64) as usize,
            blocks: Permutation::new(self.blocks as u64, random.next_u64()),
            window_key: random.next_u64(),
        }
    }
}

/// The blocks of one epoch. A *place* is a sample's distance from the offset, around the end.
#[derive(Debug, Clone)]
pub(super) struct EpochBlocks {
    pub(super) layout: Layout,
    offset: usize,
    blocks: Permutation,
    window_key: u64,
}

impl EpochBlocks {
    pub(super) fn index(&self, position: usize) -> usize {
        let (positions, shuffle) = self.window(position);
        let shuffled = shuffle.apply((position - positions.start) as u64) as usize;
        self.at(positions.start + shuffled)
    }

    /// As [`index`](Self::index) for many positions, which are the draws' indices before. Each window's permutation is
    /// made once for those in a row, and not for each of them.
    pub(super) fn apply_to(&self, mut draws: &mut [Draw]) {
        while let Some(first) = draws.first() {
            let (positions, shuffle) = self.window(first.index);
            let inside = draws
                .iter()
                .take_while(|draw| positions.contains(&draw.index));
            let (run, rest) = draws.split_at_mut(inside.count());
            // One loop after the other, so that more of the work overlaps.
            for draw in run.iter_mut() {
                draw.index =
                    positions.start + shuffle.apply((draw.index - positions.start) as u64) as usize;
            }
            for draw in run {
                draw.index = self.at(draw.index);
            }
            draws = rest;
        }
    }

    /// The positions of the window that `position` lies in, and how they are shuffled.
    fn window(&self, position: usize) -> (Range<usize>, Permutation) {
        let window = self.layout.window_of(position);
        let positions = self.layout.positions(window);
        let key = Random::new([self.window_key, window as u64]).next_u64();
        let shuffle = Permutation::new(positions.len() as u64, key);
        (positions, shuffle)
    }

    /// The sample that comes at `position` if nothing but blocks is shuffled.
    fn at(&self, position: usize) -> usize {
        let block = self.layout.block;
        self.sample(self.place(position / block) + position % block)
    }

    /// The place at which the block starts that comes as number `block`.
    fn place(&self, block: usize) -> usize {
        if block < self.layout.blocks {
            self.blocks.apply(block as u64) as usize * self.layout.block
        } else {
            // The short block is the last one, and stays that.
            block * self.layout.block
        }
    }

    fn sample(&self, place: usize) -> usize {
        let before_end = self.layout.len - self.offset;
        if place < before_end {
            self.offset + place
        } else {
            place - before_end
        }
    }

    /// The samples of a window, block by block.
    pub(super) fn ranges(&self, window: usize) -> impl Iterator<Item = Range<usize>> {
        let (len, block) = (self.layout.len, self.layout.block);
        let positions = self.layout.positions(window);
        positions.clone().step_by(block).flat_map(move |position| {
            let samples = block.min(positions.end - position);
            let start = self.sample(self.place(position / block));
            let before_end = samples.min(len - start);
            [start..start + before_end, 0..samples - before_end]
                .into_iter()
                .filter(|range| !range.is_empty())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order(len: usize, block: usize, window: usize, seed: u64) -> Order {
        Order::block_shuffled(len, block, window, seed).unwrap()
    }

    fn sizes() -> impl Strategy<Value = (usize, usize, usize)> {
        (0usize..400, 1usize..50, 1usize..12)
    }

    proptest! {
        #[test]
        fn a_block_shuffle_is_a_bijection_for_any_sizes((len, block, window) in sizes(), seed: u64, epoch: u64) {
            let epoch = order(len, block, window, seed).epoch(epoch);
            let mut seen: Vec<usize> = (0..len).map(|position| epoch.index(position)).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }

        #[test]
        fn huge_lengths_stay_in_range(len in 1usize.., block in 1usize.., window in 1usize.., seed: u64, position: usize) {
            let epoch = order(len, block, window, seed).epoch(0);
            let position = position % len;
            let index = epoch.index(position);
            prop_assert!(index < len);
            let number = epoch.window_of(position).unwrap();
            prop_assert!(number < epoch.windows());
            prop_assert!(epoch.window_ranges(number).take(1000).all(|range| range.end <= len));
        }
    }

    #[test]
    fn every_sample_reaches_every_position_equally_often() {
        // As for a permutation: 10 samples, 20,000 epochs, chi-square of 81 degrees of freedom.
        for (block, window) in [(3, 1), (3, 2), (3, 9), (10, 1)] {
            let order = order(10, block, window, 1);
            let mut counts = [0u32; 100];
            for epoch in 0..20_000 {
                let epoch = order.epoch(epoch);
                (0..10).for_each(|position| counts[position * 10 + epoch.index(position)] += 1);
            }
            let chi: f64 = counts
                .iter()
                .map(|&c| (f64::from(c) - 2000.0).powi(2) / 2000.0)
                .sum();
            assert!(chi < 150.0, "block {block}, window {window}: {chi}");
        }
    }

    #[test]
    fn blocks_and_windows_of_nothing_are_errors() {
        assert!(Order::block_shuffled(10, 0, 1, 0).is_err());
        assert!(Order::block_shuffled(10, 1, 0, 0).is_err());
        assert_eq!(order(0, 5, 2, 0).epoch(0).windows(), 0);
    }
}
