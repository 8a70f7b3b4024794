//! The convolution by Winograd's minimal filtering, which makes several outputs with few products.
//!
//! A convolution along a row is a product of polynomials transposed, and polynomials can be multiplied point by point:
//! one product for each of enough points, the leading coefficient being the value at infinity. In two dimensions, the 36
//! pairs of six points make 4 × 4 outputs with a kernel of 3 × 3, which are 144 products directly; the 64 pairs of eight
//! points make as many with a kernel of 5 × 5, which are 400. Lavin & Gray, "Fast Algorithms for Convolutional Neural
//! Networks", 2015, arXiv:1509.09308.
//!
//! First, tiles of the input are transformed to values at the pairs of points, channel by channel. Then there is one
//! product of matrices for each pair (tiles × channels by channels × filters). At last, products become pixels.

#![expect(
    clippy::needless_range_loop,
    reason = "columns become rows, which no iterator of one of them says"
)]

use super::scratch::with_scratch;
use super::shape::Convolution;
use super::tile::{self, Panel, ROWS};
use super::{BLOCK, Isa, Kernel, Vector, run};

/// Tiles that are worked on at a time: few enough that their values stay in the cache.
const TILES: usize = 3 * ROWS;

/// The points, as many as a tile of the input has rows and columns: 0, pairs of a number and its negative, and infinity.
struct Points<const POINTS: usize>;

impl<const POINTS: usize> Points<POINTS> {
    const PAIRS: usize = POINTS / 2 - 1;

    /// The positive ones: those of the textbooks. 1 is the first, which makes the bias easy.
    const POSITIVE: [f32; 3] = [1.0, 2.0, 0.5];

    /// The polynomial of x² that is zero at all pairs: its coefficients, the lowest degree first. The highest is 1.
    const ALL: [f32; 4] = Self::zero_at_pairs_but(usize::MAX);

    /// That which is zero at all pairs but this one.
    const OTHERS: [[f32; 4]; 3] = [
        Self::zero_at_pairs_but(0),
        Self::zero_at_pairs_but(1),
        Self::zero_at_pairs_but(2),
    ];

    /// The inverse of the product of the differences between this positive point and the others.
    const SCALES: [f32; 3] = [Self::scale(0), Self::scale(1), Self::scale(2)];

    const fn square(pair: usize) -> f32 {
        Self::POSITIVE[pair] * Self::POSITIVE[pair]
    }

    const fn zero_at_pairs_but(except: usize) -> [f32; 4] {
        let mut coefficients = [1.0, 0.0, 0.0, 0.0];
        let mut pair = 0;
        while pair < Self::PAIRS {
            if pair != except {
                let mut degree = 3;
                while degree > 0 {
                    let lower = coefficients[degree - 1];
                    coefficients[degree] = lower - Self::square(pair) * coefficients[degree];
                    degree -= 1;
                }
                coefficients[0] *= -Self::square(pair);
            }
            pair += 1;
        }
        coefficients
    }

    const fn scale(pair: usize) -> f32 {
        let mut product = 2.0 * Self::square(pair);
        let mut other = 0;
        while other < Self::PAIRS {
            if other != pair {
                product *= Self::square(pair) - Self::square(other);
            }
            other += 1;
        }
        1.0 / product
    }
}

/// Whether [`forward`] is faster than the direct convolution. With fewer channels, most of it are transforms.
pub(crate) fn pays(shape: &Convolution) -> bool {
    points(shape).is_some() && shape.input.channels >= 4
}

/// How many points make the fewest products, or none if the shape does not fit.
fn points(shape: &Convolution) -> Option<usize> {
    let Convolution {
        input,
        output,
        kernel,
        step,
    } = *shape;
    let fits = matches!(kernel, 3 | 5)
        && step == 1
        && input.height + 1 == output.height + kernel
        && input.width + 1 == output.width + kernel
        && (1..=input.stride).contains(&input.channels)
        && input.stride.is_multiple_of(BLOCK)
        && output.stride.is_multiple_of(BLOCK);
    let possible = |&points: &usize| fits && points <= input.height.min(input.width);
    let products = |&points: &usize| {
        let outputs = points + 1 - kernel;
        output.height.div_ceil(outputs) * output.width.div_ceil(outputs) * points * points
    };
    [6, 8].into_iter().filter(possible).min_by_key(products)
}

/// Numbers of one pair of points in packed weights. The extra line spreads them over the sets of the cache.
fn packed_plane(shape: &Convolution) -> usize {
    shape.input.channels * shape.output.stride + BLOCK
}

