//! Files of fixed-size records: a few label bytes and the pixels, again and again.

use std::ops::Range;
use std::path::Path;

use super::mapped_file::{Access, FileBytes};
use super::{RecordFormat, Sample, Shape, Source, fingerprint, sample_error};
use crate::error::{Error, Fault, Result};

/// A file of fixed-size records, such as CIFAR's.
#[derive(Debug)]
pub struct RecordFile {
    format: RecordFormat,
    bytes: FileBytes,
    /// The hash of all labels, which are read at the opening anyway.
    labels: u64,
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
        let bytes = FileBytes::open(path.as_ref(), access)?;
        let mut file = Self {
            format,
            bytes,
            labels: 0,
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
        let mut labels = 0;
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
                labels = fingerprint::add(labels, u64::from(label));
            }
            Ok(())
        })?;
        file.labels = labels;
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
            path: self.bytes.path().to_owned(),
            fault,
            offset: offset as u64,
            expected,
            found,
        }
    }

    /// Where a part of a record lies in the file.
    fn place(&self, index: usize, part: Range<usize>) -> Range<usize> {
        let start = index * self.format.record_length;
        start + part.start..start + part.end
    }

    /// Where some records lie in the file. As they come with a hint, they may be too many.
    fn places(&self, records: Range<usize>) -> Range<usize> {
        let length = self.format.record_length;
        records.start.saturating_mul(length)..records.end.saturating_mul(length)
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
        let (span, pixels) = (self.format.span(), self.format.pixels());
        let place = self.place(index, span.clone());
        let bytes = self
            .bytes
            .get(place, scratch)
            .map_err(sample_error(index))?;
        Ok(Sample {
            pixels: &bytes[pixels.start - span.start..pixels.end - span.start],
            label: u32::from(bytes[self.format.label_offset - span.start]),
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        let offset = self.format.label_offset;
        let place = self.place(index, offset..offset + 1);
        let mut scratch = Vec::new();
        let label = self.bytes.get(place, &mut scratch);
        Ok(u32::from(label.map_err(sample_error(index))?[0]))
    }

    fn scratch_bytes(&self) -> usize {
        self.format.span().len()
    }

    fn fingerprint(&self) -> Result<u64> {
        Ok(fingerprint::add(fingerprint::of_probes(self), self.labels))
    }

    fn verify(&self) -> Result<()> {
        self.bytes.verify()
    }

    fn prefetch(&self, index: usize) {
        self.bytes.prefetch(self.place(index, self.format.span()));
    }

    fn will_need(&self, samples: Range<usize>) {
        self.bytes.will_need(self.places(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.bytes.done_with(self.places(samples));
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
                            let mut scratch = Vec::with_capacity(source.scratch_bytes());
                            let capacity = scratch.capacity();
                            let sample = source.sample(index, &mut scratch).unwrap();
                            prop_assert_eq!(sample.pixels, &record[2..]);
                            prop_assert_eq!(sample.label, u32::from(record[1]));
                            prop_assert_eq!(source.label(index).unwrap(), sample.label);
                            prop_assert_eq!(scratch.capacity(), capacity);
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
}
