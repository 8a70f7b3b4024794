//! From pixels to values at pairs of points, and from products at pairs of points to pixels.

#![expect(
    clippy::needless_range_loop,
    reason = "columns become rows, which no iterator of one of them says"
)]

use super::points::Points;
use crate::kernel::Vector;

/// A tile of the input.
#[derive(Clone, Copy)]
pub(super) struct Patch<const POINTS: usize> {
    pub(super) from: *const f32,
    /// Numbers from one row to the next.
    pub(super) row: usize,
    /// Numbers from one pixel to the next.
    pub(super) pixel: usize,
}

impl<const POINTS: usize> Patch<POINTS> {
    /// # Safety
    ///
    /// As [`Vector`]'s.
    #[inline(always)]
    unsafe fn column<V: Vector>(self, x: usize) -> [V; POINTS] {
        // SAFETY: the caller's.
        unsafe {
            let mut column = [V::zero(); POINTS];
            for (y, pixel) in column.iter_mut().enumerate() {
                *pixel = V::load(self.from.add(y * self.row + x * self.pixel));
            }
            column
        }
    }
}

/// # Safety
///
/// As [`Vector`]'s; all pixels of the patch can be read, and a register can be written to each of the planes.
#[inline(always)]
pub(super) unsafe fn transform_input<V: Vector, const POINTS: usize>(
    patch: Patch<POINTS>,
    to: *mut f32,
    plane: usize,
) {
    // The patch is read again for every one or two rows of values: all of them would not stay in registers.
    // SAFETY: the caller's.
    unsafe {
        let to = |row: usize| to.add(row * POINTS * plane);
        let mut rows = [[V::zero(); POINTS]; 2];
        for x in 0..POINTS {
            rows[0][x] = value_at_zero(patch.column(x));
        }
        store(input_values(rows[0]), to(0), plane);
        for pair in 0..Points::<POINTS>::PAIRS {
            for x in 0..POINTS {
                [rows[0][x], rows[1][x]] = values_at_pair(patch.column(x), pair);
            }
            store(input_values(rows[0]), to(1 + 2 * pair), plane);
            store(input_values(rows[1]), to(2 + 2 * pair), plane);
        }
        for x in 0..POINTS {
            rows[0][x] = value_at_infinity(patch.column(x));
        }
        store(input_values(rows[0]), to(POINTS - 1), plane);
    }
}

/// The transpose of interpolation: Bᵀ of the paper.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn input_values<V: Vector, const POINTS: usize>(row: [V; POINTS]) -> [V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [V::zero(); POINTS];
        values[0] = value_at_zero(row);
        for pair in 0..Points::<POINTS>::PAIRS {
            [values[1 + 2 * pair], values[2 + 2 * pair]] = values_at_pair(row, pair);
        }
        values[POINTS - 1] = value_at_infinity(row);
        values
    }
}

/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn value_at_zero<V: Vector, const POINTS: usize>(row: [V; POINTS]) -> V {
    // SAFETY: the caller's.
    unsafe { combine(&Points::<POINTS>::ALL, Points::<POINTS>::PAIRS, row, 0) }
}

/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn value_at_infinity<V: Vector, const POINTS: usize>(row: [V; POINTS]) -> V {
    // SAFETY: the caller's.
    unsafe { combine(&Points::<POINTS>::ALL, Points::<POINTS>::PAIRS, row, 1) }
}

/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn values_at_pair<V: Vector, const POINTS: usize>(row: [V; POINTS], pair: usize) -> [V; 2] {
    let point = Points::<POINTS>::POSITIVE[pair];
    let others = &Points::<POINTS>::OTHERS[pair];
    // SAFETY: the caller's.
    unsafe {
        let even = combine(others, Points::<POINTS>::PAIRS - 1, row, 2);
        let odd = combine(others, Points::<POINTS>::PAIRS - 1, row, 1);
        [
            odd.mul_add(V::splat(point), even),
            odd.mul_add(V::splat(-point), even),
        ]
    }
}

/// The sum of every other number of the row from `first` on, times the coefficients of a polynomial that begins with 1.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn combine<V: Vector, const POINTS: usize>(
    coefficients: &[f32; 4],
    degree: usize,
    row: [V; POINTS],
    first: usize,
) -> V {
    let mut sum = row[first + 2 * degree];
    for lower in (0..degree).rev() {
        // SAFETY: the caller's.
        unsafe { sum = row[first + 2 * lower].mul_add(V::splat(coefficients[lower]), sum) }
    }
    sum
}

/// # Safety
///
/// As [`Vector`]'s; a register can be written to each of the planes.
#[inline(always)]
pub(super) unsafe fn store<V: Vector, const POINTS: usize>(
    values: [V; POINTS],
    to: *mut f32,
    plane: usize,
) {
    for (x, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { value.store(to.add(x * plane)) }
    }
}

/// # Safety
///
/// As [`Vector`]'s; a register can be read from each of the planes.
#[inline(always)]
pub(super) unsafe fn transform_products<V: Vector, const POINTS: usize, const OUTPUTS: usize>(
    from: *const f32,
    plane: usize,
) -> [[V; OUTPUTS]; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[V::zero(); POINTS]; OUTPUTS];
        for x in 0..POINTS {
            let mut column = [V::zero(); POINTS];
            for (y, product) in column.iter_mut().enumerate() {
                *product = V::load(from.add((y * POINTS + x) * plane));
            }
            let pixels: [V; OUTPUTS] = outputs(column);
            for (row, pixel) in rows.iter_mut().zip(pixels) {
                row[x] = pixel;
            }
        }
        let mut pixels = [[V::zero(); OUTPUTS]; OUTPUTS];
        for (pixels, row) in pixels.iter_mut().zip(rows) {
            *pixels = outputs(row);
        }
        pixels
    }
}

/// The transpose of taking values: Aᵀ of the paper.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn outputs<V: Vector, const POINTS: usize, const OUTPUTS: usize>(
    row: [V; POINTS],
) -> [V; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        // All powers of the first pair are 1 or -1.
        let halves = [row[1].add(row[2]), row[1].sub(row[2])];
        let mut outputs = [V::zero(); OUTPUTS];
        for (degree, output) in outputs.iter_mut().enumerate() {
            *output = halves[degree % 2];
        }
        for pair in 1..Points::<POINTS>::PAIRS {
            let (plus, minus) = (row[1 + 2 * pair], row[2 + 2 * pair]);
            let halves = [plus.add(minus), plus.sub(minus)];
            let mut power = 1.0;
            for (degree, output) in outputs.iter_mut().enumerate() {
                *output = halves[degree % 2].mul_add(V::splat(power), *output);
                power *= Points::<POINTS>::POSITIVE[pair];
            }
        }
        outputs[0] = outputs[0].add(row[0]);
        outputs[OUTPUTS - 1] = outputs[OUTPUTS - 1].add(row[POINTS - 1]);
        outputs
    }
}
