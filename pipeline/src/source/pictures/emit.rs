//! From pixel after pixel, as they are stored, to plane after plane, as they are shown.

use super::orientation::Orientation;

/// Pixels as decoders and resizers have them: row after row, the channels of a pixel side by side.
pub(super) struct Stored<'a> {
    pub(super) pixels: &'a [u8],
    pub(super) width: usize,
    pub(super) height: usize,
    /// 1 or 3.
    pub(super) channels: usize,
    pub(super) orientation: Orientation,
}

/// Writes a picture, the right way up, into planes of `size` (width and height), behind `margin` columns and rows of
/// black. A grey picture is the same in all planes.
pub(super) fn emit(
    stored: &Stored<'_>,
    planes: &mut [u8],
    size: (usize, usize),
    margin: (usize, usize),
) {
    let (width, height) = stored.orientation.turn((stored.width, stored.height));
    if (width, height) != size {
        planes.fill(0);
    }
    let channels = stored.channels;
    let (step_x, step_y) = (channels as isize, (channels * stored.width) as isize);
    // Where the shown picture begins in the stored one, and how to go on from there to the right and down.
    let Orientation {
        transposed,
        mirrored_x,
        mirrored_y,
    } = stored.orientation;
    let (start_x, step_x) = if mirrored_x {
        (step_x * (stored.width as isize - 1), -step_x)
    } else {
        (0, step_x)
    };
    let (start_y, step_y) = if mirrored_y {
        (step_y * (stored.height as isize - 1), -step_y)
    } else {
        (0, step_y)
    };
    let start = start_x + start_y;
    let (right, down) = if transposed {
        (step_y, step_x)
    } else {
        (step_x, step_y)
    };
    for (number, plane) in planes.chunks_exact_mut(size.0 * size.1).enumerate() {
        let channel = number % channels;
        let rows = plane.chunks_exact_mut(size.0).skip(margin.1).take(height);
        for (y, row) in rows.enumerate() {
            let row = &mut row[margin.0..margin.0 + width];
            let begin = start + y as isize * down;
            if right == channels as isize {
                // As stored: without a multiplication for each pixel.
                let pixels = &stored.pixels[begin as usize..][..width * channels];
                for (value, pixel) in row.iter_mut().zip(pixels.chunks_exact(channels)) {
                    *value = pixel[channel];
                }
            } else {
                for (x, value) in row.iter_mut().enumerate() {
                    let pixel = (begin + x as isize * right) as usize;
                    *value = stored.pixels[pixel + channel];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Stored position of what is shown at (x, y), as the EXIF standard says in words: where the stored first row and
    /// the stored first column are shown.
    fn shown_from(number: u16, (x, y): (usize, usize), (w, h): (usize, usize)) -> (usize, usize) {
        match number {
            1 => (x, y),                 // row: top, column: left
            2 => (w - 1 - x, y),         // top, right
            3 => (w - 1 - x, h - 1 - y), // bottom, right
            4 => (x, h - 1 - y),         // bottom, left
            5 => (y, x),                 // row: left, column: top
            6 => (y, h - 1 - x),         // right, top
            7 => (w - 1 - y, h - 1 - x), // right, bottom
            _ => (w - 1 - y, x),         // left, bottom
        }
    }

    fn exif(number: u16) -> Orientation {
        let bytes = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01";
        Orientation::of_exif(&[&bytes[..], &number.to_be_bytes()].concat())
    }

    proptest! {
        #[test]
        fn pictures_are_shown_as_exif_says(
            (w, h) in (1usize..6, 1usize..6),
            number in 1u16..9,
            channels in prop_oneof![Just(1), Just(3)],
            planes in prop_oneof![Just(1), Just(3)],
            margin in (0usize..3, 0usize..3),
        ) {
            prop_assume!(planes >= channels);
            let pixels: Vec<u8> = (1..=(w * h * channels) as u8).collect();
            let orientation = exif(number);
            let stored = Stored { pixels: &pixels, width: w, height: h, channels, orientation };
            let (width, height) = if number < 5 { (w, h) } else { (h, w) };
            let size = (width + 2 * margin.0, height + margin.1);
            let mut output = vec![9; planes * size.0 * size.1];
            emit(&stored, &mut output, size, margin);
            for plane in 0..planes {
                for y in 0..size.1 {
                    for x in 0..size.0 {
                        let inside = (margin.0..margin.0 + width).contains(&x)
                            && (margin.1..margin.1 + height).contains(&y);
                        let expected = if inside {
                            let at = (x - margin.0, y - margin.1);
                            let (x, y) = shown_from(number, at, (w, h));
                            pixels[(y * w + x) * channels + plane % channels]
                        } else {
                            0
                        };
                        prop_assert_eq!(output[(plane * size.1 + y) * size.0 + x], expected);
                    }
                }
            }
        }
    }
}
