//! One IDX file: its header, and its bytes.

use std::path::Path;

use super::gzip::GzipFile;
use super::mapped_file::{Access, FileBytes};
use crate::error::{Error, Fault, Result};

/// An IDX file, unpacked if need be.
pub(super) struct IdxFile<const N: usize> {
    pub(super) dimensions: [usize; N],
    /// The whole file, header included.
    pub(super) bytes: FileBytes,
}

/// What the first bytes of an IDX file of unsigned bytes say.
struct Header<const N: usize> {
    dimensions: [usize; N],
    /// Bytes of header and data.
    total: u64,
}

/// No set of this kind is larger; a header that says so is damaged or malicious.
const SIZE_LIMIT: u64 = 16 << 30;

impl<const N: usize> IdxFile<N> {
    /// Where the data begin.
    pub(super) const START: usize = Header::<N>::LENGTH;

    /// Opens it, if it has these dimensions.
    pub(super) fn open(
        path: &Path,
        access: Access,
        dimensions: Option<[usize; N]>,
    ) -> Result<Self> {
        let path = match GzipFile::open(path)? {
            Some(mut gzip) => {
                let mut start = vec![0; Self::START];
                let count = gzip.read(&mut start)?;
                let header = Header::parse(path, &start[..count], dimensions)?;
                gzip.unpack(&start, header.total)?
            }
            None => path.to_owned(),
        };
        let bytes = FileBytes::open(&path, access)?;
        let mut scratch = Vec::new();
        let start = bytes.get(0..bytes.len().min(Self::START), &mut scratch)?;
        let header = Header::parse(&path, start, dimensions)?;
        let length = bytes.len() as u64;
        if length == header.total {
            return Ok(Self {
                dimensions: header.dimensions,
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

pub(super) fn malformed(
    path: &Path,
    fault: Fault,
    offset: usize,
    expected: String,
    found: String,
) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        fault,
        offset: offset as u64,
        expected,
        found,
    }
}

impl<const N: usize> Header<N> {
    /// Bytes of the header itself: the magic number, and four for each dimension.
    const LENGTH: usize = 4 + 4 * N;

    /// Reads the header at the start of `bytes`, which must have these dimensions if any are given.
    fn parse(path: &Path, bytes: &[u8], expected: Option<[usize; N]>) -> Result<Self> {
        let malformed = |fault, offset, expected, found: String| {
            Err(malformed(path, fault, offset, expected, found))
        };
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
                    let expected = format!("a header of {} bytes", Self::LENGTH);
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
            .and_then(|elements| elements.checked_add(Self::LENGTH as u64))
            .filter(|&total| total <= SIZE_LIMIT);
        match total {
            Some(total) => Ok(Self { dimensions, total }),
            None => {
                let expected = format!("at most {SIZE_LIMIT} bytes in all");
                let found = format!("dimensions {dimensions:?}");
                malformed(Fault::WrongDimensions, 4, expected, found)
            }
        }
    }
}
