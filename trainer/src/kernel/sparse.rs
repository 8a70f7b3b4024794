//! The gradients of a convolution whose output went into a max-pool, so that most gradients by its output are 0.

use super::entries::{Entries, List};
use super::{Isa, Kernel, Vector, run, tile};

/// Adds the gradients by the weights, `[filter][kernel row][padded segment]`, and by the biases. Numbers beyond a
/// segment are anything.
///
/// `input` is the convolution's, with [`SLACK`](super::shape::SLACK).
pub(crate) fn weight_gradient(
    isa: Isa,
    entries: &Entries,
    input: &[f32],
    sums: &mut [f32],
    bias: &mut [f32],
) {
    let shape = entries.shape();
    assert!(input.len() >= shape.input.len() + super::shape::SLACK);
    assert_eq!(sums.len(), shape.output.channels * shape.padded_filter());
    assert!(bias.len() >= shape.output.channels);
    let gradient = WeightGradient {
        entries,
        input,
        sums,
        bias,
    };
    run(isa, gradient);
}

/// Adds the gradients by the input: a picture with [`SLACK`](super::shape::SLACK), as the convolution's input.
///
/// `weights` are `[filter][kernel row][padded segment]`, 0 beyond a segment.
pub(crate) fn data_gradient(isa: Isa, entries: &Entries, weights: &[f32], d_input: &mut [f32]) {
    let shape = entries.shape();
    assert_eq!(weights.len(), shape.output.channels * shape.padded_filter());
    assert!(d_input.len() >= shape.input.len() + shape.overreach());
    let gradient = DataGradient {
        entries,
        weights,
        d_input,
    };
    run(isa, gradient);
}

struct WeightGradient<'a> {
    entries: &'a Entries,
    input: &'a [f32],
    sums: &'a mut [f32],
    bias: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let shape = self.entries.shape();
        let filters = 0..shape.output.channels;
        let windows = Windows {
            rows: shape.kernel,
            columns: shape.padded_segment(),
            from: self.input.as_ptr(),
            from_row: shape.input.row(),
            to: self.sums.as_mut_ptr(),
            to_row: shape.padded_segment(),
            widest: usize::MAX,
        };
        let lists = filters.clone().map(|filter| {
            let list = self.entries.of_filter(filter);
            (list, filter * shape.padded_filter())
        });
        // SAFETY: the processor is the caller's. The entries' windows lie in the input, and what a padded segment has
        // more than a segment does not reach beyond the slack.
        unsafe { windows.add::<V>(lists) };
        for (filter, bias) in filters.zip(self.bias) {
            // SAFETY: the processor is the caller's.
            *bias += unsafe { sum::<V>(self.entries.of_filter(filter).gradients) };
        }
    }
}

struct DataGradient<'a> {
    entries: &'a Entries,
    weights: &'a [f32],
    d_input: &'a mut [f32],
}

impl Kernel for DataGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let shape = self.entries.shape();
        let windows = Windows {
            rows: shape.kernel,
            columns: shape.padded_segment(),
            from: self.weights.as_ptr(),
            from_row: shape.padded_segment(),
            to: self.d_input.as_mut_ptr(),
            to_row: shape.input.row(),
            widest: CACHED / shape.output.channels,
        };
        let lists = (0..shape.output.pixels()).map(|pixel| {
            let window = shape.window(pixel / shape.output.width, pixel % shape.output.width);
            (self.entries.of_pixel(pixel), window)
        });
        let lists = lists.filter(|(list, _)| !list.offsets.is_empty());
        // SAFETY: the processor is the caller's. The entries' filters are those of the weights. The windows lie in the
        // input, and what a padded segment has more than a segment does not reach beyond the slack.
        unsafe { windows.add::<V>(lists) };
    }
}

/// So many numbers stay in the cache nearest to the processor, with room for others.
const CACHED: usize = 6144;

/// The sum of many numbers, a register of them at a time.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn sum<V: Vector>(numbers: &[f32]) -> f32 {
    let registers = numbers.chunks_exact(V::LANES);
    let rest: f32 = registers.remainder().iter().sum();
    // SAFETY: the caller's.
    unsafe {
        let mut sum = V::zero();
        for register in registers {
            sum = sum.add(V::load(register.as_ptr()));
        }
        V::sums([sum, V::zero(), V::zero(), V::zero()])[0] + rest
    }
}

