//! The convolution without a detour: products of windows, which lie in the picture as they are, and weights.

use super::shape::{Convolution, SLACK};
use super::tile::{Panel, ROWS, multiply, panels};
use super::{Isa, Kernel, Vector, run};

/// Numbers of the weights as [`forward`] takes them.
pub(crate) fn packed_len(shape: &Convolution) -> usize {
    shape.kernel * shape.segment() * shape.output.stride
}

/// Packs weights `[filters][channels][kernel][kernel]` for [`forward`]: `[kernel row][kernel column][channel][filter]`.
pub(crate) fn pack(shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    let (filters, channels) = (shape.output.channels, shape.input.channels);
    let taps = shape.kernel * shape.kernel;
    assert_eq!(weights.len(), filters * channels * taps);
    assert_eq!(packed.len(), packed_len(shape));
    packed.fill(0.0);
    let places = packed.chunks_exact_mut(shape.input.stride * shape.output.stride);
    for (tap, place) in places.enumerate() {
        let rows = place.chunks_exact_mut(shape.output.stride).take(channels);
        for (channel, row) in rows.enumerate() {
            for (filter, packed) in row[..filters].iter_mut().enumerate() {
                *packed = weights[(filter * channels + channel) * taps + tap];
            }
        }
    }
}

/// Convolves `images` pictures and adds the bias; then max(0, x) if it is to `rectify`.
#[expect(clippy::too_many_arguments, reason = "each is a thing of its own")]
pub(crate) fn forward(
    isa: Isa,
    shape: &Convolution,
    images: usize,
    input: &[f32],
    packed: &[f32],
    bias: &[f32],
    rectify: bool,
    output: &mut [f32],
) {
    assert!(input.len() >= images * shape.input.len() && shape.fits());
    assert_eq!(packed.len(), packed_len(shape));
    assert_eq!(bias.len(), shape.output.stride);
    assert_eq!(output.len(), images * shape.output.len());
    if images > 0 {
        run(
            isa,
            Forward {
                shape,
                images,
                input,
                packed,
                bias,
                rectify,
                output,
            },
        );
    }
}

struct Forward<'a> {
    shape: &'a Convolution,
    images: usize,
    input: &'a [f32],
    packed: &'a [f32],
    bias: &'a [f32],
    rectify: bool,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.shape.output.stride, &mut self) }
    }
}

impl Panel for Forward<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let shape = self.shape;
        let stride = shape.output.stride;
        let segment = shape.segment();
        let pixels = self.images * shape.output.pixels();
        let mut windows = Windows::new(shape);
        // SAFETY: all lengths were compared with the shape's: windows lie in the input, rows of weights and the bias
        // have `stride` numbers, of which the panel takes some, and so has each of the output's pixels.
        unsafe {
            let mut bias = [V::zero(); WIDE];
            for (wide, bias) in bias.iter_mut().enumerate() {
                *bias = V::load(self.bias.as_ptr().add(column + wide * V::LANES));
            }
            let mut first = 0;
            while first < pixels {
                // The last tile repeats the last pixel.
                let count = ROWS.min(pixels - first);
                let mut a = [self.input.as_ptr().add(windows.next()); ROWS];
                for pixel in &mut a[1..count] {
                    *pixel = self.input.as_ptr().add(windows.next());
                }
                for row in count..ROWS {
                    a[row] = a[count - 1];
                }
                let mut tile = [bias; ROWS];
                let mut weights = self.packed.as_ptr().add(column);
                for _ in 0..shape.kernel {
                    multiply(&mut tile, a, 1, weights, stride, segment);
                    a = a.map(|pixel| pixel.wrapping_add(shape.input.row()));
                    weights = weights.wrapping_add(segment * stride);
                }
                for (row, sums) in tile.iter().enumerate().take(count) {
                    let to = self
                        .output
                        .as_mut_ptr()
                        .add((first + row) * stride + column);
                    for (wide, sum) in sums.iter().enumerate() {
                        let sum = if self.rectify { sum.rectify() } else { *sum };
                        sum.store(to.add(wide * V::LANES));
                    }
                }
                first += ROWS;
            }
        }
    }
}

/// Where the windows of all output pixels begin, picture after picture, without a division.
struct Windows {
    next: usize,
    column: usize,
    row: usize,
    width: usize,
    height: usize,
    right: usize,
    down: usize,
    over: usize,
}

impl Windows {
    #[inline(always)]
    fn new(shape: &Convolution) -> Self {
        let Convolution {
            input,
            output,
            step,
            ..
        } = *shape;
        let right = step * input.stride;
        Self {
            next: 0,
            column: 0,
            row: 0,
            width: output.width,
            height: output.height,
            right,
            // From the place after a row's last window to the next row's first; backwards, if windows overlap the edge.
            down: (step * input.row()).wrapping_sub(output.width * right),
            // From the place after the last row to the next picture.
            over: input.len().wrapping_sub(output.height * step * input.row()),
        }
    }

    #[inline(always)]
    fn next(&mut self) -> usize {
        let here = self.next;
        self.next += self.right;
        self.column += 1;
        if self.column == self.width {
            self.column = 0;
            self.next = self.next.wrapping_add(self.down);
            self.row += 1;
            if self.row == self.height {
                self.row = 0;
                self.next = self.next.wrapping_add(self.over);
            }
        }
        here
    }
}

