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
/// Either file may be compressed with gzip. It is then unpacked once, beside itself or, if its folder cannot be
/// written, into the user's cache folder (`FEEDLINE_CACHE` names another one).
#[derive(Debug)]
pub struct IdxPair {
    shape: Shape,
    classes: usize,
    images: FileBytes,
    /// One byte a sample: held in memory.
    labels: Vec<u8>,
}

/// What the first bytes of an IDX file of unsigned bytes say.
struct Header {
    dimensions: Vec<usize>,
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
        let (image_path, label_path) = (images.as_ref(), labels.as_ref());
        let (image_header, images) = open_idx::<3>(image_path, access)?;
        let (label_header, labels) = open_idx::<1>(label_path, access)?;
        let (count, label_count) = (image_header.dimensions[0], label_header.dimensions[0]);
        if label_count != count {
            return Err(Error::Malformed {
                path: label_path.to_owned(),
                fault: Fault::WrongCount,
                offset: 4,
                expected: format!(
                    "{count} labels, one per picture of {}",
                    image_path.display()
                ),
                found: label_count.to_string(),
            });
        }
        let mut scratch = Vec::new();
        let labels = labels
            .get(label_header.length..labels.len(), &mut scratch)?
            .to_vec();
        if let Some(index) = labels
            .iter()
            .position(|&label| usize::from(label) >= classes)
        {
            let offset = label_header.length + index;
            return Err(Error::Malformed {
                path: label_path.to_owned(),
                fault: Fault::LabelOutOfRange,
                offset: offset as u64,
                expected: format!("a label below {classes}"),
                found: labels[index].to_string(),
            });
        }
        let shape = Shape::new(1, image_header.dimensions[1], image_header.dimensions[2]);
        Ok(Self {
            shape,
            classes,
            images,
            labels,
        })
    }
}

/// The bytes of an IDX file with `N` dimensions, header included, unpacked if need be.
fn open_idx<const N: usize>(path: &Path, access: Access) -> Result<(Header, FileBytes)> {
    let header_length = 4 + 4 * N;
    let unpacked: PathBuf = match GzipFile::open(path)? {
        Some(mut gzip) => {
            let mut start = vec![0; header_length];
            let count = gzip.read(&mut start)?;
            let header = Header::parse::<N>(path, &start[..count])?;
            gzip.unpack(&start, header.total)?
        }
        None => path.to_owned(),
    };
    let bytes = FileBytes::open(&unpacked, access)?;
    let mut scratch = Vec::new();
    let start = bytes.get(0..bytes.len().min(header_length), &mut scratch)?;
    let header = Header::parse::<N>(&unpacked, start)?;
    if bytes.len() as u64 != header.total {
        return Err(Error::Malformed {
            path: unpacked,
            fault: Fault::WrongLength,
            offset: (bytes.len() as u64).min(header.total),
            expected: format!("{} bytes, as the header says", header.total),
            found: bytes.len().to_string(),
        });
    }
    Ok((header, bytes))
}

