//! Crop and flip: where each pixel is read from, and the one pass that reads them.

use std::ops::Range;

use super::element::Element;
use super::moments::ByteSums;
#[cfg(target_arch = "x86_64")]
use super::simd::Avx2;
use super::simd::{Portable, Simd};
use crate::source::Shape;

/// A view of a picture: `height` × `width` pixels from (`top`, `left`), mirrored or not. What lies outside the
/// picture reads as zero bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) height: usize,
    pub(super) width: usize,
    top: isize,
    left: isize,
    flipped: bool,
}

impl Window {
    /// The whole picture.
    pub(super) fn whole(shape: Shape) -> Self {
        Self {
            height: shape.height,
            width: shape.width,
            top: 0,
            left: 0,
            flipped: false,
        }
    }

    /// Top, left, and whether it is mirrored.
    #[cfg(any(feature = "cuda", test))]
    pub(super) fn place(self) -> (isize, isize, bool) {
        (self.top, self.left, self.flipped)
    }

    /// `height` × `width` pixels of this window from (`top`, `left`), which may lie outside it.
    pub(super) fn crop(self, top: isize, left: isize, height: usize, width: usize) -> Self {
        let left = if self.flipped {
            // Columns count from the right edge of the picture's part.
            self.left + self.width as isize - (left + width as isize)
        } else {
            self.left + left
        };
        Self {
            height,
            width,
            top: self.top + top,
            left,
            flipped: self.flipped,
        }
    }

    /// This window with left and right exchanged.
    pub(super) fn flip(self) -> Self {
        Self {
            flipped: !self.flipped,
            ..self
        }
    }

    /// Reads the window of `pixels` (CHW, of `shape`), converts each channel by its own `channels`, and writes
    /// `output` (CHW, channels · `height` · `width`) once, from start to end.
    pub(super) fn read<T: Element>(
        self,
        pixels: &[u8],
        shape: Shape,
        channels: &[T::Channel],
        output: &mut [T],
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = Avx2::detect() {
            // SAFETY: the processor has AVX2.
            return unsafe { self.read_avx2(simd, pixels, shape, channels, output) };
        }
        self.read_with(Portable, pixels, shape, channels, output);
    }

    /// The same code, compiled for AVX2.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn read_avx2<T: Element>(
        self,
        simd: Avx2,
        pixels: &[u8],
        shape: Shape,
        channels: &[T::Channel],
        output: &mut [T],
    ) {
        self.read_with(simd, pixels, shape, channels, output);
    }

    #[inline(always)]
    fn read_with<T: Element>(
        self,
        simd: impl Simd,
        pixels: &[u8],
        shape: Shape,
        channels: &[T::Channel],
        output: &mut [T],
    ) {
        let whole = self == Self::whole(shape);
        let plane = shape.height * shape.width;
        let outputs = output.chunks_exact_mut(self.height * self.width);
        for ((number, output), channel) in outputs.enumerate().zip(channels) {
            if whole {
                let pixels = &pixels[number * plane..(number + 1) * plane];
                T::convert_all(channel, pixels, output);
            } else {
                self.read_rows(simd, pixels, number * plane, shape, channel, output);
            }
        }
    }

    /// Reads one channel, whose pixels begin at `start`.
    #[inline(always)]
    fn read_rows<T: Element>(
        self,
        simd: impl Simd,
        pixels: &[u8],
        start: usize,
        shape: Shape,
        channel: &T::Channel,
        output: &mut [T],
    ) {
        let zero = T::convert(channel, 0);
        // How many columns of the window lie beside the picture; in a mirror, they change sides.
        let left = (-self.left).clamp(0, self.width as isize) as usize;
        let right = self.left + self.width as isize - shape.width as isize;
        let right = right.clamp(0, self.width as isize) as usize;
        let (first, last) = if self.flipped {
            (right, left)
        } else {
            (left, right)
        };
        for (y, output) in output.chunks_exact_mut(self.width).enumerate() {
            let y = self.top + y as isize;
            if y < 0 || y >= shape.height as isize || left + right >= self.width {
                output.fill(zero);
                continue;
            }
            // As if rows had no ends: what is read beside the picture is another row's, and is painted over.
            let from = (start + y as usize * shape.width) as isize + self.left;
            let whole = from..from + self.width as isize;
            if whole.start >= 0 && whole.end <= pixels.len() as isize {
                let pixels = &pixels[whole.start as usize..whole.end as usize];
                self.read_row(simd, channel, pixels, output);
            } else {
                // The sample's first row or last juts out.
                let inside = (from + left as isize) as usize..(whole.end - right as isize) as usize;
                let width = self.width;
                let output = &mut output[first..width - last];
                self.read_row(simd, channel, &pixels[inside], output);
            }
        }
        paint(output, self.width, 0..first, zero);
        paint(output, self.width, self.width - last..self.width, zero);
    }

    /// The sums of the bytes that [`read`](Self::read) reads of one channel.
    #[inline(always)]
    pub(super) fn sums(self, plane: &[u8], shape: Shape) -> ByteSums {
        let mut sums = ByteSums::default();
        let inside = |start: isize, length: usize, end: usize| {
            let limit = |place: isize| place.clamp(0, end as isize) as usize;
            limit(start)..limit(start + length as isize)
        };
        let columns = inside(self.left, self.width, shape.width);
        for y in inside(self.top, self.height, shape.height) {
            let row = &plane[y * shape.width..(y + 1) * shape.width];
            sums.add(&row[columns.clone()]);
        }
        sums
    }

    /// Converts `pixels` into `output`, which is as long: in order, or the last one first.
    #[inline(always)]
    fn read_row<T: Element>(
        self,
        simd: impl Simd,
        channel: &T::Channel,
        pixels: &[u8],
        output: &mut [T],
    ) {
        let (outputs, last) = output.as_chunks_mut::<8>();
        if self.flipped {
            let (rest, eights) = pixels.as_rchunks::<8>();
            for (output, &eight) in outputs.iter_mut().zip(eights.iter().rev()) {
                let eight = u64::from_le_bytes(eight).swap_bytes().to_le_bytes();
                *output = T::convert_eight(simd, channel, eight);
            }
            for (value, &pixel) in last.iter_mut().zip(rest.iter().rev()) {
                *value = T::convert(channel, pixel);
            }
        } else {
            let (eights, rest) = pixels.as_chunks::<8>();
            for (output, eight) in outputs.iter_mut().zip(eights) {
                *output = T::convert_eight(simd, channel, *eight);
            }
            for (value, &pixel) in last.iter_mut().zip(rest) {
                *value = T::convert(channel, pixel);
            }
        }
    }
}

