//! A slot that several workers fill at once.

use std::ops::Range;

use super::Slot;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::transform::Element;

/// A slot cut into parts of consecutive rows. Each part is handed out once, to whichever worker comes first.
pub(crate) struct SharedSlot<T> {
    slot: Slot<T>,
    vectors: Vectors<T>,
    elements: usize,
    rows: usize,
    rows_per_part: usize,
    /// Parts that were handed out.
    claimed: AtomicUsize,
    /// Parts that are not done yet.
    left: AtomicUsize,
}

/// Where a slot's vectors have their elements, taken once: parts do not go through the vectors, which no thread may
/// borrow while another writes. An address stays right when the vector itself is moved, which moves no element.
struct Vectors<T> {
    pixels: *mut T,
    labels: *mut u32,
    indices: *mut usize,
    repeats: *mut u64,
}

// SAFETY: the elements may be sent, and belong to a slot that goes where the addresses go.
unsafe impl<T: Send> Send for Vectors<T> {}
// SAFETY: through a shared reference, elements are reached in `claim` alone, which hands each to one thread.
unsafe impl<T: Send> Sync for Vectors<T> {}

/// Some rows of a slot, for one worker alone.
#[derive(Debug)]
pub(crate) struct Part<'a, T> {
    /// Where the rows are in the slot.
    pub(crate) rows: Range<usize>,
    pub(crate) pixels: &'a mut [T],
    pub(crate) labels: &'a mut [u32],
    pub(crate) indices: &'a mut [usize],
    pub(crate) repeats: &'a mut [u64],
}

impl<T: Element> SharedSlot<T> {
    pub(crate) fn new(mut slot: Slot<T>, parts: usize) -> Self {
        slot.refit();
        let rows = slot.size.rows;
        let rows_per_part = rows.div_ceil(parts.max(1)).max(1);
        let elements = slot.size.shape.elements();
        // What `claim` relies on.
        assert!(slot.pixels.len() == rows * elements);
        assert!(slot.labels.len() == rows);
        assert!(slot.indices.len() == rows && slot.repeats.len() == rows);
        Self {
            vectors: Vectors {
                pixels: slot.pixels.as_mut_ptr(),
                labels: slot.labels.as_mut_ptr(),
                indices: slot.indices.as_mut_ptr(),
                repeats: slot.repeats.as_mut_ptr(),
            },
            elements,
            rows,
            rows_per_part,
            claimed: AtomicUsize::new(0),
            left: AtomicUsize::new(rows.div_ceil(rows_per_part)),
            slot,
        }
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.rows.div_ceil(self.rows_per_part)
    }

