//! The convolution by Winograd's minimal filtering, with fewer products than it has weights times pixels.
//!
//! A convolution is a product of polynomials, and a polynomial is known by its values at enough points: the product of
//! the values at six points (0, ±1, ±1/2 and infinity, where the value is the leading coefficient) stands for a row of
//! up to six pixels. In two dimensions, 36 products for each channel and filter make a tile of 4 × 4 outputs with a
//! kernel of 3 × 3 (144 directly), or of 2 × 2 outputs with one of 5 × 5 (100 directly). Lavin & Gray, "Fast Algorithms
//! for Convolutional Neural Networks", 2015, arXiv:1509.09308.
//!
//! The values of all pixels of a tile are taken first, channel by channel. Then each of the 36 is a product of matrices
//! (tiles × channels and channels × filters), and their results are turned back into pixels. The input's transform does
//! not depend on the kernel's size; the others are the same but for the number of rows.

use super::scratch::with_scratch;
use super::shape::{Convolution, SLACK};
use super::tile::{self, Panel, ROWS};
use super::{BLOCK, Isa, Kernel, Vector, run};

/// Points along a side of a tile, which also is its input's pixels.
const POINTS: usize = 6;

/// Points of a tile.
const TAPS: usize = POINTS * POINTS;

/// The point besides 0, ±1 and infinity, together with its negative.
const POINT: f32 = 0.5;

/// Its square.
const SQUARE: f32 = POINT * POINT;

/// The point (1, 1). Whatever is added there is added to all pixels of the output.
const ONES: usize = POINTS + 1;

/// Tiles that are worked on at a time: as many as leave their values in the cache, in whole tiles of products.
const TILES: usize = 3 * ROWS;

/// Whether [`forward`] is faster than the direct convolution.
pub(crate) fn pays(shape: &Convolution) -> bool {
    fits(shape) && shape.input.channels >= BLOCK
}

/// Whether [`forward`] can be called.
fn fits(shape: &Convolution) -> bool {
    let Convolution { input, output, .. } = shape;
    let outputs = (POINTS + 1).saturating_sub(shape.kernel);
    matches!(shape.kernel, 3 | 5)
        && shape.step == 1
        && output.height.min(output.width) >= outputs
        && input.height == output.height + shape.kernel - 1
        && input.width == output.width + shape.kernel - 1
}

/// Numbers from one point's weights to the next one's. The extra line spreads them over the sets of the cache.
fn packed_plane(shape: &Convolution) -> usize {
    shape.input.stride * shape.output.stride + BLOCK
}

/// Numbers that [`pack`] writes.
pub(crate) fn packed_len(shape: &Convolution) -> usize {
    TAPS * packed_plane(shape)
}

/// Takes the values of filters `[filter][channel][kernel row][kernel column]` at the points: `[point][channel][filter]`,
/// both padded with zeros.
pub(crate) fn pack(isa: Isa, shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    let area = shape.kernel * shape.kernel;
    assert!(fits(shape));
    assert_eq!(
        weights.len(),
        shape.output.channels * shape.input.channels * area
    );
    assert_eq!(packed.len(), packed_len(shape));
    match shape.kernel {
        3 => run(
            isa,
            Pack::<3> {
                shape,
                weights,
                packed,
            },
        ),
        _ => run(
            isa,
            Pack::<5> {
                shape,
                weights,
                packed,
            },
        ),
    }
}

