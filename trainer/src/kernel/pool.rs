//! Max-pooling.

use std::ops::Range;

use super::shape::Pool;
use super::{BLOCK, Isa, Kernel, Vector, run};

/// Takes the largest value of each window of one picture, and its place in the window: row by row, from 0.
///
/// Of equal values the first counts. NaN counts as the largest, so that a diverged network is noticed. Beyond the edge
/// is nothing. If `rectify`, the output is max(0, largest), and NaN stays.
pub(crate) fn forward(
    isa: Isa,
    pool: &Pool,
    rectify: bool,
    input: &[f32],
    output: &mut [f32],
    places: &mut [u8],
) {
    check(pool);
    assert_eq!(input.len(), pool.input.len());
    assert_eq!(output.len(), pool.output.len());
    assert_eq!(places.len(), pool.output.len());
    let forward = Forward {
        pool,
        rectify,
        input,
        output,
        places,
    };
    run(isa, forward);
}

/// Gives the gradient of each output to the input at its place, in place of what `d_input` was. The places are those
/// that [`forward`] found. With its `output` if that was rectified: then no gradient passes where it is not above 0.
pub(crate) fn backward(
    isa: Isa,
    pool: &Pool,
    rectified: Option<&[f32]>,
    places: &[u8],
    d_output: &[f32],
    d_input: &mut [f32],
) {
    check(pool);
    assert_eq!(places.len(), pool.output.len());
    assert_eq!(d_output.len(), pool.output.len());
    assert!(rectified.is_none_or(|output| output.len() == pool.output.len()));
    assert_eq!(d_input.len(), pool.input.len());
    let backward = Backward {
        pool,
        rectified,
        places,
        d_output,
        d_input,
    };
    run(isa, backward);
}

/// What the functions here rely on: whole registers of channels, and a pixel in every window.
pub(super) fn check(pool: &Pool) {
    let Pool { input, output, .. } = pool;
    assert!(input.stride == output.stride && input.stride.is_multiple_of(BLOCK));
    assert!(input.channels == output.channels && input.channels <= input.stride);
    assert!((1..=16).contains(&pool.window) && pool.step > 0);
    assert!(input.pixels() > 0 && output.pixels() > 0);
    assert!(pool.top < pool.window && pool.left < pool.window);
    assert!((output.height - 1) * pool.step < input.height + pool.top);
    assert!((output.width - 1) * pool.step < input.width + pool.left);
}

/// The part of a window that lies in a picture, along one side of `size` pixels, when the window begins at `start`
/// after `before` pixels of nothing.
pub(super) fn inside(window: usize, start: usize, before: usize, size: usize) -> Range<usize> {
    before.saturating_sub(start)..window.min(size + before - start)
}

struct Forward<'a> {
    pool: &'a Pool,
    rectify: bool,
    input: &'a [f32],
    output: &'a mut [f32],
    places: &'a mut [u8],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let pool = self.pool;
        let Pool {
            window,
            step,
            top,
            left,
            ..
        } = *pool;
        let stride = pool.input.stride;
        let pixels = self
            .output
            .chunks_exact_mut(stride)
            .zip(self.places.chunks_exact_mut(stride));
        for (index, (output, places)) in pixels.enumerate() {
            let (y, x) = (index / pool.output.width, index % pool.output.width);
            let rows = inside(window, y * step, top, pool.input.height);
            let columns = inside(window, x * step, left, pool.input.width);
            let whole = rows.len() == window && columns.len() == window;
            let corner = ((y * step) as isize - top as isize) * pool.input.row() as isize
                + ((x * step) as isize - left as isize) * stride as isize;
            // The corner may lie beyond the edge; it is not read there.
            let corner = self.input.as_ptr().wrapping_offset(corner);
            let mut pixel = Pixel {
                window,
                row: pool.input.row(),
                rectify: self.rectify,
                corner,
                output,
                places,
            };
            // SAFETY: the processor is the caller's, and `inside` leaves what lies in the picture; `check` saw to it
            // that this is not nothing. The ranges that are known at compile time are unrolled.
            unsafe {
                match window {
                    2 if whole => pixel.pool::<V>(0..2, 0..2),
                    3 if whole => pixel.pool::<V>(0..3, 0..3),
                    _ => pixel.pool::<V>(rows, columns),
                }
            }
        }
    }
}

/// One pixel of the output.
struct Pixel<'a> {
    window: usize,
    /// Numbers in a row of the input.
    row: usize,
    rectify: bool,
    /// Where the window begins.
    corner: *const f32,
    output: &'a mut [f32],
    places: &'a mut [u8],
}