/// Sums of windows, each times the gradient of an entry. For each list, with the place of its result:
/// `to[place + row · to_row ..] += Σ gradient · from[offset + row · from_row ..]`, `columns` numbers of each row.
struct Windows {
    rows: usize,
    columns: usize,
    from: *const f32,
    from_row: usize,
    to: *mut f32,
    to_row: usize,
    /// Numbers of a tile at most, but for the smallest tiles.
    widest: usize,
}

impl Windows {
    /// Cuts the windows into tiles of sums that stay in registers while all lists are run through.
    ///
    /// # Safety
    ///
    /// As [`Vector`]'s, for all numbers that are read and written. There are whole registers of columns.
    #[inline(always)]
    unsafe fn add<'a, V: Vector>(&self, lists: impl Iterator<Item = (List<'a>, usize)> + Clone) {
        let mut column = 0;
        while column < self.columns {
            let lists = lists.clone();
            // SAFETY: the caller's.
            column += V::LANES
                * unsafe {
                    match (self.columns - column) / V::LANES {
                        20.. if self.fits::<V>(20) => self.tiles::<V, 20>(column, lists),
                        12.. if self.fits::<V>(12) => self.tiles::<V, 12>(column, lists),
                        6.. if self.fits::<V>(6) => self.tiles::<V, 6>(column, lists),
                        4.. => self.tiles::<V, 4>(column, lists),
                        2.. => self.tiles::<V, 2>(column, lists),
                        _ => self.tiles::<V, 1>(column, lists),
                    }
                };
        }
    }

    /// Whether so many registers of sums may be a tile.
    #[inline(always)]
    fn fits<V: Vector>(&self, registers: usize) -> bool {
        registers <= tile::ROWS * V::WIDEST && registers * V::LANES <= self.widest
    }

    /// All rows of `WIDE` registers of columns, as many at a time as can be. Returns `WIDE`.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add)'s.
    #[inline(always)]
    unsafe fn tiles<'a, V: Vector, const WIDE: usize>(
        &self,
        column: usize,
        lists: impl Iterator<Item = (List<'a>, usize)> + Clone,
    ) -> usize {
        let mut row = 0;
        while row < self.rows {
            let lists = lists.clone();
            // SAFETY: the caller's.
            row += unsafe {
                match self.rows - row {
                    5.. if self.fits::<V>(5 * WIDE) => self.tile::<V, 5, WIDE>(row, column, lists),
                    3.. if self.fits::<V>(3 * WIDE) => self.tile::<V, 3, WIDE>(row, column, lists),
                    _ => self.tile::<V, 1, WIDE>(row, column, lists),
                }
            };
        }
        WIDE
    }

    /// `ROWS` rows of `WIDE` registers of columns. Returns `ROWS`.
    ///
    /// # Safety
    ///
    /// As [`add`](Self::add)'s.
    #[inline(always)]
    unsafe fn tile<'a, V: Vector, const ROWS: usize, const WIDE: usize>(
        &self,
        row: usize,
        column: usize,
        lists: impl Iterator<Item = (List<'a>, usize)>,
    ) -> usize {
        let from = self.from.wrapping_add(row * self.from_row + column);
        let to = self.to.wrapping_add(row * self.to_row + column);
        for (list, place) in lists {
            // SAFETY: the caller's.
            unsafe {
                let mut sums = [[V::zero(); WIDE]; ROWS];
                for (&offset, &gradient) in list.offsets.iter().zip(list.gradients) {
                    let factor = V::splat(gradient);
                    let from = from.add(offset as usize);
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let from = from.add(row * self.from_row);
                        for (wide, sum) in sums.iter_mut().enumerate() {
                            *sum = factor.mul_add(V::load(from.add(wide * V::LANES)), *sum);
                        }
                    }
                }
                let to = to.add(place);
                for (row, sums) in sums.iter().enumerate() {
                    let to = to.add(row * self.to_row);
                    for (wide, sum) in sums.iter().enumerate() {
                        let to = to.add(wide * V::LANES);
                        V::load(to).add(*sum).store(to);
                    }
                }
            }
        }
        ROWS
    }
}

#[cfg(test)]
mod tests;
