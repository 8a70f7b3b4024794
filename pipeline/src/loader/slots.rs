//! The memory of batches.

use super::tuner::Bounds;
use crate::batch::{Slot, SlotSize};
use crate::sync::channel::{Receiver, Sender, bounded};
use crate::transform::Element;

/// The memory of batches: as much of it as is wanted at the time.
pub(super) struct Slots<T: Element> {
    size: SlotSize,
    pub(super) free: (Sender<Slot<T>>, Receiver<Slot<T>>),
    /// How many there are.
    pub(super) count: usize,
    /// Numbers of those that there could be.
    unused: Vec<usize>,
}

impl<T: Element> Slots<T> {
    pub(super) fn new(size: SlotSize, count: Bounds) -> Self {
        let mut slots = Self {
            size,
            free: bounded(count.most),
            count: 0,
            unused: (0..count.most).rev().collect(),
        };
        slots.add(count.first);
        slots
    }

    /// Sets memory aside until there are `count` slots.
    pub(super) fn add(&mut self, count: usize) {
        while self.count < count
            && let Some(number) = self.unused.pop()
        {
            // The channel has room for all that there can be.
            let _ = self.free.0.send(Slot::new(number, self.size));
            self.count += 1;
        }
    }

    /// Gives the memory of a slot back.
    pub(super) fn remove(&mut self, slot: Slot<T>) {
        self.unused.push(slot.number);
        self.count -= 1;
    }
}
