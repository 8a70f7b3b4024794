//! One `.npy` file: its header, and its elements as pictures or labels.

use std::path::Path;

use super::Shape;
use super::mapped_file::{Access, FileBytes};
use super::npy::Axes;
use super::npy_header::Header;
use crate::error::{Error, Fault, Result};

/// One `.npy` file.
pub(super) struct NpyFile {
    pub(super) header: Header,
    /// The whole file, header included.
    pub(super) bytes: FileBytes,
}

impl NpyFile {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
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

    pub(super) fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// The number of pictures, and their shape.
    pub(super) fn pictures(&self, axes: Axes) -> Result<(usize, Shape)> {
        if !matches!(self.header.element.as_str(), "|u1" | "<u1" | ">u1") {
            let expected = "elements of type uint8: `images.astype('uint8')` makes them of numbers from 0 to 255, and `(images * 255).astype('uint8')` of numbers from 0 to 1";
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
    pub(super) fn labels(&self, count: usize, images: &Path, classes: usize) -> Result<Vec<u32>> {
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
