//! Crop and flip: where each pixel is read from, and the one pass that reads them.

use super::affine::Affine;
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

    /// Reads the window of `pixels` (CHW, of `shape`), converts each channel by its own `affine`, and writes
    /// `output` (CHW, channels · `height` · `width`) once, from start to end.
    pub(super) fn read(self, pixels: &[u8], shape: Shape, affine: &[Affine], output: &mut [f32]) {
        let planes = pixels.chunks_exact(shape.height * shape.width);
        let outputs = output.chunks_exact_mut(self.height * self.width);
        for ((plane, output), affine) in planes.zip(outputs).zip(affine) {
            for (y, output) in output.chunks_exact_mut(self.width).enumerate() {
                let y = self.top + y as isize;
                if y < 0 || y >= shape.height as isize {
                    output.fill(affine.offset);
                } else {
                    let start = y as usize * shape.width;
                    self.read_row(&plane[start..start + shape.width], *affine, output);
                }
            }
        }
    }

    fn read_row(self, row: &[u8], affine: Affine, output: &mut [f32]) {
        let end = self.left + self.width as isize;
        let inside = self.left.clamp(0, row.len() as isize)..end.clamp(0, row.len() as isize);
        let before = (-self.left).clamp(0, self.width as isize) as usize;
        let pixels = &row[inside.start as usize..inside.end as usize];
        if self.flipped {
            let (output, outside) = output.split_at_mut(self.width - before);
            outside.fill(affine.offset);
            let (outside, output) = output.split_at_mut(output.len() - pixels.len());
            outside.fill(affine.offset);
            for (value, &pixel) in output.iter_mut().zip(pixels.iter().rev()) {
                *value = affine.apply(f32::from(pixel));
            }
        } else {
            let (outside, output) = output.split_at_mut(before);
            outside.fill(affine.offset);
            let (output, outside) = output.split_at_mut(pixels.len());
            outside.fill(affine.offset);
            for (value, &pixel) in output.iter_mut().zip(pixels) {
                *value = affine.apply(f32::from(pixel));
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            (height, width) in (1usize..7, 1usize..7),
            (crop_height, crop_width) in (1usize..9, 1usize..9),
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
            prop_assert_eq!(output, naive.0.concat());
        }
    }
}