/// Numbers that [`pack`] writes.
pub(crate) fn packed_len(shape: &Convolution) -> usize {
    points(shape).map_or(0, |points| points * points * packed_plane(shape))
}

/// Transforms filters `[filter][channel][kernel row][kernel column]` to `[pair of points][channel][filter]`, with
/// padded filters.
pub(crate) fn pack(isa: Isa, shape: &Convolution, weights: &[f32], packed: &mut [f32]) {
    let area = shape.kernel * shape.kernel;
    assert_eq!(
        weights.len(),
        shape.output.channels * shape.input.channels * area
    );
    assert_eq!(packed.len(), packed_len(shape));
    match (points(shape), shape.kernel) {
        (Some(6), 3) => run(
            isa,
            Pack::<6, 3> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(6), 5) => run(
            isa,
            Pack::<6, 5> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(8), 3) => run(
            isa,
            Pack::<8, 3> {
                shape,
                weights,
                packed,
            },
        ),
        (Some(8), 5) => run(
            isa,
            Pack::<8, 5> {
                shape,
                weights,
                packed,
            },
        ),
        _ => panic!("the shape does not fit"),
    }
}

/// Convolves `images` pictures that lie one after the other, adds the bias, and takes max(0, ·) if `rectify`.
///
/// What becomes of a picture does not depend on the others.
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
    let points = points(shape).expect("the shape does not fit");
    assert!(input.len() >= images * shape.input.len());
    assert!(output.len() >= images * shape.output.len());
    assert_eq!(packed.len(), packed_len(shape));
    assert_eq!(bias.len(), shape.output.stride);
    // The extra line spreads the planes over the sets of the cache.
    let planes = [shape.input.stride, shape.output.stride].map(|stride| TILES * stride + BLOCK);
    with_scratch(points * points * (planes[0] + planes[1]), |scratch| {
        let (values, products) = scratch.split_at_mut(points * points * planes[0]);
        let arguments = Arguments {
            shape,
            images,
            input,
            packed,
            bias,
            rectify,
            output,
            values,
            products,
            planes,
        };
        match (points, shape.kernel) {
            (6, 3) => run(isa, Forward::<6, 4>(arguments)),
            (6, _) => run(isa, Forward::<6, 2>(arguments)),
            (_, 3) => run(isa, Forward::<8, 6>(arguments)),
            (_, _) => run(isa, Forward::<8, 4>(arguments)),
        }
    });
}

/// [`pack`] for one number of points and size of kernel.
struct Pack<'a, const POINTS: usize, const KERNEL: usize> {
    shape: &'a Convolution,
    weights: &'a [f32],
    packed: &'a mut [f32],
}

impl<const POINTS: usize, const KERNEL: usize> Kernel for Pack<'_, POINTS, KERNEL> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Convolution { input, output, .. } = self.shape;
        let area = KERNEL * KERNEL;
        let plane = packed_plane(self.shape);
        for filter in (0..output.stride).step_by(V::LANES) {
            let lanes = V::LANES.min(output.channels.saturating_sub(filter));
            // A register of filters, weight by weight. Lanes beyond the last filter stay 0.
            let mut transposed = [[0.0; BLOCK]; 25];
            for channel in 0..input.channels {
                for lane in 0..lanes {
                    let from = ((filter + lane) * input.channels + channel) * area;
                    let weights = &self.weights[from..][..area];
                    for (lanes, &weight) in transposed.iter_mut().zip(weights) {
                        lanes[lane] = weight;
                    }
                }
                let to = channel * output.stride + filter;
                let to = &mut self.packed[to..][..(POINTS * POINTS - 1) * plane + V::LANES];
                // SAFETY: the processor has the instructions; `to` was cut to what is written.
                unsafe {
                    transform_weights::<V, POINTS, KERNEL>(&transposed, to.as_mut_ptr(), plane);
                }
            }
        }
    }
}

/// # Safety
///
/// As [`Vector`]'s; a register can be written to each of the planes.
#[inline(always)]
unsafe fn transform_weights<V: Vector, const POINTS: usize, const KERNEL: usize>(
    weights: &[[f32; BLOCK]; 25],
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut rows = [[V::zero(); KERNEL]; POINTS];
        for x in 0..KERNEL {
            let mut column = [V::zero(); KERNEL];
            for (y, weight) in column.iter_mut().enumerate() {
                *weight = V::load(weights[y * KERNEL + x].as_ptr());
            }
            let values: [V; POINTS] = weight_values(column);
            for (row, value) in rows.iter_mut().zip(values) {
                row[x] = value;
            }
        }
        for (y, row) in rows.into_iter().enumerate() {
            store::<V, POINTS>(weight_values(row), to.add(y * POINTS * plane), plane);
        }
    }
}

