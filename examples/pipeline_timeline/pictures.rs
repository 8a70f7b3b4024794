//! Small pictures, made into files as photographs lie on a disk: a folder of PNG files, with a sub-folder for each class.

use std::fs;
use std::path::Path;

use feedline_pipeline::{BoxError, Random, Shape, Source};
use image::RgbImage;
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use rayon::prelude::*;

/// Writes the first `count` pictures of `source`. Returns the bytes of all files.
pub(crate) fn write(
    folder: &Path,
    source: &dyn Source,
    count: usize,
    side: u32,
) -> Result<usize, BoxError> {
    for class in 0..source.classes() {
        fs::create_dir_all(folder.join(class.to_string()))?;
    }
    let write = |index| write_picture(folder, source, index, side);
    (0..count.min(source.len()))
        .into_par_iter()
        .map(write)
        .sum()
}

/// Enlarges a picture, and gives it the noise of a camera, without which its file would be smaller than photographs are.
fn write_picture(
    folder: &Path,
    source: &dyn Source,
    index: usize,
    side: u32,
) -> Result<usize, BoxError> {
    let Shape { height, width, .. } = source.shape();
    let mut scratch = Vec::new();
    let sample = source.sample(index, &mut scratch)?;
    let small = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let place = y as usize * width + x as usize;
        let channel = |channel: usize| sample.pixels[channel * height * width + place];
        image::Rgb([channel(0), channel(1), channel(2)])
    });
    let mut large = imageops::resize(&small, side, side, FilterType::CatmullRom);
    let mut random = Random::new([index as u64]);
    for value in large.iter_mut() {
        *value = value.saturating_add_signed(random.below(7) as i8 - 3);
    }
    let mut png = Vec::new();
    large.write_with_encoder(PngEncoder::new_with_quality(
        &mut png,
        CompressionType::Default,
        PngFilter::Adaptive,
    ))?;
    let path = folder.join(format!("{}/{index:05}.png", sample.label));
    fs::write(&path, &png).map_err(|error| format!("can't write {}: {error}", path.display()))?;
    Ok(png.len())
}