impl Pixel<'_> {
    /// # Safety
    ///
    /// As [`Vector`]'s; `rows` and `columns` of the window lie in the picture, and there are some; the output is whole
    /// registers.
    #[inline(always)]
    unsafe fn pool<V: Vector>(&mut self, rows: Range<usize>, columns: Range<usize>) {
        for channel in (0..self.output.len()).step_by(V::LANES) {
            // SAFETY: the caller's.
            unsafe {
                // Rows do not wait for each other.
                let mut largest = self.largest::<V>(channel, rows.start, columns.clone());
                for row in rows.start + 1..rows.end {
                    largest = largest.or(self.largest::<V>(channel, row, columns.clone()));
                }
                if self.rectify {
                    largest.value = largest.value.rectify();
                }
                largest.value.store(self.output.as_mut_ptr().add(channel));
                let mut lanes = [0.0; BLOCK];
                largest.place.store(lanes.as_mut_ptr());
                let places = self.places.as_mut_ptr().add(channel);
                for (lane, place) in lanes[..V::LANES].iter().enumerate() {
                    places.add(lane).write(place.to_bits() as u8);
                }
            }
        }
    }

    /// The largest of a row.
    ///
    /// # Safety
    ///
    /// As [`pool`](Self::pool)'s.
    #[inline(always)]
    unsafe fn largest<V: Vector>(
        &self,
        channel: usize,
        row: usize,
        columns: Range<usize>,
    ) -> Largest<V> {
        // SAFETY: the caller's.
        unsafe {
            let mut largest = self.at(channel, row, columns.start);
            for column in columns.start + 1..columns.end {
                largest = largest.or(self.at(channel, row, column));
            }
            largest
        }
    }

    /// One pixel of the input.
    ///
    /// # Safety
    ///
    /// As [`pool`](Self::pool)'s.
    #[inline(always)]
    unsafe fn at<V: Vector>(&self, channel: usize, row: usize, column: usize) -> Largest<V> {
        let offset = row * self.row + column * self.output.len() + channel;
        let place = (row * self.window + column) as u32;
        // SAFETY: the caller's.
        unsafe {
            Largest {
                value: V::load(self.corner.wrapping_add(offset)),
                place: V::splat(f32::from_bits(place)),
            }
        }
    }
}

/// The largest values so far, and their places: the bits are integers, which nothing but moves them.
#[derive(Clone, Copy)]
struct Largest<V> {
    value: V,
    place: V,
}

impl<V: Vector> Largest<V> {
    /// Itself or another that comes later.
    ///
    /// # Safety
    ///
    /// As [`Vector`]'s.
    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller's.
        unsafe {
            let (value, than) = (other.value, self.value);
            Self {
                value: value.select_greater(than, value, than),
                place: value.select_greater(than, other.place, self.place),
            }
        }
    }
}

struct Backward<'a> {
    pool: &'a Pool,
    rectified: Option<&'a [f32]>,
    places: &'a [u8],
    d_output: &'a [f32],
    d_input: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    /// Plain loops over blocks of channels, which the compiler turns into instructions for registers. A block goes to
    /// every place of its window, with zeros for the channels that have another: no number is addressed alone.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Pool {
            input,
            output,
            window,
            step,
            top,
            left,
        } = *self.pool;
        self.d_input.fill(0.0);
        let d_input = self.d_input.as_chunks_mut::<BLOCK>().0;
        let places = self.places.as_chunks::<BLOCK>().0;
        let d_output = self.d_output.as_chunks::<BLOCK>().0;
        let rectified = self.rectified.map(|output| output.as_chunks::<BLOCK>().0);
        let blocks = input.stride / BLOCK;
        let mut index = 0;
        for y in 0..output.height {
            let rows = inside(window, y * step, top, input.height);
            for x in 0..output.width {
                let columns = inside(window, x * step, left, input.width);
                for block in 0..blocks {
                    let mut gradients = [0; BLOCK];
                    let mut own = [0; BLOCK];
                    for lane in 0..BLOCK {
                        gradients[lane] = d_output[index][lane].to_bits();
                        own[lane] = u32::from(places[index][lane]);
                    }
                    if let Some(rectified) = rectified {
                        for lane in 0..BLOCK {
                            gradients[lane] &= mask(rectified[index][lane] > 0.0);
                        }
                    }
                    index += 1;
                    for row in rows.clone() {
                        let first = (y * step + row - top) * input.width + x * step;
                        for column in columns.clone() {
                            let place = (row * window + column) as u32;
                            let to = &mut d_input[(first + column - left) * blocks + block];
                            let mut sums = *to;
                            for lane in 0..BLOCK {
                                let here = mask(own[lane] == place);
                                sums[lane] += f32::from_bits(gradients[lane] & here);
                            }
                            *to = sums;
                        }
                    }
                }
            }
        }
    }
}

/// All bits, or none.
#[inline(always)]
pub(super) fn mask(all: bool) -> u32 {
    u32::from(all).wrapping_neg()
}

#[cfg(test)]
pub(super) mod tests;