/// Adds the gradients of `images` bordered inputs to `d_input`. `weights` are all filters of [`pack_filter`](super::filters::pack_filter), one after
/// the other.
pub(crate) fn data_gradient(
    isa: Isa,
    shape: &Convolution,
    images: usize,
    weights: &[f32],
    d_output: &[f32],
    d_input: &mut [f32],
) {
    assert_eq!(weights.len(), shape.output.channels * shape.padded_filter());
    assert_eq!(d_output.len(), images * shape.output.len());
    assert!(d_input.len() >= images * shape.input.len() + shape.overreach());
    assert!(shape.fits());
    if images > 0 {
        run(
            isa,
            DataGradient {
                shape,
                images,
                weights,
                d_output,
                d_input,
                row: 0,
            },
        );
    }
}

struct DataGradient<'a> {
    shape: &'a Convolution,
    images: usize,
    weights: &'a [f32],
    d_output: &'a [f32],
    d_input: &'a mut [f32],
    /// The kernel's row.
    row: usize,
}

impl Kernel for DataGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        for row in 0..self.shape.kernel {
            self.row = row;
            // SAFETY: the caller's.
            unsafe { panels::<V>(self.shape.padded_segment(), &mut self) }
        }
    }
}

impl Panel for DataGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let shape = self.shape;
        let stride = shape.output.stride;
        let pixels = self.images * shape.output.pixels();
        let mut windows = Windows::new(shape);
        let within = self.row * shape.input.row() + column;
        // SAFETY: all lengths were compared with the shape's; a padded segment reaches at most `SLACK` numbers beyond
        // its window.
        unsafe {
            let weights = self
                .weights
                .as_ptr()
                .add(self.row * shape.padded_segment() + column);
            let mut first = 0;
            while first < pixels {
                let count = ROWS.min(pixels - first);
                let mut a = [self.d_output.as_ptr().add(first * stride); ROWS];
                for (row, pixel) in a.iter_mut().enumerate() {
                    *pixel = pixel.add(row.min(count - 1) * stride);
                }
                let mut tile = [[V::zero(); WIDE]; ROWS];
                multiply(
                    &mut tile,
                    a,
                    1,
                    weights,
                    shape.padded_filter(),
                    shape.output.channels,
                );
                for sums in tile.iter().take(count) {
                    let to = self.d_input.as_mut_ptr().add(windows.next() + within);
                    for (wide, sum) in sums.iter().enumerate() {
                        let to = to.add(wide * V::LANES);
                        V::load(to).add(*sum).store(to);
                    }
                }
                first += ROWS;
            }
        }
    }
}

/// Adds the gradients of the weights, over `images` pictures, to `sums`, which are `[filter][kernel row][padded
/// segment]`, and those of the bias to `bias`. What lies beyond a segment becomes anything.
pub(crate) fn weight_gradient(
    isa: Isa,
    shape: &Convolution,
    images: usize,
    input: &[f32],
    d_output: &[f32],
    sums: &mut [f32],
    bias: &mut [f32],
) {
    assert!(input.len() >= images * shape.input.len() + SLACK && shape.fits());
    assert_eq!(d_output.len(), images * shape.output.len());
    assert_eq!(sums.len(), shape.output.channels * shape.padded_filter());
    assert_eq!(bias.len(), shape.output.stride);
    for pixel in d_output.chunks_exact(shape.output.stride) {
        for (sum, g) in bias.iter_mut().zip(pixel) {
            *sum += g;
        }
    }
    if images > 0 {
        run(
            isa,
            WeightGradient {
                shape,
                images,
                input,
                d_output,
                sums,
                row: 0,
            },
        );
    }
}

struct WeightGradient<'a> {
    shape: &'a Convolution,
    images: usize,
    input: &'a [f32],
    d_output: &'a [f32],
    sums: &'a mut [f32],
    /// The kernel's row.
    row: usize,
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        for row in 0..self.shape.kernel {
            self.row = row;
            // SAFETY: the caller's.
            unsafe { panels::<V>(self.shape.padded_segment(), &mut self) }
        }
    }
}

impl Panel for WeightGradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let shape = self.shape;
        let Convolution { input, output, .. } = *shape;
        let within = self.row * input.row() + column;
        let step = shape.step * input.stride;
        // SAFETY: all lengths were compared with the shape's; a padded segment reaches at most `SLACK` numbers beyond
        // its window.
        unsafe {
            for first in (0..output.channels).step_by(ROWS) {
                let count = ROWS.min(output.channels - first);
                let mut tile = [[V::zero(); WIDE]; ROWS];
                for image in 0..self.images {
                    for y in 0..output.height {
                        let d_output = self.d_output.as_ptr();
                        let d_output =
                            d_output.add(image * output.len() + y * output.row() + first);
                        let mut a = [d_output; ROWS];
                        for (row, filter) in a.iter_mut().enumerate() {
                            *filter = filter.add(row.min(count - 1));
                        }
                        let windows = self.input.as_ptr();
                        let windows =
                            windows.add(image * input.len() + shape.window(y, 0) + within);
                        multiply(&mut tile, a, output.stride, windows, step, output.width);
                    }
                }
                for (row, sums) in tile.iter().enumerate().take(count) {
                    let place = (first + row) * shape.padded_filter();
                    let place = place + self.row * shape.padded_segment() + column;
                    let to = self.sums.as_mut_ptr().add(place);
                    for (wide, sum) in sums.iter().enumerate() {
                        let to = to.add(wide * V::LANES);
                        V::load(to).add(*sum).store(to);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
