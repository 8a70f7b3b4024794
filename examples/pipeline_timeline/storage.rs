//! How samples lie on the disk: one after the other in a record file, or as pictures in a folder of PNG files.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feedline_pipeline::source::RecordFormat;
use feedline_pipeline::{BoxError, Error, Loader, Random, Result, Sample, Shape, Source, Tail};
use image::codecs::png::{CompressionType, FilterType as PngFilter, PngEncoder};
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use rayon::prelude::*;

use crate::recorder::{Recorder, Stage};

/// Samples as a plain program reads them: each from its file, when it is its turn.
pub(crate) trait Files {
    /// The shape of each sample.
    fn shape(&self) -> Shape;
    /// The number of samples.
    fn count(&self) -> usize;
    /// Opens what stays open for an epoch.
    fn open(&mut self) -> Result<(), BoxError>;
    /// The bytes (CHW) and the label of a sample.
    fn read(&mut self, index: usize) -> Result<(Vec<u8>, u32), BoxError>;
}

/// CIFAR's records: a byte with the label, then the picture.
pub(crate) fn record_format(shape: Shape, classes: usize) -> RecordFormat {
    RecordFormat {
        shape,
        classes,
        record_length: 1 + shape.elements(),
        label_offset: 0,
        pixel_offset: 1,
    }
}

/// Reads all samples of `source` once, on all cores, and writes them to a record file.
pub(crate) fn write_records(
    path: &Path,
    source: Arc<dyn Source>,
    recorder: &Recorder,
) -> Result<(), BoxError> {
    let mut file = recorder.time(Stage::Open, || File::create(path).map(BufWriter::new))?;
    // Not shuffled, not changed, as stored.
    let builder = Loader::builder(source).batch_size(16).tail(Tail::Pad);
    let mut loader = builder.element::<u8>().build()?;
    let length = loader.plan().shape.elements();
    for batch in loader.epoch(0) {
        let batch = batch?;
        let samples = batch.info().samples;
        let rows = batch.pixels().chunks_exact(length).take(samples);
        recorder.time(Stage::Copy, || -> Result<(), BoxError> {
            for (pixels, &label) in rows.zip(batch.labels()) {
                file.write_all(&[u8::try_from(label)?])?;
                file.write_all(pixels)?;
            }
            Ok(())
        })?;
    }
    Ok(recorder.time(Stage::Copy, || file.flush())?)
}

/// A record file as a plain program reads it.
pub(crate) struct RecordsInTurn {
    path: PathBuf,
    shape: Shape,
    file: File,
    recorder: Arc<Recorder>,
}

impl RecordsInTurn {
    pub(crate) fn new(
        path: &Path,
        shape: Shape,
        recorder: &Arc<Recorder>,
    ) -> Result<Self, BoxError> {
        Ok(Self {
            path: path.to_owned(),
            shape,
            file: File::open(path)?,
            recorder: recorder.clone(),
        })
    }
}

impl Files for RecordsInTurn {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn count(&self) -> usize {
        let bytes = self.file.metadata().map_or(0, |metadata| metadata.len());
        bytes as usize / (1 + self.shape.elements())
    }

    fn open(&mut self) -> Result<(), BoxError> {
        self.file = self.recorder.time(Stage::Open, || File::open(&self.path))?;
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(Vec<u8>, u32), BoxError> {
        let mut record = vec![0; 1 + self.shape.elements()];
        let place = SeekFrom::Start((index * record.len()) as u64);
        self.recorder.time(Stage::Read, || {
            self.file.seek(place)?;
            self.file.read_exact(&mut record)
        })?;
        let label = u32::from(record.remove(0));
        Ok((record, label))
    }
}

/// A folder with a PNG file for each sample, in a folder for each class. They are made smaller when they are read.
#[derive(Clone)]
pub(crate) struct PictureFolder {
    files: Vec<(PathBuf, u32)>,
    classes: usize,
    shape: Shape,
    recorder: Arc<Recorder>,
}

impl PictureFolder {
    /// Writes the first pictures of `source` as PNG files of `side` × `side` pixels: enlarged, and with the noise of a
    /// camera, without which they would be smaller than photographs are.
    pub(crate) fn write(
        folder: &Path,
        source: &dyn Source,
        pictures: usize,
        side: u32,
        recorder: &Arc<Recorder>,
    ) -> Result<Self, BoxError> {
        for class in 0..source.classes() {
            fs::create_dir_all(folder.join(class.to_string()))?;
        }
        let write = |index| write_picture(folder, source, index, side);
        let count = pictures.min(source.len());
        let files: Result<_, BoxError> = (0..count).into_par_iter().map(write).collect();
        Ok(Self {
            files: files?,
            classes: source.classes(),
            shape: source.shape(),
            recorder: recorder.clone(),
        })
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let files = self.files.iter();
        files
            .map(|(path, _)| path.metadata().map_or(0, |metadata| metadata.len()))
            .sum()
    }

    /// Opens, reads and decodes a picture, and writes it as CHW bytes.
    fn load(&self, index: usize, pixels: &mut Vec<u8>) -> Result<u32, BoxError> {
        let (path, label) = &self.files[index];
        let mut file = self.recorder.time(Stage::Open, || File::open(path))?;
        let mut png = Vec::new();
        self.recorder
            .time(Stage::Read, || file.read_to_end(&mut png))?;
        self.recorder.time(Stage::Decode, || {
            let picture = image::load(Cursor::new(png), ImageFormat::Png)?.into_rgb8();
            let (width, height) = (self.shape.width as u32, self.shape.height as u32);
            let small = imageops::resize(&picture, width, height, FilterType::Triangle);
            pixels.clear();
            for channel in 0..3 {
                pixels.extend(small.pixels().map(|pixel| pixel.0[channel]));
            }
            Ok::<_, BoxError>(())
        })?;
        Ok(*label)
    }
}

impl Files for PictureFolder {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn count(&self) -> usize {
        self.files.len()
    }

    fn open(&mut self) -> Result<(), BoxError> {
        Ok(())
    }

    fn read(&mut self, index: usize) -> Result<(Vec<u8>, u32), BoxError> {
        let mut pixels = Vec::new();
        let label = self.load(index, &mut pixels)?;
        Ok((pixels, label))
    }
}

impl Source for PictureFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let label = self.load(index, scratch);
        let label = label.map_err(|source| Error::Sample {
            index,
            stage: "source",
            source,
        })?;
        Ok(Sample {
            pixels: scratch,
            label,
        })
    }
}

fn write_picture(
    folder: &Path,
    source: &dyn Source,
    index: usize,
    side: u32,
) -> Result<(PathBuf, u32), BoxError> {
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
    let name = format!("{}/{index:05}.png", sample.label);
    let path = folder.join(name);
    let mut file = BufWriter::new(File::create(&path)?);
    PngEncoder::new_with_quality(&mut file, CompressionType::Default, PngFilter::Adaptive)
        .write_image(&large, side, side, ExtendedColorType::Rgb8)?;
    file.flush()?;
    Ok((path, sample.label))
}