/// The values of a polynomial, whose coefficients are a row of the kernel, over the products of the differences between
/// the points: G of the paper.
///
/// # Safety
///
/// As [`Vector`]'s.
#[inline(always)]
unsafe fn weight_values<V: Vector, const POINTS: usize, const KERNEL: usize>(
    row: [V; KERNEL],
) -> [V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let mut values = [V::zero(); POINTS];
        values[0] = row[0].mul(V::splat(1.0 / Points::<POINTS>::ALL[0]));
        for pair in 0..Points::<POINTS>::PAIRS {
            let point = Points::<POINTS>::POSITIVE[pair];
            let scale = Points::<POINTS>::SCALES[pair];
            let mut halves = [V::zero(); 2];
            let mut factor = scale;
            for (degree, weight) in row.into_iter().enumerate() {
                let sum = &mut halves[degree % 2];
                *sum = weight.mul_add(V::splat(factor), *sum);
                factor *= point;
            }
            let [even, odd] = halves;
            values[1 + 2 * pair] = even.add(odd);
            values[2 + 2 * pair] = even.sub(odd);
        }
        values[POINTS - 1] = row[KERNEL - 1];
        values
    }
}

/// What [`forward`] works with.
struct Arguments<'a> {
    shape: &'a Convolution,
    images: usize,
    input: &'a [f32],
    packed: &'a [f32],
    bias: &'a [f32],
    rectify: bool,
    output: &'a mut [f32],
    /// Of the input: `[pair of points][tile][channel]`.
    values: &'a mut [f32],
    /// Of these and the weights: `[pair of points][tile][filter]`.
    products: &'a mut [f32],
    /// Numbers of one pair of points in `values` and in `products`.
    planes: [usize; 2],
}

/// [`forward`] with one number of points and of outputs along a side of a tile.
struct Forward<'a, const POINTS: usize, const OUTPUTS: usize>(Arguments<'a>);

impl<const POINTS: usize, const OUTPUTS: usize> Kernel for Forward<'_, POINTS, OUTPUTS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        let output = self.0.shape.output;
        let tiles_of_image = output.height.div_ceil(OUTPUTS) * output.width.div_ceil(OUTPUTS);
        let tiles = self.0.images * tiles_of_image;
        for first in (0..tiles).step_by(TILES) {
            let count = TILES.min(tiles - first);
            // SAFETY: the processor has the instructions; the tiles are in the images.
            unsafe {
                self.transform_inputs::<V>(first, count);
                self.multiply::<V>(count);
                self.transform_outputs::<V>(first, count);
            }
        }
    }
}

impl<const POINTS: usize, const OUTPUTS: usize> Forward<'_, POINTS, OUTPUTS> {
    /// The image, and the row and the column of the first output pixel, of a tile. The last tiles of a picture overlap
    /// the ones before instead of reaching beyond it.
    #[inline(always)]
    fn corner(&self, tile: usize) -> (usize, usize, usize) {
        let output = self.0.shape.output;
        let across = output.width.div_ceil(OUTPUTS);
        let down = output.height.div_ceil(OUTPUTS);
        let (row, column) = (tile / across % down, tile % across);
        (
            tile / (across * down),
            (row * OUTPUTS).min(output.height - OUTPUTS),
            (column * OUTPUTS).min(output.width - OUTPUTS),
        )
    }

    /// # Safety
    ///
    /// As [`Vector`]'s; there are this many tiles, at most [`TILES`].
    #[inline(always)]
    unsafe fn transform_inputs<V: Vector>(&mut self, first: usize, count: usize) {
        let input = self.0.shape.input;
        for tile in 0..count {
            let (image, y, x) = self.corner(first + tile);
            let from = image * input.len() + self.0.shape.window(y, x);
            for channel in (0..input.stride).step_by(V::LANES) {
                // SAFETY: the caller's; all pixels of a tile are in its image.
                unsafe {
                    let patch = Patch::<POINTS> {
                        from: self.0.input.as_ptr().add(from + channel),
                        row: input.row(),
                        pixel: input.stride,
                    };
                    let to = tile * input.stride + channel;
                    let to = self.0.values.as_mut_ptr().add(to);
                    transform_input::<V, POINTS>(patch, to, self.0.planes[0]);
                }
            }
        }
    }

    /// # Safety
    ///
    /// As [`Vector`]'s.
    #[inline(always)]
    unsafe fn multiply<V: Vector>(&mut self, count: usize) {
        let Convolution { input, output, .. } = *self.0.shape;
        for pair in 0..POINTS * POINTS {
            let mut product = Product {
                values: &self.0.values[pair * self.0.planes[0]..][..count * input.stride],
                value_stride: input.stride,
                weights: &self.0.packed[pair * packed_plane(self.0.shape)..]
                    [..input.channels * output.stride],
                // What is added to the value at (1, 1) is added to every pixel of the tile.
                bias: (pair == POINTS + 1).then_some(self.0.bias),
                filters: output.stride,
                channels: input.channels,
                tiles: count,
                to: &mut self.0.products[pair * self.0.planes[1]..][..count * output.stride],
            };
            // SAFETY: the caller's.
            unsafe { tile::panels::<V>(output.stride, &mut product) }
        }
    }

    /// # Safety
    ///
    /// As [`Vector`]'s; there are this many tiles, at most [`TILES`].
    #[inline(always)]
    unsafe fn transform_outputs<V: Vector>(&mut self, first: usize, count: usize) {
        let output = self.0.shape.output;
        for tile in 0..count {
            let (image, y, x) = self.corner(first + tile);
            let to = image * output.len() + (y * output.width + x) * output.stride;
            for filter in (0..output.stride).step_by(V::LANES) {
                // SAFETY: the caller's; all pixels of a tile are in its image.
                unsafe {
                    let from = self.0.products.as_ptr().add(tile * output.stride + filter);
                    let to = self.0.output.as_mut_ptr().add(to + filter);
                    let pixels = transform_products::<V, POINTS, OUTPUTS>(from, self.0.planes[1]);
                    for (y, row) in pixels.into_iter().enumerate() {
                        for (x, pixel) in row.into_iter().enumerate() {
                            let pixel = if self.0.rectify {
                                pixel.rectify()
                            } else {
                                pixel
                            };
                            pixel.store(to.add((y * output.width + x) * output.stride));
                        }
                    }
                }
            }
        }
    }
}