    /// The next part, until all are handed out.
    pub(crate) fn claim(&self) -> Option<Part<'_, T>> {
        // Relaxed: who gets a number is all that matters; the slot itself came here through a lock.
        let number = self.claimed.fetch_add(1, Ordering::Relaxed);
        if number >= self.parts() {
            return None;
        }
        let start = number * self.rows_per_part;
        let rows = start..(start + self.rows_per_part).min(self.rows);
        let (count, elements) = (rows.len(), self.elements);
        let Vectors {
            pixels,
            labels,
            indices,
            repeats,
        } = self.vectors;
        // SAFETY: `rows` lies below `self.rows`, and the vectors have as many rows, as `new` made sure. They neither move
        // their elements nor drop them while `self` is borrowed, as nothing but `into_slot` touches them, which takes
        // `self`. No other part has one of these rows, as every number below `parts()` is handed out once.
        unsafe {
            Some(Part {
                pixels: std::slice::from_raw_parts_mut(
                    pixels.add(start * elements),
                    count * elements,
                ),
                labels: std::slice::from_raw_parts_mut(labels.add(start), count),
                indices: std::slice::from_raw_parts_mut(indices.add(start), count),
                repeats: std::slice::from_raw_parts_mut(repeats.add(start), count),
                rows,
            })
        }
    }

    /// Says that a claimed part is filled. `true` for the last one: what all threads wrote is then visible.
    pub(crate) fn finish(&self, _part: Part<'_, T>) -> bool {
        self.left.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The slot, when no part is in use any more.
    pub(crate) fn into_slot(self) -> Slot<T> {
        self.slot
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::batch::SlotSize;
    use crate::source::Shape;
    use proptest::prelude::*;

    fn slot(rows: usize) -> Slot<u8> {
        let shape = Shape::new(1, 1, 3);
        Slot::new(0, SlotSize { rows, shape })
    }

    proptest! {
        // Miri is slow, and looks at memory rather than at cases.
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

        #[test]
        fn every_row_belongs_to_one_part(rows in 1usize..50, parts in 1usize..60) {
            let shared = SharedSlot::new(slot(rows), parts);
            let mut claimed = Vec::new();
            while let Some(part) = shared.claim() {
                prop_assert_eq!(part.pixels.len(), part.rows.len() * 3);
                prop_assert_eq!(part.labels.len(), part.rows.len());
                claimed.push(part);
            }
            prop_assert!(claimed.len() <= parts);
            let all: Vec<usize> = claimed.iter().flat_map(|part| part.rows.clone()).collect();
            prop_assert!(all.into_iter().eq(0..rows));
            let last = claimed.len();
            for (count, part) in claimed.into_iter().enumerate() {
                prop_assert_eq!(shared.finish(part), count + 1 == last);
            }
        }
    }

    #[test]
    fn what_many_threads_write_is_in_the_slot() {
        let shared = SharedSlot::new(slot(40), 13);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Some(part) = shared.claim() {
                        for (pixels, row) in part.pixels.chunks_mut(3).zip(part.rows.clone()) {
                            pixels.fill(row as u8);
                        }
                        part.labels.fill(7);
                    }
                });
            }
        });
        let slot = shared.into_slot();
        let expected: Vec<u8> = (0..40).flat_map(|row| [row; 3]).collect();
        assert_eq!((slot.pixels, slot.labels), (expected, vec![7; 40]));
    }
}

#[cfg(all(test, shuttle))]
mod interleavings {
    use super::*;
    use crate::batch::SlotSize;
    use crate::source::Shape;
    use std::sync::Arc;

    #[test]
    fn every_part_is_handed_out_once_and_one_thread_is_the_last() {
        let model = || {
            let (rows, parts, shape) = (5, 3, Shape::new(1, 1, 1));
            let shared = Arc::new(SharedSlot::new(
                Slot::<u8>::new(0, SlotSize { rows, shape }),
                parts,
            ));
            let filled = Arc::new(AtomicUsize::new(0));
            let work = |number: u32| {
                let (shared, filled) = (Arc::clone(&shared), Arc::clone(&filled));
                move || {
                    let mut last = 0;
                    while let Some(part) = shared.claim() {
                        let rows = part.rows.clone();
                        part.pixels
                            .iter_mut()
                            .zip(rows.clone())
                            .for_each(|(pixel, row)| *pixel += row as u8);
                        part.labels.fill(number);
                        filled.fetch_add(rows.len(), Ordering::Relaxed);
                        if shared.finish(part) {
                            // Who is the last finds all rows filled.
                            assert_eq!(filled.load(Ordering::Relaxed), 5);
                            last += 1;
                        }
                    }
                    last
                }
            };
            let threads = [1, 2, 3].map(|number| shuttle::thread::spawn(work(number)));
            assert_eq!(
                threads
                    .map(|thread| thread.join().unwrap())
                    .iter()
                    .sum::<i32>(),
                1
            );
            let slot = Arc::into_inner(shared).unwrap().into_slot();
            // Written once: `+=` would show a second time.
            assert_eq!(slot.pixels, [0, 1, 2, 3, 4]);
            assert!(slot.labels.iter().all(|label| (1..=3).contains(label)));
        };
        shuttle::check_random(model, 2000);
        shuttle::check_pct(model, 2000, 3);
    }
}