/// Convolves `images` pictures that lie one after the other, adds the bias, and takes max(0, ·) if `rectify`.
///
/// What becomes of a picture does not depend on the others.
#[allow(clippy::too_many_arguments)]
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
    assert!(fits(shape));
    assert!(shape.input.stride.is_multiple_of(BLOCK) && shape.output.stride.is_multiple_of(BLOCK));
    assert!(shape.input.channels <= shape.input.stride);
    assert!(input.len() >= images * shape.input.len());
    assert!(output.len() >= images * shape.output.len());
    assert_eq!(packed.len(), packed_len(shape));
    assert_eq!(bias.len(), shape.output.stride);
    let planes = [shape.input.stride, shape.output.stride].map(|stride| TILES * stride + BLOCK);
    with_scratch(TAPS * (planes[0] + planes[1]), |scratch| {
        let (values, products) = scratch.split_at_mut(TAPS * planes[0]);
        macro_rules! forward {
            ($outputs:literal) => {
                run(
                    isa,
                    Forward::<$outputs> {
                        shape,
                        images,
                        input,
                        packed,
                        bias,
                        rectify,
                        output,
                        planes,
                        values,
                        products,
                    },
                )
            };
        }
        match shape.kernel {
            3 => forward!(4),
            _ => forward!(2),
        }
    });
}

/// [`pack`] for one size of kernel.
struct Pack<'a, const KERNEL: usize> {
    shape: &'a Convolution,
    weights: &'a [f32],
    packed: &'a mut [f32],
}

impl<const KERNEL: usize> Kernel for Pack<'_, KERNEL> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Convolution { input, output, .. } = self.shape;
        let area = KERNEL * KERNEL;
        let plane = packed_plane(self.shape);
        // One weight of as many filters as a register has lanes, side by side. Lanes beyond the last filter stay 0.
        let mut side_by_side = [[0.0; BLOCK]; 25];
        for filter in (0..output.stride).step_by(V::LANES) {
            let lanes = V::LANES.min(output.channels.saturating_sub(filter));
            side_by_side = [[0.0; BLOCK]; 25];
            for channel in 0..input.stride {
                if channel < input.channels {
                    for lane in 0..lanes {
                        let from = ((filter + lane) * input.channels + channel) * area;
                        let weights = &self.weights[from..][..area];
                        for (lanes, &weight) in side_by_side.iter_mut().zip(weights) {
                            lanes[lane] = weight;
                        }
                    }
                } else {
                    side_by_side = [[0.0; BLOCK]; 25];
                }
                let to = channel * output.stride + filter;
                let to = &mut self.packed[to..][..(TAPS - 1) * plane + V::LANES];
                // SAFETY: the processor has the instructions; `to` was cut to what is written.
                unsafe { transform_weights::<V, KERNEL>(&side_by_side, to.as_mut_ptr(), plane) }
            }
        }
    }
}

/// The values of filters at the points.
///
/// # Safety
///
/// As [`Vector`]'s; a register can be written to each of the planes.
#[inline(always)]
unsafe fn transform_weights<V: Vector, const KERNEL: usize>(
    weights: &[[f32; BLOCK]; 25],
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut half = [[V::zero(); KERNEL]; POINTS];
        for x in 0..KERNEL {
            let mut column = [V::zero(); KERNEL];
            for (y, weight) in column.iter_mut().enumerate() {
                *weight = V::load(weights[y * KERNEL + x].as_ptr());
            }
            for (row, value) in half.iter_mut().zip(weight_values(column)) {
                row[x] = value;
            }
        }
        for (y, row) in half.into_iter().enumerate() {
            store_row(weight_values(row), to.add(y * POINTS * plane), plane);
        }
    }
}

/// G of the paper: the values of a filter's row at the points, over the products of the points' differences.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn weight_values<V: Vector, const KERNEL: usize>(row: [V; KERNEL]) -> [V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let [one, minus_one] = values_at(row, 1.0, 1.0 / (2.0 * (1.0 - SQUARE)));
        let [point, minus_point] = values_at(row, POINT, 1.0 / (2.0 * SQUARE * (SQUARE - 1.0)));
        [
            row[0].mul(V::splat(1.0 / SQUARE)),
            one,
            minus_one,
            point,
            minus_point,
            row[KERNEL - 1],
        ]
    }
}