/// Makes these `columns` of every row `zero`. Mostly they are few, and the same few for all rows of a sample: with their
/// number known to the compiler, there is no loop over them.
#[inline(always)]
fn paint<T: Element>(output: &mut [T], width: usize, columns: Range<usize>, zero: T) {
    let rows = output.chunks_exact_mut(width);
    let start = columns.start;
    match columns.len() {
        0 => {}
        1 => rows.for_each(|row| row[start] = zero),
        2 => rows.for_each(|row| row[start..start + 2].copy_from_slice(&[zero; 2])),
        3 => rows.for_each(|row| row[start..start + 3].copy_from_slice(&[zero; 3])),
        4 => rows.for_each(|row| row[start..start + 4].copy_from_slice(&[zero; 4])),
        _ => rows.for_each(|row| row[columns.clone()].fill(zero)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::affine::Affine;
    use super::*;
    use proptest::prelude::*;

    /// Crop and flip one pixel at a time, on a picture of signed coordinates.
    #[derive(Clone)]
    struct Naive(Vec<Vec<f32>>);

    impl Naive {
        fn crop(&self, top: isize, left: isize, height: usize, width: usize) -> Self {
            let at = |y: isize, x: isize| {
                let row = usize::try_from(y).ok().and_then(|y| self.0.get(y));
                row.and_then(|row| usize::try_from(x).ok().and_then(|x| row.get(x)))
                    .copied()
            };
            let row = |y| {
                (0..width)
                    .map(|x| at(top + y as isize, left + x as isize).unwrap_or(0.0))
                    .collect()
            };
            Self((0..height).map(row).collect())
        }

        fn flip(&self) -> Self {
            Self(
                self.0
                    .iter()
                    .map(|row| row.iter().rev().copied().collect())
                    .collect(),
            )
        }
    }

    proptest! {
        #[test]
        fn any_crop_and_flip_reads_the_same_pixels_as_a_naive_loop(
            (height, width) in (1usize..7, 1usize..36),
            (crop_height, crop_width) in (1usize..9, 1usize..40),
            (top, left) in (-9isize..9, -9isize..9),
            (flip_before, flip_after) in any::<(bool, bool)>(),
        ) {
            let shape = Shape::new(1, height, width);
            let pixels: Vec<u8> = (1..=shape.elements() as u8).collect();
            let mut naive =
                Naive(pixels.chunks(width).map(|row| row.iter().map(|&p| f32::from(p)).collect()).collect());
            let mut window = Window::whole(shape);
            if flip_before {
                (naive, window) = (naive.flip(), window.flip());
            }
            naive = naive.crop(top, left, crop_height, crop_width);
            window = window.crop(top, left, crop_height, crop_width);
            if flip_after {
                (naive, window) = (naive.flip(), window.flip());
            }
            let mut output = vec![f32::NAN; crop_height * crop_width];
            window.read(&pixels, shape, &[Affine::IDENTITY], &mut output);
            let mut portable = vec![f32::NAN; crop_height * crop_width];
            window.read_with(Portable, &pixels, shape, &[Affine::IDENTITY], &mut portable);
            prop_assert_eq!(&output, &portable);
            let mut sums = ByteSums::default();
            sums.add(&output.iter().map(|&value| value as u8).collect::<Vec<_>>());
            prop_assert_eq!(window.sums(&pixels, shape), sums);
            prop_assert_eq!(output, naive.0.concat());
        }
    }
}
