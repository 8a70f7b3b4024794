//! Files of fixed-size records: a few label bytes and the pixels, again and again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::mapped_file::{Access, FileBytes};
use super::{Sample, Shape, Source};
use crate::error::{Error, Fault, Result, invalid};

/// Where the label and the pixels lie in a record.
///
/// ```
/// use feedline_pipeline::Shape;
/// use feedline_pipeline::source::RecordFormat;
///
/// // Grey 8x8 pictures behind a four-byte header whose third byte is one of 26 letters.
/// let letters = RecordFormat {
///     shape: Shape::new(1, 8, 8),
///     classes: 26,
///     record_length: 4 + 64,
///     label_offset: 2,
///     pixel_offset: 4,
/// };
/// # let _ = letters;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFormat {
    /// The shape of the pictures, stored as CHW bytes.
    pub shape: Shape,
    /// The number of classes; label bytes are below it.
    pub classes: usize,
    /// Bytes of a record.
    pub record_length: usize,
    /// Where in the record the label byte lies.
    pub label_offset: usize,
    /// Where in the record the pixels begin.
    pub pixel_offset: usize,
}

impl RecordFormat {
    /// CIFAR-10, binary version: one label byte, then 3072 pixels
    /// ([specification](https://www.cs.toronto.edu/~kriz/cifar.html)).
    pub const CIFAR10: Self = Self {
        shape: Shape::new(3, 32, 32),
        classes: 10,
        record_length: 1 + 3072,
        label_offset: 0,
        pixel_offset: 1,
    };

    /// CIFAR-100, binary version, with its 20 superclasses as labels: a coarse and a fine label byte, then 3072
    /// pixels ([specification](https://www.cs.toronto.edu/~kriz/cifar.html)).
    pub const CIFAR100_COARSE: Self = Self {
        classes: 20,
        record_length: 2 + 3072,
        pixel_offset: 2,
        ..Self::CIFAR10
    };

    /// CIFAR-100, binary version, with its 100 classes as labels.
    pub const CIFAR100_FINE: Self = Self {
        classes: 100,
        label_offset: 1,
        ..Self::CIFAR100_COARSE
    };

    fn check(&self) -> Result<()> {
        let Some(end) = self
            .shape
            .checked_elements()
            .and_then(|elements| self.pixel_offset.checked_add(elements))
        else {
            return Err(invalid(
                "record format",
                format!("{self:?}"),
                "pixels that can be counted",
            ));
        };
        let label_is_a_pixel = (self.pixel_offset..end).contains(&self.label_offset);
        if self.shape.elements() == 0 || self.classes == 0 {
            return Err(invalid(
                "record format",
                format!("{self:?}"),
                "pixels and at least one class",
            ));
        }
        if end > self.record_length || self.label_offset >= self.record_length || label_is_a_pixel {
            let expected = "a label byte and pixels side by side within the record's length";
            return Err(invalid("record format", format!("{self:?}"), expected));
        }
        Ok(())
    }
}

/// A file of fixed-size records, such as CIFAR's.
#[derive(Debug)]
pub struct RecordFile {
    path: PathBuf,
    format: RecordFormat,
    bytes: FileBytes,
}

impl RecordFile {
    /// Maps the file at `path` and checks its length and all its labels.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it can't be opened; [`Error::Malformed`] if it is empty, not a whole number of records
    /// long, or has a label that is not below the number of classes; [`Error::InvalidArgument`] if `format`
    /// contradicts itself.
    pub fn open(path: impl AsRef<Path>, format: RecordFormat) -> Result<Self> {
        Self::open_with(path, format, Access::default())
    }

    /// As [`open`](Self::open), with a choice between mapping and reading.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(path: impl AsRef<Path>, format: RecordFormat, access: Access) -> Result<Self> {
        format.check()?;
        let path = path.as_ref();
        let bytes = FileBytes::open(path, access)?;
        let file = Self {
            path: path.to_owned(),
            format,
            bytes,
        };
        let rest = file.bytes.len() % format.record_length;
        if rest != 0 {
            return Err(file.malformed(
                Fault::WrongLength,
                file.bytes.len() - rest,
                format!("whole records of {} bytes", format.record_length),
                format!("{rest} bytes at the end of {}", file.bytes.len()),
            ));
        }
        file.bytes.scan(format.record_length, |start, bytes| {
            for (record, bytes) in bytes.chunks_exact(format.record_length).enumerate() {
                let label = bytes[format.label_offset];
                if usize::from(label) >= format.classes {
                    return Err(file.malformed(
                        Fault::LabelOutOfRange,
                        start + record * format.record_length + format.label_offset,
                        format!("a label below {}", format.classes),
                        label.to_string(),
                    ));
                }
            }
            Ok(())
        })?;
        Ok(file)
    }

    /// An error unless the file has `count` records.
    pub(crate) fn expect_len(self, count: usize) -> Result<Self> {
        if self.len() == count {
            return Ok(self);
        }
        Err(self.malformed(
            Fault::WrongCount,
            self.bytes.len().min(count * self.format.record_length),
            format!("{count} samples"),
            self.len().to_string(),
        ))
    }

    fn malformed(&self, fault: Fault, offset: usize, expected: String, found: String) -> Error {
        Error::Malformed {
            path: self.path.clone(),
            fault,
            offset: offset as u64,
            expected,
            found,
        }
    }

    /// Where some records lie in the file.
    fn place(&self, records: Range<usize>) -> Range<usize> {
        let length = self.format.record_length;
        records.start * length..records.end * length
    }
}

