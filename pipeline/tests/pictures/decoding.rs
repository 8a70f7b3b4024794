//! What pictures of all kinds become.

use feedline_pipeline::source::{Decode, Fit};
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageBuffer, RgbImage};
use jpeg_encoder::{ColorType, SamplingFactor};
use proptest::prelude::*;

use crate::made::{broken, decoded, encoded, jpeg, jpeg_with, photo, png};

/// Plane after plane.
fn planes(picture: &RgbImage) -> Vec<u8> {
    (0..3)
        .flat_map(|channel| picture.pixels().map(move |pixel| pixel.0[channel]))
        .collect()
}

fn greatest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
}

fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue);
    (sum + 1e-9).round() as u8
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The converse of how the picture was made, by the definition.
    #[test]
    fn png_pictures_of_every_kind_are_read_to_the_byte(
        (width, height) in (1u32..20, 1u32..20),
        kind in 0..8,
        bytes in prop::collection::vec(any::<u8>(), 20 * 20 * 8),
    ) {
        let count = (width * height) as usize;
        let shorts: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        macro_rules! picture {
            ($kind:ident, $values:expr, $channels:expr) => {{
                let values = $values[..count * $channels].to_vec();
                DynamicImage::$kind(ImageBuffer::from_raw(width, height, values).unwrap())
            }};
        }
        let (picture, channels, wide) = match kind {
            0 => (picture!(ImageLuma8, bytes, 1), 1, false),
            1 => (picture!(ImageLumaA8, bytes, 2), 2, false),
            2 => (picture!(ImageRgb8, bytes, 3), 3, false),
            3 => (picture!(ImageRgba8, bytes, 4), 4, false),
            4 => (picture!(ImageLuma16, shorts, 1), 1, true),
            5 => (picture!(ImageLumaA16, shorts, 2), 2, true),
            6 => (picture!(ImageRgb16, shorts, 3), 3, true),
            _ => (picture!(ImageRgba16, shorts, 4), 4, true),
        };
        // In eight bits, each in red, green and blue before black.
        let values: Vec<u8> = if wide {
            shorts.iter().map(|short| (short >> 8) as u8).collect()
        } else {
            bytes
        };
        let pixels: Vec<[u8; 3]> = values[..count * channels].chunks(channels).map(|pixel| {
            let alpha = if channels % 2 == 0 { f64::from(pixel[channels - 1]) / 255.0 } else { 1.0 };
            let color = if channels < 3 { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
            color.map(|value| (f64::from(value) * alpha).round() as u8)
        }).collect();
        let file = png(&picture);
        let (height, width) = (height as usize, width as usize);
        let expected: Vec<u8> = (0..3).flat_map(|c| pixels.iter().map(move |pixel| pixel[c])).collect();
        prop_assert_eq!(decoded(&file, Decode::rgb(height, width)).unwrap(), expected);
        let expected: Vec<u8> = pixels.iter().map(|&pixel| luma(pixel)).collect();
        prop_assert_eq!(decoded(&file, Decode::grey(height, width)).unwrap(), expected);
    }

    #[test]
    fn resizing_agrees_with_another_library(
        (width, height) in (1u32..60, 1u32..60),
        (to_width, to_height) in (1u32..60, 1u32..60),
        seed in any::<u8>(),
    ) {
        let picture = RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([0, 1, 2].map(|c| (x * 37 + y * 101 + c * 50 + u32::from(seed)) as u8))
        });
        let expected = planes(&resize(&picture, to_width, to_height, FilterType::Triangle));
        let decode = Decode::rgb(to_height as usize, to_width as usize).fit(Fit::Stretch);
        let found = decoded(&png(&picture.into()), decode).unwrap();
        prop_assert!(greatest_difference(&found, &expected) <= 2);
    }

    #[test]
    fn a_picture_of_one_colour_stays_that(
        (width, height) in (1u32..300, 1u32..300),
        (to_width, to_height) in (1usize..50, 1usize..50),
        color in any::<[u8; 3]>(),
    ) {
        let file = png(&RgbImage::from_pixel(width, height, image::Rgb(color)).into());
        let decode = Decode::rgb(to_height, to_width);
        let area = to_width * to_height;
        for fit in [Fit::Cover, Fit::Stretch] {
            let found = decoded(&file, decode.fit(fit)).unwrap();
            for (plane, value) in found.chunks(area).zip(color) {
                prop_assert!(plane.iter().all(|&found| found == value), "{fit:?}");
            }
        }
        // Black around it, as little as there can be.
        let found = decoded(&file, decode.fit(Fit::Contain)).unwrap();
        let scale = (to_width as f64 / f64::from(width)).min(to_height as f64 / f64::from(height));
        let shown = [width, height].map(|side| (f64::from(side) * scale).round().max(1.0) as usize);
        for (plane, value) in found.chunks(area).zip(color) {
            let count = plane.iter().filter(|&&found| found == value).count();
            prop_assert!(value == 0 || count == shown[0] * shown[1]);
            prop_assert!(plane.iter().all(|&found| found == value || found == 0));
        }
    }
}