/// The values at a point and its negative, times `scale`.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn values_at<V: Vector, const KERNEL: usize>(
    row: [V; KERNEL],
    point: f32,
    scale: f32,
) -> [V; 2] {
    // SAFETY: the caller's.
    unsafe {
        let mut even = row[0].mul(V::splat(scale));
        let mut odd = row[1].mul(V::splat(scale * point));
        let mut factor = scale * point;
        for degree in 2..KERNEL {
            factor *= point;
            let sum = if degree % 2 == 0 { &mut even } else { &mut odd };
            *sum = row[degree].mul_add(V::splat(factor), *sum);
        }
        [even.add(odd), even.sub(odd)]
    }
}

/// [`forward`] for tiles of `OUTPUTS` × `OUTPUTS` outputs.
struct Forward<'a, const OUTPUTS: usize> {
    shape: &'a Convolution,
    images: usize,
    input: &'a [f32],
    packed: &'a [f32],
    bias: &'a [f32],
    rectify: bool,
    output: &'a mut [f32],
    /// Numbers of one point in `values` and in `products`.
    planes: [usize; 2],
    /// Of tiles of the input: `[point][tile][channel]`.
    values: &'a mut [f32],
    /// Of these with the weights: `[point][tile][filter]`.
    products: &'a mut [f32],
}

impl<const OUTPUTS: usize> Forward<'_, OUTPUTS> {
    /// The image, and the row and the column of the first output pixel, of a tile. The last tiles of a picture overlap
    /// the ones before instead of reaching beyond it.
    #[inline(always)]
    fn corner(&self, tile: usize) -> (usize, usize, usize) {
        let output = self.shape.output;
        let across = output.width.div_ceil(OUTPUTS);
        let down = output.height.div_ceil(OUTPUTS);
        let (row, column) = (tile / across % down, tile % across);
        (
            tile / (across * down),
            (row * OUTPUTS).min(output.height - OUTPUTS),
            (column * OUTPUTS).min(output.width - OUTPUTS),
        )
    }
}

