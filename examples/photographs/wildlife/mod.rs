//! Photographs of wildlife that nobody took: ten animals before landscapes, as a camera would see them.
//!
//! Place, size, pose, coat, landscape and light are random, and any animal may be anywhere, so that colours alone say
//! little about what can be seen. Everything follows from the seed and the photograph's number.

mod animals;
mod canvas;
mod coat;
mod landscape;

use std::fs;
use std::io;
use std::path::Path;

use feedline_pipeline::{BoxError, Random};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;

use canvas::{Canvas, Pose};

pub(crate) use animals::NAMES;

/// Pixels of each side of a photograph.
pub(crate) const SIDE: usize = 300;

/// A camera's JPEGs are little compressed.
const QUALITY: u8 = 92;

/// Writes photographs into a folder for each animal. As many threads as there are cores draw them, in any order: that
/// changes nothing.
pub(crate) fn write(folder: &Path, photographs: usize, seed: u64) -> Result<(), BoxError> {
    for name in NAMES {
        let class = folder.join(name);
        fs::create_dir_all(&class).map_err(|error| cannot_write(&class, &error))?;
    }
    (0..photographs).into_par_iter().try_for_each(|index| {
        let label = index % NAMES.len();
        let path = folder.join(NAMES[label]).join(format!("{index:05}.jpg"));
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        photograph(label, [seed, index as u64]).write_with_encoder(encoder)?;
        fs::write(&path, jpeg).map_err(|error| cannot_write(&path, &error))
    })
}

fn cannot_write(path: &Path, error: &io::Error) -> BoxError {
    format!(
        "can't write {}: {error}; photographs take 30 to 40 kB each: take fewer, or name another folder",
        path.display()
    )
    .into()
}

/// Draws a photograph of the animal with this label.
pub(crate) fn photograph(label: usize, key: [u64; 2]) -> RgbImage {
    let random = &mut Random::new(key);
    let mut canvas = landscape::draw(SIDE, random);
    let side = SIDE as f32;
    let pose = Pose {
        origin: [
            side * random.uniform(0.36, 0.64),
            side * random.uniform(0.42, 0.62),
        ],
        scale: side * random.uniform(0.22, 0.36),
        turn: canvas::turn(random.uniform(-0.12, 0.12)),
        mirrored: random.below(2) == 0,
    };
    animals::draw(label, &mut canvas, pose, random);
    landscape::grow(&mut canvas, random);
    expose(&canvas, random)
}

/// What a camera makes of it: its exposure and white balance are never quite right, corners are darker, and every pixel
/// has noise of its own.
fn expose(canvas: &Canvas, random: &mut Random) -> RgbImage {
    let exposure = random.uniform(0.7, 1.2);
    let balance: [f32; 3] = std::array::from_fn(|_| exposure * random.uniform(0.85, 1.15));
    let noise = random.uniform(4.0, 10.0);
    let middle = canvas.side as f32 / 2.0;
    let mut picture = RgbImage::new(canvas.side as u32, canvas.side as u32);
    for ((x, y, pixel), colour) in picture.enumerate_pixels_mut().zip(&canvas.pixels) {
        let (dx, dy) = (x as f32 / middle - 1.0, y as f32 / middle - 1.0);
        let corner = 1.0 - 0.16 * (dx * dx + dy * dy);
        let mut bits = random.next_u64();
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            let grain = noise * ((bits & 0xffff) as f32 / 32_768.0 - 1.0);
            bits >>= 16;
            *value = (255.0 * colour[channel] * balance[channel] * corner + grain) as u8;
        }
    }
    picture
}