impl Source for RecordFile {
    fn len(&self) -> usize {
        self.bytes.len() / self.format.record_length
    }

    fn shape(&self) -> Shape {
        self.format.shape
    }

    fn classes(&self) -> usize {
        self.format.classes
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let record = self.bytes.get(self.place(index..index + 1), scratch)?;
        let start = self.format.pixel_offset;
        let pixels = &record[start..start + self.format.shape.elements()];
        Ok(Sample {
            pixels,
            label: u32::from(record[self.format.label_offset]),
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        let label = self.place(index..index + 1).start + self.format.label_offset;
        let mut scratch = Vec::new();
        Ok(u32::from(
            self.bytes.get(label..label + 1, &mut scratch)?[0],
        ))
    }

    fn verify(&self) -> Result<()> {
        self.bytes.verify()
    }

    fn prefetch(&self, index: usize) {
        self.bytes.prefetch(self.place(index..index + 1));
    }

    fn will_need(&self, samples: Range<usize>) {
        self.bytes.will_need(self.place(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.bytes.done_with(self.place(samples));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(bytes: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    const TINY: RecordFormat = RecordFormat {
        shape: Shape::new(1, 2, 2),
        classes: 3,
        record_length: 6,
        label_offset: 1,
        pixel_offset: 2,
    };

    proptest! {
        #[test]
        fn any_file_gives_its_records_or_an_error(bytes in prop::collection::vec(0u8..4, 0..40)) {
            let file = written(&bytes);
            for access in [Access::Mapped, Access::Copied, Access::Read] {
                match RecordFile::open_with(file.path(), TINY, access) {
                    Ok(source) => {
                        prop_assert_eq!(source.len() * 6, bytes.len());
                        for (index, record) in bytes.chunks(6).enumerate() {
                            let mut scratch = Vec::new();
                            let sample = source.sample(index, &mut scratch).unwrap();
                            prop_assert_eq!(sample.pixels, &record[2..]);
                            prop_assert_eq!(sample.label, u32::from(record[1]));
                            prop_assert_eq!(source.label(index).unwrap(), sample.label);
                        }
                    }
                    Err(Error::Malformed { fault, offset, .. }) => match fault {
                        Fault::Empty => prop_assert!(bytes.is_empty()),
                        Fault::WrongLength => prop_assert_eq!(offset as usize, bytes.len() / 6 * 6),
                        _ => prop_assert!(bytes[offset as usize] >= 3 && offset % 6 == 1),
                    },
                    Err(other) => prop_assert!(false, "{other}"),
                }
            }
        }
    }

    #[test]
    fn errors_name_file_offset_expected_and_found() {
        let file = written(&[0, 1, 9, 9, 9, 9, 0, 7, 9, 9, 9, 9]);
        let error = RecordFile::open(file.path(), TINY).unwrap_err().to_string();
        let path = file.path().display();
        let expected =
            format!("{path}: label out of range at byte 7: expected a label below 3, found 7; ");
        assert!(error.starts_with(&expected), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = |path: &Path| RecordFile::open(path, TINY).unwrap_err();
        assert!(matches!(
            open(folder.path()),
            Error::Malformed {
                fault: Fault::NotAFile,
                ..
            }
        ));
        assert!(matches!(
            open(&folder.path().join("none")),
            Error::Io { .. }
        ));
        #[cfg(unix)]
        assert!(matches!(
            open("/dev/zero".as_ref()),
            Error::Malformed {
                fault: Fault::NotAFile,
                ..
            }
        ));
    }

    #[test]
    fn formats_that_contradict_themselves_are_refused() {
        let file = written(&[0; 12]);
        for format in [
            RecordFormat {
                record_length: 5,
                ..TINY
            },
            RecordFormat {
                label_offset: 3,
                ..TINY
            },
            RecordFormat {
                label_offset: 6,
                ..TINY
            },
            RecordFormat {
                record_length: 0,
                ..TINY
            },
            RecordFormat { classes: 0, ..TINY },
            RecordFormat {
                pixel_offset: usize::MAX,
                ..TINY
            },
        ] {
            let error = RecordFile::open(file.path(), format).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    }
}