/// The products of tiles and filters at one pair of points.
struct Product<'a> {
    values: &'a [f32],
    value_stride: usize,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    filters: usize,
    channels: usize,
    tiles: usize,
    to: &'a mut [f32],
}

impl Panel for Product<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        // SAFETY: the caller's; rows beyond the last tile read the last one's and are not stored.
        unsafe {
            let mut start = [V::zero(); WIDE];
            if let Some(bias) = self.bias {
                for (wide, start) in start.iter_mut().enumerate() {
                    *start = V::load(bias.as_ptr().add(column + wide * V::LANES));
                }
            }
            for first in (0..self.tiles).step_by(ROWS) {
                let mut rows = [self.values.as_ptr(); ROWS];
                for (row, pointer) in rows.iter_mut().enumerate() {
                    let tile = (first + row).min(self.tiles - 1);
                    *pointer = pointer.add(tile * self.value_stride);
                }
                let mut sums = [start; ROWS];
                let weights = self.weights.as_ptr().add(column);
                tile::multiply(&mut sums, rows, 1, weights, self.filters, self.channels);
                for (row, sums) in sums.into_iter().enumerate().take(self.tiles - first) {
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

/// A tile of the input.
#[derive(Clone, Copy)]
struct Patch<const POINTS: usize> {
    from: *const f32,
    /// Numbers from one row to the next.
    row: usize,
    /// Numbers from one pixel to the next.
    pixel: usize,
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
unsafe fn transform_input<V: Vector, const POINTS: usize>(
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
unsafe fn store<V: Vector, const POINTS: usize>(values: [V; POINTS], to: *mut f32, plane: usize) {
    for (x, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { value.store(to.add(x * plane)) }
    }
}

/// # Safety
///
/// As [`Vector`]'s; a register can be read from each of the planes.
#[inline(always)]
unsafe fn transform_products<V: Vector, const POINTS: usize, const OUTPUTS: usize>(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shape::{Picture, SLACK};
    use super::*;

    /// Pictures with a convolution's operands, all of them random, and the convolution in double precision.
    #[derive(Debug)]
    struct Case {
        shape: Convolution,
        images: usize,
        input: Vec<f32>,
        weights: Vec<f32>,
        bias: Vec<f32>,
    }

    impl Case {
        fn new(
            kernel: usize,
            (height, width): (usize, usize),
            images: usize,
            channels: usize,
            filters: usize,
            seed: u64,
        ) -> Self {
            let shape = Convolution {
                input: Picture::new(height + kernel - 1, width + kernel - 1, channels),
                output: Picture::new(height, width, filters),
                kernel,
                step: 1,
            };
            let mut state = seed | 1;
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            };
            let mut input = vec![0.0; images * shape.input.len() + SLACK];
            for pixel in input[..images * shape.input.len()].chunks_exact_mut(shape.input.stride) {
                pixel[..channels].fill_with(&mut random);
            }
            let mut weights = vec![0.0; filters * channels * kernel * kernel];
            weights.fill_with(&mut random);
            let mut bias = vec![0.0; shape.output.stride];
            bias[..filters].fill_with(&mut random);
            Self {
                shape,
                images,
                input,
                weights,
                bias,
            }
        }

        fn forward(&self, isa: Isa, rectify: bool, images: std::ops::Range<usize>) -> Vec<f32> {
            let shape = &self.shape;
            let mut packed = vec![f32::NAN; packed_len(shape)];
            pack(isa, shape, &self.weights, &mut packed);
            let input = &self.input[images.start * shape.input.len()..];
            let input = &input[..images.len() * shape.input.len() + SLACK];
            let mut output = vec![f32::NAN; images.len() * shape.output.len()];
            let (bias, images) = (&self.bias, images.len());
            forward(
                isa,
                shape,
                images,
                input,
                &packed,
                bias,
                rectify,
                &mut output,
            );
            output
        }

        fn expected(&self, rectify: bool) -> Vec<f64> {
            let Convolution {
                input,
                output,
                kernel,
                ..
            } = self.shape;
            let mut expected = Vec::new();
            for image in self.input.chunks_exact(input.len()).take(self.images) {
                for pixel in 0..output.pixels() {
                    let from = self
                        .shape
                        .window(pixel / output.width, pixel % output.width);
                    for filter in 0..output.stride {
                        let mut sum = f64::from(self.bias[filter]);
                        for weight in 0..input.channels * kernel * kernel {
                            if filter >= output.channels {
                                break;
                            }
                            let (channel, place) =
                                (weight / kernel / kernel, weight % (kernel * kernel));
                            let at =
                                from + self.shape.window(place / kernel, place % kernel) + channel;
                            let weight = filter * input.channels * kernel * kernel + weight;
                            sum += f64::from(image[at]) * f64::from(self.weights[weight]);
                        }
                        expected.push(if rectify { sum.max(0.0) } else { sum });
                    }
                }
            }
            expected
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn is_the_convolution_whatever_the_other_images_are(
            (kernel, height, width) in prop_oneof![
                (Just(3_usize), 4..16_usize, 4..16_usize),
                (Just(5_usize), 2..14_usize, 2..14_usize),
            ],
            images in 1..=4_usize,
            channels in 1..=40_usize,
            filters in 1..=80_usize,
            rectify: bool,
            seed: u64,
        ) {
            let case = Case::new(kernel, (height, width), images, channels, filters, seed);
            let expected = case.expected(rectify);
            let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            for isa in Isa::available() {
                let output = case.forward(isa, rectify, 0..images);
                prop_assert_eq!(output.len(), expected.len());
                for (&x, y) in output.iter().zip(&expected) {
                    prop_assert!((f64::from(x) - y).abs() <= 1e-4 * largest, "{isa:?}: {x}, not {y}");
                }
                let one_by_one: Vec<f32> = (0..images)
                    .flat_map(|image| case.forward(isa, rectify, image..image + 1))
                    .collect();
                let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&output), bits(&one_by_one));
            }
        }
    }

    #[test]
    fn many_images_are_worked_on_in_blocks() {
        let case = Case::new(3, (11, 11), 16, 16, 16, 1);
        for isa in Isa::available() {
            let together = case.forward(isa, true, 0..16);
            let parts = [0..5, 5..6, 6..16].map(|images| case.forward(isa, true, images));
            assert_eq!(together, parts.concat());
        }
    }

    #[test]
    fn nan_is_not_rectified() {
        let mut case = Case::new(5, (4, 4), 1, 16, 16, 1);
        case.input[0] = f32::NAN;
        for isa in Isa::available() {
            assert!(case.forward(isa, true, 0..1)[0].is_nan());
        }
    }

    #[test]
    fn only_shapes_that_fit_pay() {
        let shape = Case::new(3, (11, 11), 1, 32, 64, 1).shape;
        assert!(pays(&shape));
        assert!(!pays(&Convolution { step: 2, ..shape }));
        assert!(!pays(&Convolution { kernel: 5, ..shape }));
        assert!(!pays(&Case::new(7, (11, 11), 1, 32, 64, 1).shape));
        assert!(!pays(&Case::new(3, (3, 11), 1, 32, 64, 1).shape));
        assert!(!pays(&Case::new(3, (11, 11), 1, 1, 64, 1).shape));
    }
}
