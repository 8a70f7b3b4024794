//! From candle's order of numbers, channel by channel, to that of the kernels, pixel by pixel, and back.

use super::BLOCK;
use super::shape::Picture;

/// `[channels][pixels]` as the picture `shape`; what pads its channels becomes 0.
pub(crate) fn to_pixels(shape: &Picture, channels: &[f32], pixels: &mut [f32]) {
    assert_eq!(channels.len(), shape.channels * shape.pixels());
    assert_eq!(pixels.len(), shape.len());
    if shape.stride > shape.channels {
        pixels.fill(0.0);
    }
    for (channel, plane) in channels.chunks_exact(shape.pixels()).enumerate() {
        let places = pixels[channel..].iter_mut().step_by(shape.stride);
        for (place, &value) in places.zip(plane) {
            *place = value;
        }
    }
}

/// The picture `shape` as `[channels][pixels]`.
pub(crate) fn to_channels(shape: &Picture, pixels: &[f32], channels: &mut [f32]) {
    assert_eq!(channels.len(), shape.channels * shape.pixels());
    assert_eq!(pixels.len(), shape.len());
    for (channel, plane) in channels.chunks_exact_mut(shape.pixels()).enumerate() {
        let places = pixels[channel..].iter().step_by(shape.stride);
        for (&place, value) in places.zip(plane) {
            *value = place;
        }
    }
}

/// Copies a picture into one with a border, whose border is left as it is.
pub(crate) fn into_border(
    inner: &Picture,
    outer: &Picture,
    (top, left): (usize, usize),
    from: &[f32],
    to: &mut [f32],
) {
    let rows = to[top * outer.row()..].chunks_mut(outer.row());
    for (from, to) in from.chunks_exact(inner.row()).zip(rows) {
        to[left * outer.stride..][..inner.row()].copy_from_slice(from);
    }
}

/// The opposite of [`into_border`].
pub(crate) fn out_of_border(
    inner: &Picture,
    outer: &Picture,
    (top, left): (usize, usize),
    from: &[f32],
    to: &mut [f32],
) {
    let rows = from[top * outer.row()..].chunks(outer.row());
    for (to, from) in to.chunks_exact_mut(inner.row()).zip(rows) {
        to.copy_from_slice(&from[left * outer.stride..][..inner.row()]);
    }
}

/// `[channels][pixels]` as the picture `inner` in one with a border, whose border becomes 0.
pub(crate) fn to_bordered(
    inner: &Picture,
    outer: &Picture,
    (top, left): (usize, usize),
    channels: &[f32],
    pixels: &mut [f32],
) {
    assert_eq!(channels.len(), inner.channels * inner.pixels());
    assert_eq!(pixels.len(), outer.len());
    pixels.fill(0.0);
    for y in 0..inner.height {
        let row = &mut pixels[(top + y) * outer.row() + left * outer.stride..][..inner.row()];
        // A line of the cache at a time: all of its channels before the next pixel.
        for (line, planes) in channels.chunks(BLOCK * inner.pixels()).enumerate() {
            for (x, pixel) in row.chunks_exact_mut(inner.stride).enumerate() {
                let values = planes[y * inner.width + x..].iter().step_by(inner.pixels());
                for (place, &value) in pixel[line * BLOCK..].iter_mut().zip(values) {
                    *place = value;
                }
            }
        }
    }
}

/// The opposite of [`to_bordered`].
pub(crate) fn from_bordered(
    inner: &Picture,
    outer: &Picture,
    (top, left): (usize, usize),
    pixels: &[f32],
    channels: &mut [f32],
) {
    assert_eq!(channels.len(), inner.channels * inner.pixels());
    assert_eq!(pixels.len(), outer.len());
    for y in 0..inner.height {
        let row = &pixels[(top + y) * outer.row() + left * outer.stride..][..inner.row()];
        for (line, planes) in channels.chunks_mut(BLOCK * inner.pixels()).enumerate() {
            for (x, pixel) in row.chunks_exact(inner.stride).enumerate() {
                let places = planes[y * inner.width + x..].iter_mut();
                let places = places.step_by(inner.pixels());
                for (place, &value) in places.zip(&pixel[line * BLOCK..]) {
                    *place = value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use feedline_pipeline::Random;
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::testing::{cases, most, noise};

    proptest! {
        #![proptest_config(cases(96))]

        #[test]
        fn every_number_has_its_place_and_comes_back(
            (height, width, channels) in (1usize..9, 1usize..9, 1..most(40, 20)),
            (packed, seed) in (any::<bool>(), any::<u64>()),
        ) {
            let mut shape = Picture::new(height, width, channels);
            if packed {
                shape.stride = channels;
            }
            let before = noise(&mut Random::new([seed]), channels * shape.pixels());
            let mut pixels = vec![f32::NAN; shape.len()];
            to_pixels(&shape, &before, &mut pixels);
            for (index, &found) in pixels.iter().enumerate() {
                let (pixel, channel) = (index / shape.stride, index % shape.stride);
                let own = before.get(channel * shape.pixels() + pixel).copied();
                let expected = if channel < channels { own } else { Some(0.0) };
                prop_assert_eq!(Some(found), expected);
            }
            let mut after = vec![f32::NAN; before.len()];
            to_channels(&shape, &pixels, &mut after);
            prop_assert_eq!(after, before);
        }

        #[test]
        fn a_border_is_left_as_it_is(
            (height, width, channels) in (1usize..7, 1usize..7, 1usize..20),
            (top, bottom, left, right) in (0usize..4, 0usize..4, 0usize..4, 0usize..4),
            seed in any::<u64>(),
        ) {
            let inner = Picture::new(height, width, channels);
            let outer = Picture::new(top + height + bottom, left + width + right, channels);
            let before = noise(&mut Random::new([seed]), inner.len());
            let mut bordered = vec![7.0; outer.len()];
            into_border(&inner, &outer, (top, left), &before, &mut bordered);
            for (pixel, found) in bordered.chunks_exact(outer.stride).enumerate() {
                let row = (pixel / outer.width).wrapping_sub(top);
                let column = (pixel % outer.width).wrapping_sub(left);
                if row < height && column < width {
                    let own = &before[(row * width + column) * inner.stride..][..inner.stride];
                    prop_assert_eq!(found, own);
                } else {
                    prop_assert!(found.iter().all(|&x| x == 7.0));
                }
            }
            let mut after = vec![f32::NAN; before.len()];
            out_of_border(&inner, &outer, (top, left), &bordered, &mut after);
            prop_assert_eq!(after, before);
        }
    }
}
