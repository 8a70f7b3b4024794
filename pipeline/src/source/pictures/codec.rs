//! From compressed bytes to pixels, by the decoders of others.

use std::io::Cursor;

use png::Transformations;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::header::{Format, Header};
use super::orientation::Orientation;

/// What was decoded, at the start of the memory that was lent.
pub(super) struct Decoded {
    pub(super) channels: usize,
    pub(super) orientation: Orientation,
}

/// Bytes of the memory that [`decode`] writes a picture's pixels to.
pub(super) fn pixel_bytes(header: &Header) -> usize {
    // A PNG picture may have transparency, and may say so late.
    let channels = match header.format {
        Format::Jpeg { .. } => header.components.clamp(1, 3),
        Format::Png => 4,
    };
    channels
        .saturating_mul(header.width)
        .saturating_mul(header.height)
}

/// Bytes that the decoder takes for itself: some rows, or all coefficients of a JPEG picture that comes in several
/// scans. Tables and metadata, up to some 100 KiB, are not counted.
pub(super) fn working_bytes(header: &Header) -> usize {
    match header.format {
        Format::Jpeg { several_scans, .. } => {
            // In blocks of up to 32 by 32 pixels, two bytes for each number.
            let width = header.width.next_multiple_of(32);
            let rows = if several_scans {
                header.height.next_multiple_of(32)
            } else {
                4 * 32
            };
            (2 * header.components)
                .saturating_mul(width)
                .saturating_mul(rows)
        }
        // Of up to four channels of two bytes, and the window of the compression.
        Format::Png => (4 * 8 * header.width).saturating_add(128 << 10),
    }
}

/// Decodes the picture in `bytes` into `memory`, of at least [`pixel_bytes`], pixel after pixel: of one channel if it is
/// grey or shall be (`channels` is 1), else three. The error says why in words.
pub(super) fn decode(
    bytes: &[u8],
    header: &Header,
    channels: usize,
    memory: &mut [u8],
) -> Result<Decoded, String> {
    match header.format {
        Format::Jpeg {
            scan, orientation, ..
        } => Ok(Decoded {
            channels: jpeg(bytes, scan, header, channels, memory)?,
            orientation,
        }),
        Format::Png => png(bytes, header, channels, memory),
    }
}

fn jpeg(
    bytes: &[u8],
    scan: usize,
    header: &Header,
    channels: usize,
    memory: &mut [u8],
) -> Result<usize, String> {
    // The decoder paints what is missing in grey; it only looks at whole rows of blocks.
    let compressed = bytes.get(scan..).unwrap_or_default();
    if !compressed.windows(2).rev().any(|pair| pair == [0xff, 0xd9]) {
        return Err("it is cut off: it has no end marker".into());
    }
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX));
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder
        .decode_headers()
        .map_err(|error| error.to_string())?;
    let grey = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => true,
        // The decoder leaves colour out for nothing.
        Some(ColorSpace::YCbCr) => channels == 1,
        _ => false,
    };
    let (color, stored) = if grey {
        (ColorSpace::Luma, 1)
    } else {
        (ColorSpace::RGB, 3)
    };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let pixels = memory_for(decoder.output_buffer_size(), header, stored, memory)?;
    decoder
        .decode_into(pixels)
        .map_err(|error| error.to_string())?;
    Ok(to_channels(pixels, stored, channels))
}

fn png(
    bytes: &[u8],
    header: &Header,
    channels: usize,
    memory: &mut [u8],
) -> Result<Decoded, String> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes become colours, 1 to 4 bits and 16 become 8.
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let stored = reader.output_color_type().0.samples();
    let pixels = memory_for(reader.output_buffer_size(), header, stored, memory)?;
    reader
        .next_frame(pixels)
        .map_err(|error| error.to_string())?;
    let exif = reader.info().exif_metadata.as_deref();
    Ok(Decoded {
        orientation: exif.map_or_else(Orientation::default, Orientation::of_exif),
        channels: to_channels(pixels, stored, channels),
    })
}

/// The part of `memory` for the pixels, if the decoder takes the picture to be as large as its header says.
fn memory_for<'a>(
    needed: Option<usize>,
    header: &Header,
    stored: usize,
    memory: &'a mut [u8],
) -> Result<&'a mut [u8], String> {
    let expected = stored * header.width * header.height;
    if needed != Some(expected) || expected > memory.len() {
        let (width, height) = (header.width, header.height);
        return Err(format!(
            "its headers contradict each other about its size, {width}x{height} pixels"
        ));
    }
    Ok(&mut memory[..expected])
}

/// Makes pixels of `stored` channels (grey, grey and alpha, colour, colour and alpha) ones of one channel or three, in
/// place: of one if they were grey or `channels` is 1. What is transparent is seen before black.
fn to_channels(pixels: &mut [u8], stored: usize, channels: usize) -> usize {
    let opaque = |value: u8, alpha: u8| {
        let product = u32::from(value) * u32::from(alpha);
        ((product + 127) / 255) as u8
    };
    // The luma of ITU-R BT.601, as JPEG and Pillow have it.
    let luma = |red: u8, green: u8, blue: u8| {
        let [red, green, blue] = [red, green, blue].map(u32::from);
        ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
    };
    let kept = match (stored, channels) {
        (1 | 2, _) | (_, 1) => 1,
        _ => 3,
    };
    // What is written never lies behind what is still to be read.
    for pixel in 0..pixels.len() / stored {
        let (from, to) = (pixel * stored, pixel * kept);
        match (stored, kept) {
            (2, _) => pixels[to] = opaque(pixels[from], pixels[from + 1]),
            (3, 1) => pixels[to] = luma(pixels[from], pixels[from + 1], pixels[from + 2]),
            (4, _) => {
                let alpha = pixels[from + 3];
                let color = [0, 1, 2].map(|channel| opaque(pixels[from + channel], alpha));
                if kept == 1 {
                    pixels[to] = luma(color[0], color[1], color[2]);
                } else {
                    pixels[to..to + 3].copy_from_slice(&color);
                }
            }
            _ => break,
        }
    }
    kept
}
