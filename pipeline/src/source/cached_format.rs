//! What a cache file looks like: a header, the labels of all samples, the pixels of all samples.

use std::ops::Range;

use super::mapped_file::FileBytes;
use super::{Shape, Source, fingerprint};
use crate::error::{Error, Fault, Result, invalid};

/// The label of a sample that could not be read. No class has as large a number.
pub(super) const UNREADABLE: u32 = u32::MAX;

const MAGIC: [u8; 8] = *b"feedline";

/// Counted up when files become others.
const VERSION: u64 = 1;

/// What a source's cache file holds, and where. All numbers are little-endian.
///
/// | bytes | what |
/// |---|---|
/// | 8 | `feedline` |
/// | 8 each | version; number of samples; channels, height, width; classes; the source's fingerprint |
/// | 8 | a hash of the labels |
/// | 4 per sample | its label, or [`UNREADABLE`] |
/// | C·H·W per sample | its pixels in planes, or zeros if it is unreadable |
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    pub(super) classes: usize,
    pub(super) fingerprint: u64,
    len: usize,
    /// Bytes of the whole file.
    total: usize,
}

/// Bytes of the header, the labels' hash included.
const HEADER: usize = 72;

impl Layout {
    pub(super) fn of(source: &impl Source) -> Result<Self> {
        let (shape, len, classes) = (source.shape(), source.len(), source.classes());
        let total = shape
            .checked_elements()
            .and_then(|elements| elements.checked_add(4))
            .and_then(|bytes| bytes.checked_mul(len))
            .and_then(|bytes| bytes.checked_add(HEADER))
            .filter(|&total| total as u64 <= i64::MAX as u64);
        let Some(total) = total else {
            let found = format!("{len} samples of {shape}");
            return Err(invalid("source", found, "samples that fit into a file"));
        };
        Ok(Self {
            shape,
            classes,
            fingerprint: source.fingerprint()?,
            len,
            total,
        })
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Where the pixels of some samples lie. If they come with a hint, they may be too many.
    pub(super) fn pixels(&self, samples: Range<usize>) -> Range<usize> {
        let place = |index: usize| {
            let offset = index.saturating_mul(self.shape.elements());
            offset.saturating_add(HEADER + 4 * self.len)
        };
        place(samples.start)..place(samples.end)
    }

    /// What stands before the hash of the labels.
    fn start(&self) -> Vec<u8> {
        let Shape {
            channels,
            height,
            width,
        } = self.shape;
        let sizes = [self.len, channels, height, width, self.classes];
        let numbers = [VERSION].into_iter().chain(sizes.map(|size| size as u64));
        let numbers = numbers.chain([self.fingerprint]);
        MAGIC
            .into_iter()
            .chain(numbers.flat_map(u64::to_le_bytes))
            .collect()
    }

    /// What stands before the pixels.
    pub(super) fn header(&self, labels: &[u32]) -> Vec<u8> {
        let hash = fingerprint::of_labels(labels.iter().copied());
        let mut bytes = self.start();
        bytes.extend(hash.to_le_bytes());
        bytes.extend(labels.iter().flat_map(|label| label.to_le_bytes()));
        bytes
    }

    /// The labels in a file, which must be this very cache.
    pub(super) fn labels(&self, file: &FileBytes) -> Result<Vec<u32>> {
        let other = |offset, expected: String, found: String| Error::Malformed {
            path: file.path().to_owned(),
            fault: Fault::OtherCache,
            offset,
            expected,
            found,
        };
        let mut scratch = Vec::new();
        let header = file.get(0..file.len().min(HEADER), &mut scratch)?;
        let start = self.start();
        let Some((found, hash)) = header.split_at_checked(start.len()) else {
            let expected = format!("the cache of a source, which has {} bytes", self.total);
            return Err(other(0, expected, format!("{} bytes", file.len())));
        };
        if found != start {
            return Err(other(0, described(&start), described(found)));
        }
        if file.len() != self.total {
            let offset = file.len().min(self.total) as u64;
            let expected = format!("{} bytes", self.total);
            return Err(other(offset, expected, format!("{} bytes", file.len())));
        }
        let hash = hash.to_vec();
        let labels = file.get(HEADER..HEADER + 4 * self.len, &mut scratch)?;
        let labels: Vec<u32> = labels
            .chunks_exact(4)
            .map(|label| {
                label
                    .iter()
                    .rev()
                    .fold(0, |sum, &byte| sum << 8 | u32::from(byte))
            })
            .collect();
        let known = |label: u32| label == UNREADABLE || (label as usize) < self.classes;
        if fingerprint::of_labels(labels.iter().copied()).to_le_bytes()[..] != hash[..]
            || !labels.iter().copied().all(known)
        {
            let expected = "labels that fit their hash".into();
            return Err(other(HEADER as u64, expected, "damaged ones".into()));
        }
        Ok(labels)
    }
}

/// A header in words.
fn described(start: &[u8]) -> String {
    let (magic, numbers) = start.split_at(MAGIC.len());
    if magic != MAGIC {
        return "no cache".into();
    }
    let mut numbers = numbers.chunks_exact(8).map(|bytes| {
        bytes
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    });
    let mut next = || numbers.next().unwrap_or_default();
    let version = next();
    if version != VERSION {
        return format!("a cache of version {version}");
    }
    let (len, channels, height, width) = (next(), next(), next(), next());
    let (classes, fingerprint) = (next(), next());
    format!(
        "the cache of {len} samples of {channels}x{height}x{width} in {classes} classes with the fingerprint {fingerprint:016x}"
    )
}
