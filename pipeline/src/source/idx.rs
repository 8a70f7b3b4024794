//! MNIST's files: pictures in one IDX file, labels in another.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::gzip::GzipFile;
use super::mapped_file::{Access, FileBytes};
use super::{Sample, Shape, Source};
use crate::error::{Error, Fault, Result};

/// Pictures and labels in a pair of IDX files, as MNIST and Fashion-MNIST have them: big-endian headers, magic
/// 0x00000803 for pictures of bytes and 0x00000801 for labels
/// ([specification](http://yann.lecun.com/exdb/mnist/)).
///
/// Either file may be compressed with gzip. It is then unpacked once, beside itself or, if that would replace
/// something or its folder cannot be written, into the user's cache folder (`FEEDLINE_CACHE` names another one).
/// Errors name the unpacked file, or the compressed one if nothing was unpacked.
#[derive(Debug)]
pub struct IdxPair {
    shape: Shape,
    classes: usize,
    images: FileBytes,
    /// One byte a sample: held in memory.
    labels: Vec<u8>,
    /// The unpacked file.
    label_path: PathBuf,
}

/// An IDX file, unpacked if need be.
struct IdxFile<const N: usize> {
    path: PathBuf,
    header: Header<N>,
    /// The whole file, header included.
    bytes: FileBytes,
}

/// What the first bytes of an IDX file of unsigned bytes say.
struct Header<const N: usize> {
    dimensions: [usize; N],
    /// Bytes of the header itself.
    length: usize,
    /// Bytes of header and data.
    total: u64,
}

/// No set of this kind is larger; a header that says so is damaged or malicious.
const SIZE_LIMIT: u64 = 16 << 30;

impl IdxPair {
    /// Opens the pictures in `images` and the labels in `labels`, and checks both files entirely.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if a file can't be opened or unpacked; [`Error::Malformed`] if one is empty, of another format,
    /// too short or too long, damaged, if they differ in the number of samples, or if a label is not below `classes`.
    pub fn open(
        images: impl AsRef<Path>,
        labels: impl AsRef<Path>,
        classes: usize,
    ) -> Result<Self> {
        Self::open_with(images, labels, classes, Access::default())
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
        access: Access,
    ) -> Result<Self> {
        Self::open_as(images.as_ref(), labels.as_ref(), classes, access, None)
    }

    /// As [`open`](Self::open), if the pictures have these dimensions: number, height, width. No file that says
    /// something else is unpacked.
    pub(crate) fn open_exact(
        images: &Path,
        labels: &Path,
        classes: usize,
        dimensions: [usize; 3],
    ) -> Result<Self> {
        Self::open_as(images, labels, classes, Access::default(), Some(dimensions))
    }

    fn open_as(
        images: &Path,
        labels: &Path,
        classes: usize,
        access: Access,
        dimensions: Option<[usize; 3]>,
    ) -> Result<Self> {
        let images = IdxFile::<3>::open(images, access, dimensions)?;
        let labels = IdxFile::<1>::open(labels, access, dimensions.map(|[count, ..]| [count]))?;
        let [count, height, width] = images.header.dimensions;
        let [label_count] = labels.header.dimensions;
        if label_count != count {
            let expected = format!(
                "{count} labels, one per picture of {}",
                images.path.display()
            );
            let found = label_count.to_string();
            return Err(malformed(
                &labels.path,
                Fault::WrongCount,
                4,
                expected,
                found,
            ));
        }
        let start = labels.header.length;
        let mut scratch = Vec::new();
        let all = labels
            .bytes
            .get(start..labels.bytes.len(), &mut scratch)?
            .to_vec();
        let too_large = |&label: &u8| usize::from(label) >= classes;
        if let Some(index) = all.iter().position(too_large) {
            return Err(malformed(
                &labels.path,
                Fault::LabelOutOfRange,
                start + index,
                format!("a label below {classes}"),
                all[index].to_string(),
            ));
        }
        Ok(Self {
            shape: Shape::new(1, height, width),
            classes,
            images: images.bytes,
            labels: all,
            label_path: labels.path,
        })
    }

    /// An error unless the labels begin with `first`, as those of the data set `name` do.
    pub(crate) fn expect_labels(self, first: &[u8], name: &str) -> Result<Self> {
        let found = &self.labels[..first.len().min(self.labels.len())];
        if found == first {
            return Ok(self);
        }
        Err(malformed(
            &self.label_path,
            Fault::OtherDataset,
            8,
            format!("{name}'s labels, which begin {first:?}"),
            format!("{found:?}"),
        ))
    }
}

