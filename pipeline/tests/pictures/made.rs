//! Pictures, and what holds them, made for tests.

use std::path::Path;

use feedline_pipeline::source::{Decode, ImageFolder};
use feedline_pipeline::{Error, Source};
use image::RgbImage;
use jpeg_encoder::{ColorType, Encoder};
use tar::{Builder, Header};

/// A picture whose colours change slowly, so that JPEG keeps them.
pub(crate) fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |a: f64, b: f64| {
            let phase = a * f64::from(x) / f64::from(width) + b * f64::from(y) / f64::from(height);
            (127.5 + 100.0 * phase.sin()) as u8
        };
        image::Rgb([wave(5.0, 1.0), wave(1.0, 4.0), wave(-3.0, 3.0)])
    })
}

pub(crate) fn jpeg(picture: &RgbImage) -> Vec<u8> {
    jpeg_with(picture, |_| {})
}

pub(crate) fn jpeg_with(
    picture: &RgbImage,
    change: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    encoded(
        picture.as_raw(),
        picture.dimensions(),
        ColorType::Rgb,
        change,
    )
}

pub(crate) fn encoded(
    pixels: &[u8],
    (width, height): (u32, u32),
    color: ColorType,
    change: impl FnOnce(&mut Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 95);
    change(&mut encoder);
    encoder
        .encode(pixels, width as u16, height as u16, color)
        .unwrap();
    file
}

pub(crate) fn png(picture: &image::DynamicImage) -> Vec<u8> {
    let mut file = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut file, image::ImageFormat::Png)
        .unwrap();
    file.into_inner()
}

/// What a file of these bytes becomes, or why it does not. Its name says JPEG, whatever it is.
pub(crate) fn decoded(file: &[u8], decode: Decode) -> Result<Vec<u8>, String> {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("class/picture.jpg"), file);
    let source = ImageFolder::open(folder.path(), decode).unwrap();
    let mut scratch = Vec::with_capacity(source.scratch_bytes());
    let capacity = scratch.capacity();
    let result = source.sample(0, &mut scratch).map(|sample| {
        assert_eq!(sample.pixels.len(), decode.shape().elements());
        sample.pixels.to_vec()
    });
    assert_eq!(scratch.capacity(), capacity, "more memory than was said");
    result.map_err(|error| inner(&error))
}

/// The message of the error in a sample's.
pub(crate) fn inner(error: &Error) -> String {
    match error {
        Error::Sample {
            index: _,
            stage: "source",
            source,
        } => source.to_string(),
        other => panic!("not an error of a sample: {other}"),
    }
}

/// Writes a file, and makes the folders that it lies in.
pub(crate) fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A tar file.
pub(crate) fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Broken pictures of every kind that a file can hold, and a word that the message has.
pub(crate) fn broken() -> Vec<(Vec<u8>, &'static str)> {
    let picture = photo(40, 30);
    let whole = jpeg(&picture);
    let progressive = jpeg_with(&picture, |encoder| encoder.set_progressive(true));
    let sound = png(&picture.clone().into());
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let mut huge = sound.clone();
    huge[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let mut flat = sound.clone();
    flat[20..24].fill(0);
    vec![
        (Vec::new(), "empty"),
        (whole[..1].to_vec(), "cut off"),
        (whole[..100].to_vec(), "cut off"),
        (whole[..whole.len() / 2].to_vec(), "cut off"),
        (whole[..whole.len() - 2].to_vec(), "cut off"),
        (progressive[..progressive.len() / 2].to_vec(), "cut off"),
        (sound[..20].to_vec(), "cut off"),
        (sound[..sound.len() / 2].to_vec(), ""),
        (flipped, ""),
        (huge, "65536x65536 pixels large, but the limit is 67108864"),
        (flat, "40x0"),
        (b"GIF89a and more".to_vec(), "GIF"),
        (b"RIFF1234WEBPVP8 ".to_vec(), "WebP"),
        (b"<!DOCTYPE html>".to_vec(), "HTML"),
        (vec![0; 10_000], "00"),
        (b"\xff\xd8\xff\xd9".to_vec(), "before its pixels"),
    ]
}
