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
