//! Picture files.

use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Shape, Source};
use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits, Rgb, RgbImage};

use crate::error::{Error, Result};

/// The most pixels that a side may have: a picture that unpacks to more is taken for an attack.
const LARGEST_SIDE: u32 = 16 << 10;

/// The picture in a PNG file as a source of one sample with the label 0: for [`predict`](super::predict). It is brought
/// to `shape`, which is that of the pictures that the model was trained on *before* their transform: resized (with a
/// triangle filter) if it has another size or other proportions, made grey if there is one channel. What is transparent lets
/// white through, as on a page.
///
/// ```no_run
/// # use feedline_pipeline::{Shape, Transform};
/// # use feedline_trainer::{Input, inference, models};
/// # let model = models::softmax(1, &candle_core::Device::Cpu)?;
/// let picture = inference::picture("seven.png", Shape::new(1, 28, 28))?;
/// let prediction = &inference::predict(&model, Input::new(picture, Transform::new().scale()))?[0];
/// println!("a {}", prediction.class);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// [`Picture`](Error::Picture) if the file can't be read, is no PNG, is damaged or larger than 16,384 pixels on a side, or
/// if `shape` has neither one nor three channels.
pub fn picture(path: impl AsRef<Path>, shape: Shape) -> Result<Arc<dyn Source>> {
    let path = path.as_ref();
    let refuse = |reason: String| Error::Picture {
        path: path.into(),
        reason,
    };
    let mut reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|error| refuse(error.to_string()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    reader.limits(limits);
    let picture = reader.decode().map_err(|error| refuse(error.to_string()))?;
    let side = |pixels: usize| match u32::try_from(pixels) {
        Ok(pixels @ 1..=LARGEST_SIDE) => Ok(pixels),
        _ => Err(refuse(format!("{shape} is no size for it"))),
    };
    let picture = match picture.color().has_alpha() {
        true => on_white(&picture).into(),
        false => picture,
    };
    let (height, width) = (side(shape.height)?, side(shape.width)?);
    let picture = match (picture.width(), picture.height()) == (width, height) {
        true => picture,
        false => picture.resize_exact(width, height, FilterType::Triangle),
    };
    let pixels = match shape.channels {
        1 => picture.into_luma8().into_raw(),
        3 => planes(&picture.into_rgb8().into_raw()),
        _ => {
            return Err(refuse(format!(
                "pictures have 1 or 3 channels, not {shape}"
            )));
        }
    };
    Ok(Arc::new(InMemory::new(shape, 1, pixels, vec![0])?))
}

/// The picture as it looks on white paper.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let picture = picture.to_rgba8();
    RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [colour @ .., opacity] = picture.get_pixel(x, y).0;
        let mixed =
            |own: u8| u32::from(own) * u32::from(opacity) + 255 * (255 - u32::from(opacity));
        Rgb(colour.map(|own| ((mixed(own) + 127) / 255) as u8))
    })
}

/// From pixel after pixel to channel after channel.
fn planes(pixels: &[u8]) -> Vec<u8> {
    let channel = |own| pixels.iter().skip(own).step_by(3).copied();
    (0..3).flat_map(channel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayAlphaImage, GrayImage, LumaA, RgbaImage};

    #[test]
    fn a_picture_of_the_right_size_keeps_every_pixel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("colours.png");
        let picture = RgbImage::from_fn(3, 2, |x, y| Rgb([x as u8, y as u8, (x + 10 * y) as u8]));
        picture.save(&path).unwrap();
        let source = super::picture(&path, Shape::new(3, 2, 3)).unwrap();
        let mut scratch = Vec::new();
        let pixels = source.sample(0, &mut scratch).unwrap().pixels.to_vec();
        assert_eq!(pixels[..6], [0, 1, 2, 0, 1, 2]);
        assert_eq!(pixels[6..12], [0, 0, 0, 1, 1, 1]);
        assert_eq!(pixels[12..], [0, 1, 2, 10, 11, 12]);
    }

    #[test]
    fn other_sizes_and_colours_are_brought_to_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grey.png");
        GrayImage::from_pixel(100, 50, image::Luma([77]))
            .save(&path)
            .unwrap();
        let source = super::picture(&path, Shape::new(3, 8, 8)).unwrap();
        let mut scratch = Vec::new();
        let pixels = source.sample(0, &mut scratch).unwrap().pixels.to_vec();
        assert_eq!(pixels, [77; 192]);
    }

    #[test]
    fn what_is_transparent_lets_white_through() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawn.png");
        let mut scratch = Vec::new();
        let colours = RgbaImage::from_vec(3, 1, vec![9, 8, 7, 255, 0, 0, 0, 0, 100, 0, 0, 51]);
        colours.unwrap().save(&path).unwrap();
        let source = super::picture(&path, Shape::new(3, 1, 3)).unwrap();
        let pixels = source.sample(0, &mut scratch).unwrap().pixels;
        assert_eq!(pixels, [9, 255, 224, 8, 255, 204, 7, 255, 204]);
        // Black on nothing is black on white, whatever is stored where nothing is.
        let grey = GrayAlphaImage::from_fn(2, 1, |x, _| LumaA([0, if x == 0 { 255 } else { 0 }]));
        grey.save(&path).unwrap();
        let source = super::picture(&path, Shape::new(1, 1, 2)).unwrap();
        assert_eq!(source.sample(0, &mut scratch).unwrap().pixels, [0, 255]);
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.png");
        GrayImage::new(40, 40).save(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for content in [&whole[..whole.len() / 2], b"", b"no picture"] {
            std::fs::write(&path, content).unwrap();
            let error = super::picture(&path, Shape::new(1, 40, 40)).err().unwrap();
            assert!(error.to_string().contains("broken.png"), "{error}");
        }
        let missing = super::picture(folder.path().join("none.png"), Shape::new(1, 8, 8));
        assert!(missing.err().unwrap().to_string().contains("none.png"));
        let wide = super::picture(&path, Shape::new(2, 8, 8)).err().unwrap();
        assert!(wide.to_string().contains("broken.png"), "{wide}");
    }
}