#[test]
fn palettes_and_pixels_of_few_bits_are_read() {
    let written = |color, depth, palette: Option<&[u8]>, trns: Option<&[u8]>, data: &[u8]| {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 4, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette.to_vec());
        }
        if let Some(trns) = trns {
            encoder.set_trns(trns.to_vec());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        drop(writer);
        file
    };
    let palette = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120];
    let file = written(
        png::ColorType::Indexed,
        png::BitDepth::Two,
        Some(&palette),
        None,
        &[0b11_10_01_00],
    );
    let expected = [100, 70, 40, 10, 110, 80, 50, 20, 120, 90, 60, 30];
    assert_eq!(decoded(&file, Decode::rgb(1, 4)).unwrap(), expected);
    // The last colour can't be seen, the one before half.
    let file = written(
        png::ColorType::Indexed,
        png::BitDepth::Two,
        Some(&palette),
        Some(&[255, 255, 128, 0]),
        &[0b11_10_01_00],
    );
    let expected = [0, 35, 40, 10, 0, 40, 50, 20, 0, 45, 60, 30];
    assert_eq!(decoded(&file, Decode::rgb(1, 4)).unwrap(), expected);
    let file = written(
        png::ColorType::Grayscale,
        png::BitDepth::One,
        None,
        None,
        &[0b1010_0000],
    );
    assert_eq!(
        decoded(&file, Decode::grey(1, 4)).unwrap(),
        [255, 0, 255, 0]
    );
}

#[test]
fn jpeg_pictures_of_every_kind_are_close_to_what_was_written() {
    let picture = photo(75, 50);
    let decode = Decode::rgb(50, 75);
    let files = [
        jpeg_with(&picture, |encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_4_4);
        }),
        jpeg(&picture),
        jpeg_with(&picture, |encoder| {
            encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
        }),
        jpeg_with(&picture, |encoder| encoder.set_progressive(true)),
        jpeg_with(&picture, |encoder| encoder.set_restart_interval(3)),
        jpeg_with(&picture, |encoder| {
            encoder.set_optimized_huffman_tables(true);
        }),
    ];
    for (number, file) in files.iter().enumerate() {
        let found = decoded(file, decode).unwrap();
        let difference = greatest_difference(&found, &planes(&picture));
        assert!(difference <= 12, "{number}: {difference}");
        let grey: Vec<u8> = picture.pixels().map(|pixel| luma(pixel.0)).collect();
        let found = decoded(file, Decode::grey(50, 75)).unwrap();
        let difference = greatest_difference(&found, &grey);
        assert!(difference <= 12, "{number}, grey: {difference}");
    }
    // A grey file in colours is the same in all of them.
    let grey: Vec<u8> = picture.pixels().map(|pixel| luma(pixel.0)).collect();
    let file = encoded(&grey, (75, 50), ColorType::Luma, |_| {});
    let found = decoded(&file, decode).unwrap();
    assert!(greatest_difference(&found, &[&grey[..], &grey, &grey].concat()) <= 6);
    // As printers have it: Adobe's programs store how much ink is missing.
    let inks: Vec<u8> = picture
        .pixels()
        .flat_map(|pixel| [255 - pixel.0[0], 255 - pixel.0[1], 255 - pixel.0[2], 0])
        .collect();
    for color in [ColorType::Cmyk, ColorType::CmykAsYcck] {
        let file = encoded(&inks, (75, 50), color, |_| {});
        let difference = greatest_difference(&decoded(&file, decode).unwrap(), &planes(&picture));
        assert!(difference <= 12, "{color:?}: {difference}");
    }
}