impl<const N: usize> IdxFile<N> {
    /// Opens it, if it has these dimensions.
    fn open(path: &Path, access: Access, dimensions: Option<[usize; N]>) -> Result<Self> {
        let path = match GzipFile::open(path)? {
            Some(mut gzip) => {
                let mut start = vec![0; 4 + 4 * N];
                let count = gzip.read(&mut start)?;
                let header = Header::parse(path, &start[..count], dimensions)?;
                gzip.unpack(&start, header.total)?
            }
            None => path.to_owned(),
        };
        let bytes = FileBytes::open(&path, access)?;
        let mut scratch = Vec::new();
        let start = bytes.get(0..bytes.len().min(4 + 4 * N), &mut scratch)?;
        let header = Header::parse(&path, start, dimensions)?;
        let length = bytes.len() as u64;
        if length == header.total {
            return Ok(Self {
                path,
                header,
                bytes,
            });
        }
        Err(malformed(
            &path,
            Fault::WrongLength,
            bytes.len().min(header.total as usize),
            format!("{} bytes, as the header says", header.total),
            length.to_string(),
        ))
    }
}

fn malformed(path: &Path, fault: Fault, offset: usize, expected: String, found: String) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        fault,
        offset: offset as u64,
        expected,
        found,
    }
}

impl<const N: usize> Header<N> {
    /// Reads the header at the start of `bytes`, which must have these dimensions if any are given.
    fn parse(path: &Path, bytes: &[u8], expected: Option<[usize; N]>) -> Result<Self> {
        let malformed = |fault, offset, expected, found: String| {
            Err(malformed(path, fault, offset, expected, found))
        };
        let length = 4 + 4 * N;
        let word = |index: usize| {
            let bytes = bytes.get(4 * index..4 * index + 4)?;
            Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        // 0x08 is the type, an unsigned byte; then the number of dimensions.
        let magic = 0x0800 | N as u32;
        if let Some(found) = word(0).filter(|&found| found != magic) {
            let (expected, found) = (format!("{magic:#010x}"), format!("{found:#010x}"));
            return malformed(Fault::WrongMagic, 0, expected, found);
        }
        let mut dimensions = [0; N];
        for (i, dimension) in dimensions.iter_mut().enumerate() {
            match word(1 + i) {
                // There may be no sample in a file, but a picture has pixels.
                Some(0) if i > 0 => {
                    let expected = "a height and a width of at least 1".into();
                    return malformed(Fault::WrongDimensions, 4 + 4 * i, expected, "0".into());
                }
                Some(word) => *dimension = word as usize,
                None => {
                    let expected = format!("a header of {length} bytes");
                    let found = bytes.len().to_string();
                    return malformed(Fault::WrongLength, bytes.len(), expected, found);
                }
            }
        }
        if let Some(expected) = expected
            && let Some(i) = (0..N).find(|&i| dimensions[i] != expected[i])
        {
            let fault = if i == 0 {
                Fault::WrongCount
            } else {
                Fault::WrongDimensions
            };
            let [expected, found] = [expected, dimensions].map(|d| format!("dimensions {d:?}"));
            return malformed(fault, 4 + 4 * i, expected, found);
        }
        let total = dimensions
            .iter()
            .try_fold(1u64, |product, &dimension| {
                product.checked_mul(dimension as u64)
            })
            .and_then(|elements| elements.checked_add(length as u64))
            .filter(|&total| total <= SIZE_LIMIT);
        match total {
            Some(total) => Ok(Self {
                dimensions,
                length,
                total,
            }),
            None => {
                let expected = format!("at most {SIZE_LIMIT} bytes in all");
                let found = format!("dimensions {dimensions:?}");
                malformed(Fault::WrongDimensions, 4, expected, found)
            }
        }
    }
}

impl IdxPair {
    /// Where some pictures lie in their file: behind a header of 16 bytes.
    fn place(&self, samples: Range<usize>) -> Range<usize> {
        let length = self.shape.elements();
        16 + samples.start * length..16 + samples.end * length
    }
}

impl Source for IdxPair {
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
        Ok(Sample {
            pixels: self.images.get(self.place(index..index + 1), scratch)?,
            label: u32::from(self.labels[index]),
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        Ok(u32::from(self.labels[index]))
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
