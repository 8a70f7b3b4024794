//! NumPy's arrays: pictures in one `.npy` file, labels in another.

use std::ops::Range;
use std::path::Path;

use super::mapped_file::{Access, FileBytes};
use super::npy_file::NpyFile;
use super::{Sample, Shape, Source, fingerprint, sample_error};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

/// What the axes of an array of pictures are. An array does not say so itself, and 3×32×32 could be read either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Axes {
    /// Number, height, width: grey pictures.
    Nhw,
    /// Number, height, width, channels, as Pillow, OpenCV and TensorFlow have them: each picture is put into planes when it
    /// is read.
    Nhwc,
    /// Number, channels, height, width, as PyTorch has them.
    Nchw,
}

/// Pictures and labels in a pair of NumPy's `.npy` files, as `numpy.save` writes them
/// ([format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), versions 1.0 to 3.0).
///
/// Pictures are an array of `uint8` in C order, whose axes [`Axes`] says; labels are an array of shape (N,) or (N, 1) of any
/// type of integers, in either byte order.
///
/// ```no_run
/// use feedline_pipeline::source::{Axes, NpyPair};
///
/// // In Python: numpy.save("images.npy", images) with images.shape == (50000, 32, 32, 3), images.dtype == "uint8"
/// let source = NpyPair::open("images.npy", "labels.npy", 10, Axes::Nhwc)?;
/// # let _ = source;
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug)]
pub struct NpyPair {
    shape: Shape,
    classes: usize,
    images: FileBytes,
    /// Where in the file the pictures begin.
    start: usize,
    /// Whether the channels of a pixel lie side by side.
    interleaved: bool,
    /// Held in memory.
    labels: Vec<u32>,
}

impl NpyPair {
    /// Maps the pictures in `images`, reads the labels in `labels`, and checks both files: the pixels need no check.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file can't be opened; [`Error::Malformed`] if one is empty, no `.npy` file, damaged, cut off or too
    /// long, an array of another type, order or shape (the message says what makes the right one of it), if they differ in
    /// the number of samples, or if a label is negative or not below `classes`.
    pub fn open(
        images: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        classes: usize,
        axes: Axes,
    ) -> Result<Self> {
        Self::open_with(images, labels, classes, axes, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        images: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        classes: usize,
        axes: Axes,
        access: Access,
    ) -> Result<Self> {
        let images = NpyFile::open(images.as_ref(), access)?;
        let (count, shape) = images.pictures(axes)?;
        let labels =
            NpyFile::open(labels.as_ref(), access)?.labels(count, images.path(), classes)?;
        Ok(Self {
            shape,
            classes,
            start: images.header.start,
            images: images.bytes,
            interleaved: axes == Axes::Nhwc && shape.channels > 1,
            labels,
        })
    }

    /// Where some pictures lie in their file. If they come with a hint, they may be too many.
    fn place(&self, samples: Range<usize>) -> Range<usize> {
        let place = |index: usize| {
            let offset = index.saturating_mul(self.shape.elements());
            offset.saturating_add(self.start)
        };
        place(samples.start)..place(samples.end)
    }

    /// A picture whose channels lie side by side, in planes.
    fn planes<'a>(&self, index: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let (place, length) = (self.place(index..index + 1), self.shape.elements());
        if let Some(pixels) = self.images.in_memory(place.clone()) {
            scratch.resize(length, 0);
            into_planes(pixels, self.shape.channels, scratch);
            return Ok(scratch);
        }
        self.images.get(place, scratch)?;
        scratch.resize(2 * length, 0);
        let (pixels, planes) = scratch.split_at_mut(length);
        into_planes(pixels, self.shape.channels, planes);
        Ok(planes)
    }
}

impl Source for NpyPair {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let pixels = match self.interleaved {
            true => self.planes(index, scratch),
            false => self.images.get(self.place(index..index + 1), scratch),
        };
        Ok(Sample {
            pixels: pixels.map_err(sample_error(index))?,
            label: self.labels[index],
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        Ok(self.labels[index])
    }

    fn scratch_bytes(&self) -> usize {
        // Beside the planes the pixels as they are in the file, if it must be read.
        let both = self.interleaved && self.images.in_memory(0..0).is_none();
        self.shape.elements() * if both { 2 } else { 1 }
    }

    fn fingerprint(&self) -> Result<u64> {
        let labels = fingerprint::of_labels(self.labels.iter().copied());
        Ok(fingerprint::add(fingerprint::of_probes(self), labels))
    }

    fn verify(&self) -> Result<()> {
        self.images.verify()
    }

    fn prefetch(&self, index: usize) {
        self.images.prefetch(self.place(index..index + 1));
    }

    fn will_need(&self, samples: Range<usize>) {
        self.images.will_need(self.place(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.images.done_with(self.place(samples));
    }
}

/// Puts the channels of pixels, which lie side by side, into a plane each.
fn into_planes(pixels: &[u8], channels: usize, planes: &mut [u8]) {
    let area = pixels.len() / channels;
    if channels == 3 {
        // By far the most common: in one pass.
        let (red, rest) = planes.split_at_mut(area);
        let (green, blue) = rest.split_at_mut(area);
        let planes = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), pixel) in planes.zip(pixels.chunks_exact(3)) {
            (*red, *green, *blue) = (pixel[0], pixel[1], pixel[2]);
        }
        return;
    }
    for (channel, plane) in planes.chunks_exact_mut(area).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(pixels.chunks_exact(channels)) {
            *value = pixel[channel];
        }
    }
}
