//! MNIST's files: pictures in one IDX file, labels in another.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::idx_file::{IdxFile, malformed};
use super::mapped_file::{Access, FileBytes};
use super::{Sample, Shape, Source, fingerprint, sample_error};
#[cfg(doc)]
use crate::error::Error;
use crate::error::{Fault, Result};

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

/// Number, height, width.
type ImageFile = IdxFile<3>;
type LabelFile = IdxFile<1>;

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

    /// As [`open_with`](Self::open_with), if the pictures have these dimensions: number, height, width. No file that
    /// says something else is unpacked.
    pub(crate) fn open_exact(
        images: &Path,
        labels: &Path,
        classes: usize,
        access: Access,
        dimensions: [usize; 3],
    ) -> Result<Self> {
        Self::open_as(images, labels, classes, access, Some(dimensions))
    }

    fn open_as(
        images: &Path,
        labels: &Path,
        classes: usize,
        access: Access,
        dimensions: Option<[usize; 3]>,
    ) -> Result<Self> {
        let images = ImageFile::open(images, access, dimensions)?;
        let labels = LabelFile::open(labels, access, dimensions.map(|[count, ..]| [count]))?;
        let label_path = labels.bytes.path().to_owned();
        let [count, height, width] = images.dimensions;
        let [label_count] = labels.dimensions;
        if label_count != count {
            let expected = format!(
                "{count} labels, one per picture of {}",
                images.bytes.path().display()
            );
            let found = label_count.to_string();
            return Err(malformed(
                &label_path,
                Fault::WrongCount,
                4,
                expected,
                found,
            ));
        }
        let place = LabelFile::START..labels.bytes.len();
        let mut scratch = Vec::new();
        let all = labels.bytes.get(place, &mut scratch)?.to_vec();
        let too_large = |&label: &u8| usize::from(label) >= classes;
        if let Some(index) = all.iter().position(too_large) {
            return Err(malformed(
                &label_path,
                Fault::LabelOutOfRange,
                LabelFile::START + index,
                format!("a label below {classes}"),
                all[index].to_string(),
            ));
        }
        Ok(Self {
            shape: Shape::new(1, height, width),
            classes,
            images: images.bytes,
            labels: all,
            label_path,
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
            LabelFile::START,
            format!("{name}'s labels, which begin {first:?}"),
            format!("{found:?}"),
        ))
    }
}

impl IdxPair {
    /// Where some pictures lie in their file: behind the header. If they come with a hint, they may be too many.
    fn place(&self, samples: Range<usize>) -> Range<usize> {
        let place = |index: usize| {
            let offset = index.saturating_mul(self.shape.elements());
            offset.saturating_add(ImageFile::START)
        };
        place(samples.start)..place(samples.end)
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
            pixels: self
                .images
                .get(self.place(index..index + 1), scratch)
                .map_err(sample_error(index))?,
            label: u32::from(self.labels[index]),
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        Ok(u32::from(self.labels[index]))
    }

    fn fingerprint(&self) -> Result<u64> {
        let labels = fingerprint::of_labels(self.labels.iter().map(|&label| u32::from(label)));
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
