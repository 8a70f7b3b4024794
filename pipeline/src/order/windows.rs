//! What to read ahead for a block shuffle: a window at a time.

use std::ops::Range;

use super::EpochOrder;
#[cfg(doc)]
use super::Order;
use super::block::EpochBlocks;
use super::epoch::EpochKind;

impl EpochOrder {
    /// The window that the sample at `position` comes from; `None` unless the order is
    /// [`block_shuffled`](Order::block_shuffled). It grows with the position, one by one.
    ///
    /// # Panics
    ///
    /// Panics if `position` is not below the length of the epoch.
    pub fn window_of(&self, position: usize) -> Option<usize> {
        let position = self.absolute(position);
        self.blocks()
            .map(|blocks| blocks.layout.window_of(position))
    }

    /// The number of windows; 0 unless the order is [`block_shuffled`](Order::block_shuffled). Those that
    /// [`Order::skip`] and [`Order::take`] leave out are counted, too.
    pub fn windows(&self) -> usize {
        self.blocks().map_or(0, |blocks| blocks.layout.windows)
    }

    /// The samples of a window, as one range for each of its blocks, or two for a block that wraps around the
    /// end: what to read ahead.
    ///
    /// # Panics
    ///
    /// Panics if `window` is not below the number of [`windows`](Self::windows).
    pub fn window_ranges(&self, window: usize) -> impl Iterator<Item = Range<usize>> {
        assert!(
            window < self.windows(),
            "window {window} of {}",
            self.windows()
        );
        self.blocks()
            .into_iter()
            .flat_map(move |blocks| blocks.ranges(window))
    }

    fn blocks(&self) -> Option<&EpochBlocks> {
        match &self.kind {
            EpochKind::Blocks(blocks) => Some(blocks),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Order;
    use proptest::prelude::*;

    fn order(len: usize, block: usize, window: usize, seed: u64) -> Order {
        Order::block_shuffled(len, block, window, seed).unwrap()
    }

    fn sizes() -> impl Strategy<Value = (usize, usize, usize)> {
        (0usize..400, 1usize..50, 1usize..12)
    }

    proptest! {
        #[test]
        fn the_samples_of_a_window_are_its_ranges((len, block, window) in sizes(), seed: u64) {
            let epoch = order(len, block, window, seed).epoch(3);
            let mut positions = 0..len;
            for number in 0..epoch.windows() {
                let mut read: Vec<usize> = epoch.window_ranges(number).flatten().collect();
                let mut used: Vec<usize> = positions
                    .by_ref()
                    .take(read.len())
                    .inspect(|&position| assert_eq!(epoch.window_of(position), Some(number)))
                    .map(|position| epoch.index(position))
                    .collect();
                read.sort_unstable();
                used.sort_unstable();
                prop_assert_eq!(read, used);
            }
            prop_assert_eq!(positions.next(), None);
        }

        #[test]
        fn windows_are_equal_and_keep_what_was_asked((len, block, window) in sizes(), seed: u64) {
            let epoch = order(len, block, window, seed).epoch(0);
            let sizes: Vec<usize> = (0..epoch.windows())
                .map(|number| epoch.window_ranges(number).map(|range| range.len()).sum::<usize>() / block)
                .collect();
            if let (Some(least), Some(most)) = (sizes.iter().min(), sizes.iter().max()) {
                prop_assert!(*most <= window && most - least <= 1, "{:?}", sizes);
            }
        }
    }

    #[test]
    fn other_orders_have_no_windows() {
        let epoch = Order::shuffled(10, 1).epoch(0);
        assert_eq!((epoch.windows(), epoch.window_of(3)), (0, None));
    }
}
