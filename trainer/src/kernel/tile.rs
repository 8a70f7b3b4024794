//! The heart of every product: a tile of the result that stays in registers.

#![expect(
    clippy::needless_range_loop,
    reason = "arrays of registers that are indexed stay in registers; iterators may put them into memory"
)]

use super::Vector;

/// Rows of a tile.
pub(crate) const ROWS: usize = 6;

/// Adds to a tile of [`ROWS`] rows and `WIDE` registers the products of `count` columns of `a` and rows of `b`:
/// `tile[r] += Σₖ a[r][k · a_step] · b[k · b_step ..]`.
///
/// # Safety
///
/// As [`Vector`]'s; `a[r] + k · a_step` and `WIDE` registers from `b + k · b_step` can be read for all `k < count`.
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector, const WIDE: usize>(
    tile: &mut [[V; WIDE]; ROWS],
    a: [*const f32; ROWS],
    a_step: usize,
    b: *const f32,
    b_step: usize,
    count: usize,
) {
    let mut sums = *tile;
    let mut row = b;
    let mut offset = 0;
    for _ in 0..count {
        // SAFETY: the caller's.
        unsafe {
            let mut right = [V::zero(); WIDE];
            for wide in 0..WIDE {
                right[wide] = V::load(row.add(wide * V::LANES));
            }
            for r in 0..ROWS {
                let left = V::splat(*a[r].add(offset));
                for wide in 0..WIDE {
                    sums[r][wide] = left.mul_add(right[wide], sums[r][wide]);
                }
            }
        }
        row = row.wrapping_add(b_step);
        offset += a_step;
    }
    *tile = sums;
}

/// What is done to a panel of columns: `WIDE` registers from `column` on.
pub(crate) trait Panel {
    /// Computes the panel. Must be `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// As [`Kernel::run`]'s.
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize);
}

/// Cuts `columns`, which must be a multiple of [`V::LANES`](Vector::LANES), into panels as wide as can be.
///
/// # Safety
///
/// As [`Kernel::run`]'s.
#[inline(always)]
pub(crate) unsafe fn panels<V: Vector>(columns: usize, panel: &mut impl Panel) {
    let mut column = 0;
    // SAFETY: the caller's.
    unsafe {
        while V::WIDEST >= 4 && column + 4 * V::LANES <= columns {
            panel.run::<V, 4>(column);
            column += 4 * V::LANES;
        }
        while V::WIDEST >= 2 && column + 2 * V::LANES <= columns {
            panel.run::<V, 2>(column);
            column += 2 * V::LANES;
        }
        while column + V::LANES <= columns {
            panel.run::<V, 1>(column);
            column += V::LANES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{BLOCK, Isa, Kernel, run};

    /// Counts how often each column is in a panel.
    struct Count<'a>(&'a mut [u32]);

    impl Kernel for Count<'_> {
        type Output = ();

        #[inline(always)]
        unsafe fn run<V: Vector>(mut self) {
            // SAFETY: the caller's.
            unsafe { panels::<V>(self.0.len(), &mut self) }
        }
    }

    impl Panel for Count<'_> {
        #[inline(always)]
        unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
            assert!(WIDE <= V::WIDEST);
            let own = &mut self.0[column..][..WIDE * V::LANES];
            own.iter_mut().for_each(|count| *count += 1);
        }
    }

    #[test]
    fn every_column_is_in_one_panel() {
        for isa in Isa::available() {
            for blocks in 0..20 {
                let mut counts = vec![0; blocks * BLOCK];
                run(isa, Count(&mut counts));
                assert!(
                    counts.iter().all(|&count| count == 1),
                    "{isa:?}: {counts:?}"
                );
            }
        }
    }
}