impl<const OUTPUTS: usize> Kernel for Forward<'_, OUTPUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Convolution { input, output, .. } = *self.shape;
        let tiles_of_image = output.height.div_ceil(OUTPUTS) * output.width.div_ceil(OUTPUTS);
        let tiles = self.images * tiles_of_image;
        for first in (0..tiles).step_by(TILES) {
            let count = TILES.min(tiles - first);
            for tile in 0..count {
                let (image, y, x) = self.corner(first + tile);
                let from = image * input.len() + self.shape.window(y, x);
                for channel in (0..input.stride).step_by(V::LANES) {
                    // SAFETY: the processor has the instructions; the pixels of a tile lie in the picture, and there is
                    // memory for TILES tiles.
                    unsafe {
                        let patch = Patch {
                            from: self.input.as_ptr().add(from + channel),
                            row: input.row(),
                            pixel: input.stride,
                        };
                        let to = tile * input.stride + channel;
                        transform_input::<V>(
                            patch,
                            self.values.as_mut_ptr().add(to),
                            self.planes[0],
                        );
                    }
                }
            }
            for point in 0..TAPS {
                let mut product = Product {
                    values: &self.values[point * self.planes[0]..][..count * input.stride],
                    value_stride: input.stride,
                    channels: input.channels,
                    weights: &self.packed[point * packed_plane(self.shape)..],
                    bias: (point == ONES).then_some(self.bias),
                    filters: output.stride,
                    count,
                    to: &mut self.products[point * self.planes[1]..][..count * output.stride],
                };
                // SAFETY: the processor has the instructions.
                unsafe { tile::panels::<V>(output.stride, &mut product) }
            }
            for tile in 0..count {
                let (image, y, x) = self.corner(first + tile);
                let to = image * output.len() + (y * output.width + x) * output.stride;
                for filter in (0..output.stride).step_by(V::LANES) {
                    // SAFETY: the processor has the instructions; the pixels of a tile lie in the picture, and there is
                    // memory for TILES tiles.
                    unsafe {
                        let from = tile * output.stride + filter;
                        let outputs = transform_products::<V, OUTPUTS>(
                            self.products.as_ptr().add(from),
                            self.planes[1],
                        );
                        for (y, outputs) in outputs.into_iter().enumerate() {
                            let to = to + y * output.row() + filter;
                            for (x, pixel) in outputs.into_iter().enumerate() {
                                let pixel = if self.rectify { pixel.rectify() } else { pixel };
                                pixel.store(self.output.as_mut_ptr().add(to + x * output.stride));
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The products of all tiles and filters at one point.
struct Product<'a> {
    values: &'a [f32],
    value_stride: usize,
    channels: usize,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    filters: usize,
    count: usize,
    to: &'a mut [f32],
}

impl Panel for Product<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        // SAFETY: the caller's; rows beyond the last tile are not stored, and read the last tile.
        unsafe {
            let mut start = [V::zero(); WIDE];
            if let Some(bias) = self.bias {
                for (wide, start) in start.iter_mut().enumerate() {
                    *start = V::load(bias.as_ptr().add(column + wide * V::LANES));
                }
            }
            for first in (0..self.count).step_by(ROWS) {
                let mut rows = [self.values.as_ptr(); ROWS];
                for (row, pointer) in rows.iter_mut().enumerate() {
                    let tile = (first + row).min(self.count - 1);
                    *pointer = pointer.add(tile * self.value_stride);
                }
                let mut sums = [start; ROWS];
                let weights = self.weights.as_ptr().add(column);
                tile::multiply(&mut sums, rows, 1, weights, self.filters, self.channels);
                for (row, sums) in sums.into_iter().enumerate().take(self.count - first) {
                    let to = self
                        .to
                        .as_mut_ptr()
                        .add((first + row) * self.filters + column);
                    for (wide, sum) in sums.into_iter().enumerate() {
                        sum.store(to.add(wide * V::LANES));
                    }
                }
            }
        }
    }
}

/// Where the pixels of a tile lie in the input.
#[derive(Clone, Copy)]
struct Patch {
    from: *const f32,
    /// Numbers from one row to the next.
    row: usize,
    /// Numbers from one pixel to the next.
    pixel: usize,
}

impl Patch {
    /// # Safety
    ///
    /// As [`Vector`]'s; there are [`POINTS`] rows and columns.
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

/// The values of a tile's input at the points, for one register of channels.
///
/// # Safety
///
/// As [`Vector`]'s and [`Patch::column`]'s; a register can be written to each of the planes.
#[inline(always)]
unsafe fn transform_input<V: Vector>(patch: Patch, to: *mut f32, plane: usize) {
    // Columns are loaded again for every one or two rows of points, as more would not stay in registers.
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[V::zero(); POINTS]; 2];
        for x in 0..POINTS {
            rows[0][x] = value_at_zero(patch.column(x));
        }
        store_row(input_values(rows[0]), to, plane);
        for x in 0..POINTS {
            [rows[0][x], rows[1][x]] = values_at_ones(patch.column(x));
        }
        store_row(input_values(rows[0]), to.add(POINTS * plane), plane);
        store_row(input_values(rows[1]), to.add(2 * POINTS * plane), plane);
        for x in 0..POINTS {
            [rows[0][x], rows[1][x]] = values_at_points(patch.column(x));
        }
        store_row(input_values(rows[0]), to.add(3 * POINTS * plane), plane);
        store_row(input_values(rows[1]), to.add(4 * POINTS * plane), plane);
        for x in 0..POINTS {
            rows[0][x] = value_at_infinity(patch.column(x));
        }
        store_row(input_values(rows[0]), to.add(5 * POINTS * plane), plane);
    }
}

/// # Safety
///
/// As [`Vector`]'s; a register can be written to each of the planes.
#[inline(always)]
unsafe fn store_row<V: Vector>(row: [V; POINTS], to: *mut f32, plane: usize) {
    for (x, value) in row.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { value.store(to.add(x * plane)) }
    }
}

/// Bᵀ of the paper: the transpose of interpolation through the points.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn input_values<V: Vector>(row: [V; POINTS]) -> [V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let [one, minus_one] = values_at_ones(row);
        let [point, minus_point] = values_at_points(row);
        [
            value_at_zero(row),
            one,
            minus_one,
            point,
            minus_point,
            value_at_infinity(row),
        ]
    }
}

