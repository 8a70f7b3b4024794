//! The way from pictures to pictures: values, products, pixels.

use super::packed_plane;
use super::transform::{Patch, transform_input, transform_products};
use crate::kernel::shape::Convolution;
use crate::kernel::tile::{self, Panel, ROWS};
use crate::kernel::{Kernel, Vector};

/// Tiles that are worked on at a time: few enough that their values stay in the cache.
pub(super) const TILES: usize = 3 * ROWS;

/// What [`forward`](super::forward) works with.
pub(super) struct Arguments<'a> {
    pub(super) shape: &'a Convolution,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) packed: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) rectify: bool,
    pub(super) output: &'a mut [f32],
    /// Of the input: `[pair of points][tile][channel]`.
    pub(super) values: &'a mut [f32],
    /// Of these and the weights: `[pair of points][tile][filter]`.
    pub(super) products: &'a mut [f32],
    /// Numbers of one pair of points in `values` and in `products`.
    pub(super) planes: [usize; 2],
}

/// [`forward`](super::forward) with one number of points and of outputs along a side of a tile.
pub(super) struct Forward<'a, const POINTS: usize, const OUTPUTS: usize>(pub(super) Arguments<'a>);

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
