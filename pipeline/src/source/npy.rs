//! NumPy's arrays: pictures in one `.npy` file, labels in another.

use std::ops::Range;
use std::path::Path;

use super::mapped_file::{Access, FileBytes};
use super::npy_header::Header;
use super::{Sample, Shape, Source, fingerprint, sample_error};
use crate::error::{Error, Fault, Result};

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

/// One `.npy` file.
struct NpyFile {
    header: Header,
    /// The whole file, header included.
    bytes: FileBytes,
}

impl NpyFile {
    fn open(path: &Path, access: Access) -> Result<Self> {
        let bytes = FileBytes::open(path, access)?;
        let mut scratch = Vec::new();
        let start = bytes.get(0..bytes.len().min(Header::LONGEST), &mut scratch)?;
        let header = Header::parse(start).map_err(|defect| Error::Malformed {
            path: path.to_owned(),
            fault: defect.fault,
            offset: defect.offset as u64,
            expected: defect.expected,
            found: defect.found,
        })?;
        Ok(Self { header, bytes })
    }

    fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The number of pictures, and their shape.
    fn pictures(&self, axes: Axes) -> Result<(usize, Shape)> {
        if !matches!(self.header.element.as_str(), "|u1" | "<u1" | ">u1") {
            let expected =
                "elements of type uint8 from 0 to 255, as images.astype('uint8') makes them";
            return Err(self.wrong_type(expected));
        }
        let (layout, pictures) = match (axes, &self.header.dimensions[..]) {
            (Axes::Nhw, dimensions) => (
                "(number, height, width)",
                match *dimensions {
                    [count, height, width] => Some((count, Shape::new(1, height, width))),
                    _ => None,
                },
            ),
            (Axes::Nhwc, dimensions) => (
                "(number, height, width, channels)",
                match *dimensions {
                    [count, height, width, channels] => {
                        Some((count, Shape::new(channels, height, width)))
                    }
                    _ => None,
                },
            ),
            (Axes::Nchw, dimensions) => (
                "(number, channels, height, width)",
                match *dimensions {
                    [count, channels, height, width] => {
                        Some((count, Shape::new(channels, height, width)))
                    }
                    _ => None,
                },
            ),
        };
        let Some((count, shape)) = pictures.filter(|(_, shape)| shape.elements() > 0) else {
            return Err(self.wrong_shape(&format!("pictures with pixels, of shape {layout}")));
        };
        if shape.checked_elements().is_none() {
            return Err(self.wrong_shape("an array whose elements can be counted"));
        }
        self.check_length(1)?;
        Ok((count, shape))
    }

    /// The labels, one for each of `count` pictures in the file `images`.
    fn labels(&self, count: usize, images: &Path, classes: usize) -> Result<Vec<u32>> {
        let Some(integer) = Integer::parse(&self.header.element) else {
            return Err(self.wrong_type("integers, as labels.astype('int64') makes them"));
        };
        let (&[found] | &[found, 1]) = &self.header.dimensions[..] else {
            let expected = "the numbers of classes, of shape (number,), as labels.argmax(axis=1) makes them of rows with a \
                            value for each class";
            return Err(self.wrong_shape(expected));
        };
        self.check_length(integer.bytes)?;
        if found != count {
            let expected = format!("{count} labels, one per picture of {}", images.display());
            return Err(self.malformed(Fault::WrongCount, 0, expected, found));
        }
        let place = self.header.start..self.bytes.len();
        let mut scratch = Vec::new();
        let bytes = self.bytes.get(place, &mut scratch)?;
        let labels = bytes.chunks_exact(integer.bytes).enumerate();
        labels
            .map(|(index, bytes)| {
                let label = integer.value(bytes);
                let known = u32::try_from(label).ok();
                known
                    .filter(|&known| (known as usize) < classes)
                    .ok_or_else(|| {
                        self.malformed(
                            Fault::LabelOutOfRange,
                            self.header.start + index * integer.bytes,
                            format!("a label from 0 to below {classes}"),
                            format!("{label}, that of sample {index}"),
                        )
                    })
            })
            .collect()
    }

    /// An error unless as many elements follow the header as it says.
    fn check_length(&self, element: usize) -> Result<()> {
        let dimensions = self.header.dimensions.iter();
        let length = dimensions
            .copied()
            .try_fold(element, usize::checked_mul)
            .and_then(|length| length.checked_add(self.header.start));
        match length {
            Some(length) if length == self.bytes.len() => Ok(()),
            Some(length) => Err(self.malformed(
                Fault::WrongLength,
                length.min(self.bytes.len()),
                format!("{length} bytes, as the header says"),
                self.bytes.len(),
            )),
            None => Err(self.wrong_shape("an array whose elements can be counted")),
        }
    }

    fn wrong_type(&self, expected: &str) -> Error {
        let found = format!("type {:?}", self.header.element);
        self.malformed(Fault::WrongType, 0, expected.into(), found)
    }

    fn wrong_shape(&self, expected: &str) -> Error {
        let found = format!("shape {:?}", self.header.dimensions);
        self.malformed(Fault::WrongDimensions, 0, expected.into(), found)
    }

    fn malformed(
        &self,
        fault: Fault,
        offset: usize,
        expected: String,
        found: impl ToString,
    ) -> Error {
        Error::Malformed {
            path: self.path().to_owned(),
            fault,
            offset: offset as u64,
            expected,
            found: found.to_string(),
        }
    }
}

/// A type of integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Integer {
    bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl Integer {
    /// From NumPy's notation, as in `<i8`: byte order, kind, bytes.
    fn parse(element: &str) -> Option<Self> {
        let &[order, kind, size] = element.as_bytes() else {
            return None;
        };
        let bytes = match size {
            b'1' | b'2' | b'4' | b'8' => usize::from(size - b'0'),
            _ => return None,
        };
        let signed = match kind {
            b'i' => true,
            b'u' => false,
            _ => return None,
        };
        let big_endian = match order {
            b'>' => true,
            b'<' => false,
            // A byte has no order.
            b'|' if bytes == 1 => false,
            _ => return None,
        };
        Some(Self {
            bytes,
            signed,
            big_endian,
        })
    }

    fn value(self, bytes: &[u8]) -> i128 {
        let add = |sum, &byte| sum << 8 | i128::from(byte);
        let value = match self.big_endian {
            true => bytes.iter().fold(0, add),
            false => bytes.iter().rev().fold(0, add),
        };
        let bits = 8 * self.bytes;
        match self.signed && value >> (bits - 1) == 1 {
            true => value - (1 << bits),
            false => value,
        }
    }
}