/// The coefficients of (x² - 1)(x² - p²).
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn value_at_zero<V: Vector>([a, _, c, _, e, _]: [V; POINTS]) -> V {
    // SAFETY: the caller's.
    unsafe { a.sub(c).mul_add(V::splat(SQUARE), e.sub(c)) }
}

/// The coefficients of x(x ± 1)(x² - p²).
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn values_at_ones<V: Vector>([_, b, c, d, e, _]: [V; POINTS]) -> [V; 2] {
    // SAFETY: the caller's.
    unsafe {
        let even = c.mul_add(V::splat(-SQUARE), e);
        let odd = b.mul_add(V::splat(-SQUARE), d);
        [even.add(odd), even.sub(odd)]
    }
}

/// The coefficients of x(x ± p)(x² - 1).
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn values_at_points<V: Vector>([_, b, c, d, e, _]: [V; POINTS]) -> [V; 2] {
    // SAFETY: the caller's.
    unsafe {
        let (even, odd) = (e.sub(c), d.sub(b));
        [
            odd.mul_add(V::splat(POINT), even),
            odd.mul_add(V::splat(-POINT), even),
        ]
    }
}

/// The coefficients of x(x² - 1)(x² - p²).
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn value_at_infinity<V: Vector>([_, b, _, d, _, f]: [V; POINTS]) -> V {
    // SAFETY: the caller's.
    unsafe { b.sub(d).mul_add(V::splat(SQUARE), f.sub(d)) }
}

/// The outputs of a tile, for one register of filters.
///
/// # Safety
///
/// As [`Vector`]'s; a register can be read from each of the planes.
#[inline(always)]
unsafe fn transform_products<V: Vector, const OUTPUTS: usize>(
    from: *const f32,
    plane: usize,
) -> [[V; OUTPUTS]; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let mut half = [[V::zero(); POINTS]; OUTPUTS];
        for x in 0..POINTS {
            let mut column = [V::zero(); POINTS];
            for (y, product) in column.iter_mut().enumerate() {
                *product = V::load(from.add((y * POINTS + x) * plane));
            }
            for (row, value) in half.iter_mut().zip(outputs::<V, OUTPUTS>(column)) {
                row[x] = value;
            }
        }
        let mut tile = [[V::zero(); OUTPUTS]; OUTPUTS];
        for (tile, row) in tile.iter_mut().zip(half) {
            *tile = outputs(row);
        }
        tile
    }
}

/// Aᵀ of the paper: the transpose of taking values at the points.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn outputs<V: Vector, const OUTPUTS: usize>(
    [a, b, c, d, e, f]: [V; POINTS],
) -> [V; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let ones = [b.add(c), b.sub(c)];
        let points = [d.add(e), d.sub(e)];
        let mut outputs = [V::zero(); OUTPUTS];
        let mut power = 1.0;
        for (degree, output) in outputs.iter_mut().enumerate() {
            let parity = degree % 2;
            *output = if degree == 0 {
                a.add(ones[0]).add(points[0])
            } else {
                points[parity].mul_add(V::splat(power), ones[parity])
            };
            power *= POINT;
        }
        outputs[OUTPUTS - 1] = outputs[OUTPUTS - 1].add(f);
        outputs
    }
}
