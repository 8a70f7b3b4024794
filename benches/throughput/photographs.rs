//! A folder of JPEG files: pictures with details of all sizes, as photographs have them, that are the same every time.

use std::error::Error;
use std::fs;
use std::path::Path;

use feedline_pipeline::Random;
use image::codecs::jpeg::JpegEncoder;
use image::{ImageBuffer, Rgb};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use tempfile::TempDir;

/// Pixels along each side.
pub(crate) const SIDE: usize = 300;
pub(crate) const PICTURES: usize = 2048;
const CLASSES: usize = 10;
/// Of JPEG, from 1 to 100.
const QUALITY: u8 = 85;

/// The sizes of the details, in pixels, and how strong they are.
const OCTAVES: [(usize, f32); 5] = [(100, 60.0), (40, 35.0), (16, 18.0), (6, 9.0), (2, 5.0)];

/// Draws the pictures into a new folder in `parent`, with a sub-folder for each class. It is removed when it is dropped.
pub(crate) fn create(parent: &Path) -> Result<TempDir, Box<dyn Error>> {
    fs::create_dir_all(parent)?;
    let folder = TempDir::with_prefix_in("photographs-", parent)?;
    for class in 0..CLASSES {
        fs::create_dir(folder.path().join(format!("class-{class}")))?;
    }
    (0..PICTURES)
        .into_par_iter()
        .try_for_each(|index| {
            let class = format!("class-{}", index % CLASSES);
            write(
                index,
                &folder.path().join(class).join(format!("{index:05}.jpg")),
            )
        })
        .map_err(|error| error.to_string())?;
    Ok(folder)
}

fn write(index: usize, path: &Path) -> image::ImageResult<()> {
    let mut random = Random::new([index as u64]);
    // What all channels share, and a little that they don't.
    let shared = noise(&mut random, &OCTAVES);
    let own: [Vec<f32>; 3] = std::array::from_fn(|_| noise(&mut random, &OCTAVES[..2]));
    let picture = ImageBuffer::from_fn(SIDE as u32, SIDE as u32, |x, y| {
        let place = y as usize * SIDE + x as usize;
        Rgb([0, 1, 2].map(|channel| (128.0 + shared[place] + 0.4 * own[channel][place]) as u8))
    });
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&picture)?;
    Ok(fs::write(path, bytes)?)
}

/// Around 0: for each octave a coarse grid of random numbers, with straight lines between them.
fn noise(random: &mut Random, octaves: &[(usize, f32)]) -> Vec<f32> {
    let mut values = vec![0.0; SIDE * SIDE];
    for &(size, strength) in octaves {
        let cells = SIDE / size + 2;
        let grid: Vec<f32> = (0..cells * cells)
            .map(|_| random.uniform(-strength, strength))
            .collect();
        for (y, row) in values.chunks_exact_mut(SIDE).enumerate() {
            let (top, down) = (y / size * cells, (y % size) as f32 / size as f32);
            for (x, value) in row.iter_mut().enumerate() {
                let (left, right) = (x / size, (x % size) as f32 / size as f32);
                let at = |cell: usize| grid[cell] + right * (grid[cell + 1] - grid[cell]);
                let (above, below) = (at(top + left), at(top + cells + left));
                *value += above + down * (below - above);
            }
        }
    }
    values
}
