//! From candle's order of numbers, channel by channel, to that of the kernels, pixel by pixel, and back.

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