#[test]
fn pictures_are_shown_the_way_up_that_the_camera_noted() {
    // Read, by another library, from the note to the way up.
    let picture = photo(64, 40);
    for number in 1..=8_u8 {
        let exif = [
            &b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
            &[number, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let mut upright = DynamicImage::from(picture.clone());
        upright.apply_orientation(image::metadata::Orientation::from_exif(number).unwrap());
        let upright = upright.into_rgb8();
        let (width, height) = upright.dimensions();
        let decode = Decode::rgb(height as usize, width as usize);

        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 64, 40);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_chunk(png::chunk::eXIf, &exif[6..]).unwrap();
        writer.write_image_data(picture.as_raw()).unwrap();
        drop(writer);
        assert_eq!(
            decoded(&file, decode).unwrap(),
            planes(&upright),
            "{number}"
        );

        let file = jpeg_with(&picture, |encoder| {
            encoder.add_app_segment(1, exif.clone()).unwrap();
        });
        let found = decoded(&file, decode).unwrap();
        assert!(
            greatest_difference(&found, &planes(&upright)) <= 12,
            "{number}"
        );
        // Made smaller and cut, too.
        for fit in [Fit::Cover, Fit::Contain, Fit::Stretch] {
            let decode = Decode::rgb(17, 13).fit(fit);
            let turned = decoded(&file, decode).unwrap();
            let expected = decoded(&png(&upright.clone().into()), decode).unwrap();
            let difference = greatest_difference(&turned, &expected);
            assert!(difference <= 12, "{number}, {fit:?}: {difference}");
        }
    }
}

#[test]
fn cut_off_pictures_are_errors_and_never_half_a_picture() {
    let picture = photo(60, 45);
    let files = [
        jpeg(&picture),
        jpeg_with(&picture, |encoder| encoder.set_progressive(true)),
        png(&picture.into()),
    ];
    let decode = Decode::rgb(45, 60);
    for (number, file) in files.iter().enumerate() {
        let whole = decoded(file, decode).unwrap();
        for length in (0..file.len())
            .step_by(7)
            .chain(file.len() - 20..file.len())
        {
            if let Ok(found) = decoded(&file[..length], decode) {
                assert!(number == 2 && found == whole, "{number}, {length} bytes");
            }
        }
    }
}

#[test]
fn what_stands_behind_a_picture_does_no_harm() {
    let picture = photo(30, 20);
    for file in [jpeg(&picture), png(&picture.into())] {
        let whole = decoded(&file, Decode::rgb(20, 30)).unwrap();
        let longer = [&file[..], &[0; 700], b"trailer"].concat();
        assert_eq!(decoded(&longer, Decode::rgb(20, 30)).unwrap(), whole);
    }
}

#[test]
fn broken_pictures_say_what_is_wrong_and_with_which_file() {
    for (file, word) in broken() {
        let message = decoded(&file, Decode::rgb(8, 8)).unwrap_err();
        assert!(message.contains(word), "{message} has no {word:?}");
        assert!(
            message.contains("picture.jpg: the picture can't be decoded: "),
            "{message}"
        );
    }
}

#[test]
fn the_limit_of_pixels_is_kept_to_the_pixel() {
    let file = jpeg(&photo(30, 20));
    let decode = Decode::rgb(4, 4);
    assert!(decoded(&file, decode.pixel_limit(600)).is_ok());
    let message = decoded(&file, decode.pixel_limit(599)).unwrap_err();
    assert!(
        message.contains("30x20 pixels large, but the limit is 599"),
        "{message}"
    );
}

#[test]
fn a_header_far_behind_long_notes_is_found() {
    let notes = vec![7; 60_000];
    let picture = photo(20, 20);
    let file = jpeg_with(&picture, |encoder| {
        for _ in 0..30 {
            encoder.add_app_segment(13, notes.clone()).unwrap();
        }
    });
    assert!(file.len() > 1 << 20);
    let plain = decoded(&jpeg(&picture), Decode::rgb(9, 9));
    assert_eq!(decoded(&file, Decode::rgb(9, 9)), plain);
}