impl Header {
    fn parse<const N: usize>(path: &Path, bytes: &[u8]) -> Result<Self> {
        let malformed = |fault, offset: usize, expected: String, found: String| {
            Err(Error::Malformed {
                path: path.to_owned(),
                fault,
                offset: offset as u64,
                expected,
                found,
            })
        };
        let word = |index: usize| {
            let bytes = bytes.get(4 * index..4 * index + 4)?;
            Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        // 0x08 is the type, an unsigned byte; then the number of dimensions.
        let magic = 0x0800 | N as u32;
        match word(0) {
            Some(found) if found != magic => {
                return malformed(
                    Fault::WrongMagic,
                    0,
                    format!("{magic:#010x}"),
                    format!("{found:#010x}"),
                );
            }
            _ => {}
        }
        let mut dimensions = Vec::new();
        for index in 1..=N {
            match word(index) {
                // There may be no sample in a file, but a picture has pixels.
                Some(0) if index > 1 => {
                    let expected = "a height and a width of at least 1".into();
                    return malformed(Fault::WrongDimensions, 4 * index, expected, "0".into());
                }
                Some(dimension) => dimensions.push(dimension as usize),
                None => {
                    let expected = format!("a header of {} bytes", 4 + 4 * N);
                    return malformed(
                        Fault::WrongLength,
                        bytes.len(),
                        expected,
                        bytes.len().to_string(),
                    );
                }
            }
        }
        let length = 4 + 4 * N;
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
                malformed(
                    Fault::WrongDimensions,
                    4,
                    expected,
                    format!("dimensions {dimensions:?}"),
                )
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

    fn will_need(&self, samples: Range<usize>) {
        self.images.will_need(self.place(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.images.done_with(self.place(samples));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn idx(dimensions: &[u32], data: &[u8]) -> Vec<u8> {
        let mut bytes = (0x0800 | dimensions.len() as u32).to_be_bytes().to_vec();
        bytes.extend(
            dimensions
                .iter()
                .flat_map(|dimension| dimension.to_be_bytes()),
        );
        bytes.extend(data);
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Opens a pair of files with these contents.
    fn open(images: &[u8], labels: &[u8]) -> Result<IdxPair> {
        let folder = tempfile::tempdir().unwrap();
        let paths = [
            folder.path().join("images.gz"),
            folder.path().join("labels.gz"),
        ];
        std::fs::write(&paths[0], images).unwrap();
        std::fs::write(&paths[1], labels).unwrap();
        IdxPair::open(&paths[0], &paths[1], 10)
    }

    /// The fault, and where it lies.
    fn fault(result: Result<IdxPair>) -> (Fault, u64) {
        match result {
            Err(Error::Malformed { fault, offset, .. }) => (fault, offset),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn plain_and_compressed_files_give_the_same_samples() {
        let images = idx(&[2, 2, 3], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        let labels = idx(&[2], &[9, 0]);
        for pair in [open(&images, &labels), open(&gzip(&images), &gzip(&labels))] {
            let pair = pair.unwrap();
            assert_eq!((pair.len(), pair.shape()), (2, Shape::new(1, 2, 3)));
            let mut scratch = Vec::new();
            let sample = pair.sample(1, &mut scratch).unwrap();
            assert_eq!(
                (sample.pixels, sample.label),
                (&[7, 8, 9, 10, 11, 12][..], 0)
            );
        }
    }

    #[test]
    fn a_compressed_file_is_unpacked_once_and_a_broken_rest_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("images.gz"), gzip(&idx(&[1, 1, 1], &[7]))).unwrap();
        std::fs::write(path("labels"), idx(&[1], &[3])).unwrap();
        std::fs::write(path("images"), "half").unwrap();
        IdxPair::open(path("images.gz"), path("labels"), 10).unwrap();
        assert_eq!(
            std::fs::read(path("images")).unwrap(),
            idx(&[1, 1, 1], &[7])
        );
        let written = std::fs::metadata(path("images"))
            .unwrap()
            .modified()
            .unwrap();
        IdxPair::open(path("images.gz"), path("labels"), 10).unwrap();
        assert_eq!(
            std::fs::metadata(path("images"))
                .unwrap()
                .modified()
                .unwrap(),
            written
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn every_defect_is_named_with_its_place() {
        let images = idx(&[2, 2, 2], &[0; 8]);
        let labels = idx(&[2], &[0, 1]);
        assert_eq!(fault(open(&[], &labels)), (Fault::Empty, 0));
        assert_eq!(fault(open(&images, &labels[..3])), (Fault::WrongLength, 3));
        assert_eq!(
            fault(open(&images[..10], &labels)),
            (Fault::WrongLength, 10)
        );
        assert_eq!(
            fault(open(&images[..20], &labels)),
            (Fault::WrongLength, 20)
        );
        assert_eq!(
            fault(open(&[&images[..], &[0]].concat(), &labels)),
            (Fault::WrongLength, 24)
        );
        assert_eq!(fault(open(&labels, &labels)), (Fault::WrongMagic, 0));
        assert_eq!(fault(open(&images, &images)), (Fault::WrongMagic, 0));
        assert_eq!(
            fault(open(&idx(&[2, 2, 0], &[]), &labels)),
            (Fault::WrongDimensions, 12)
        );
        assert_eq!(
            fault(open(&idx(&[u32::MAX; 3], &[]), &labels)),
            (Fault::WrongDimensions, 4)
        );
        assert_eq!(
            fault(open(&images, &idx(&[3], &[0; 3]))),
            (Fault::WrongCount, 4)
        );
        assert_eq!(
            fault(open(&images, &idx(&[2], &[0, 10]))),
            (Fault::LabelOutOfRange, 9)
        );
    }

    #[test]
    fn damaged_compression_is_an_error_and_leaves_nothing_behind() {
        let images = gzip(&idx(
            &[100, 9, 9],
            &(0..8100).map(|i| (i * i % 251) as u8).collect::<Vec<_>>(),
        ));
        let labels = idx(&[100], &[0; 100]);
        let cut = open(&images[..images.len() / 2], &labels);
        assert_eq!(fault(cut).0, Fault::DamagedCompression);
        let mut flipped = images.clone();
        let middle = images.len() / 2;
        flipped[middle] ^= 0xff;
        assert_eq!(fault(open(&flipped, &labels)).0, Fault::DamagedCompression);
    }

    #[test]
    fn a_stream_longer_than_its_header_says_is_not_unpacked() {
        // A megabyte of zeros behind a header that announces four bytes.
        let bomb = gzip(&idx(&[1, 2, 2], &vec![0; 1 << 20]));
        assert_eq!(
            fault(open(&bomb, &idx(&[1], &[0]))),
            (Fault::WrongLength, 20)
        );
    }
}
