//! What is on disk: samples that can be read in any order.
//!
//! A [`Source`] answers one question, "what is sample `i`?", from any thread. Everything about a file is
//! checked when it is opened, so that reading a sample of a built-in source cannot fail later.

mod concat;
mod gzip;
mod idx;
mod in_memory;
mod mapped_file;
mod prefetch;
mod record_file;
mod split;
mod subset;

pub use concat::Concat;
pub use idx::IdxPair;
pub use in_memory::InMemory;
pub use mapped_file::Access;
pub use record_file::{RecordFile, RecordFormat};
pub use split::{Split, split, split_stratified};
pub use subset::Subset;

use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::random::{Random, mix};

/// The shape of one picture: channels, height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Colour channels: 1 for grey, 3 for red, green, blue.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// A shape of `channels` × `height` × `width`.
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self {
            channels,
            height,
            width,
        }
    }

    /// As [`elements`](Self::elements), or `None` if there are more than a `usize` can count.
    pub(crate) fn checked_elements(self) -> Option<usize> {
        let plane = self.height.checked_mul(self.width)?;
        self.channels.checked_mul(plane)
    }

    /// Values in one picture: channels · height · width.
    pub const fn elements(self) -> usize {
        self.channels * self.height * self.width
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}

/// One labelled picture, borrowed from its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample<'a> {
    /// `channels · height · width` bytes: plane after plane, row after row (CHW).
    pub pixels: &'a [u8],
    /// The class, below [`Source::classes`].
    pub label: u32,
}

/// Labelled pictures of one shape, readable in any order and from many threads at once.
///
/// A user's own data set is some thirty lines:
///
/// ```
/// use feedline_pipeline::{Result, Sample, Shape, Source};
///
/// /// A thousand one-pixel pictures: is the pixel bright?
/// #[derive(Debug)]
/// struct Brightness;
///
/// impl Source for Brightness {
///     fn len(&self) -> usize {
///         1000
///     }
///     fn shape(&self) -> Shape {
///         Shape::new(1, 1, 1)
///     }
///     fn classes(&self) -> usize {
///         2
///     }
///     fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
///         let pixel = (index % 256) as u8;
///         scratch.clear();
///         scratch.push(pixel);
///         Ok(Sample { pixels: scratch, label: u32::from(pixel > 127) })
///     }
/// }
///
/// let mut scratch = Vec::new();
/// assert_eq!(Brightness.sample(200, &mut scratch)?.label, 1);
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
pub trait Source: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// The shape of every picture.
    fn shape(&self) -> Shape;

    /// The number of classes; every label is below it.
    fn classes(&self) -> usize;

    /// Sample `index`, below [`len`](Source::len).
    ///
    /// A source whose bytes lie in memory lends them and leaves `scratch` alone. One that must decode or
    /// compute writes the pixels into `scratch` (its old content is rubbish, its capacity is kept from
    /// call to call) and lends that.
    ///
    /// # Errors
    ///
    /// The built-in sources never fail here, as they were checked when opened, except for files with
    /// [`Access::Read`]. A user's source returns [`Error::Sample`](crate::Error::Sample) with its own error inside.
    ///
    /// # Panics
    ///
    /// May panic if `index` is not below [`len`](Source::len).
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>>;

    /// The label of sample `index`, for splits and statistics; override it where pixels are dear.
    ///
    /// # Errors
    ///
    /// As [`sample`](Source::sample).
    fn label(&self, index: usize) -> Result<u32> {
        Ok(self.sample(index, &mut Vec::new())?.label)
    }

    /// Whether there is no sample at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A number that tells these data from others, so that a state is not resumed on the wrong ones. By default it
    /// follows from length, shape, classes and the bytes of up to 64 samples from all over the source.
    ///
    /// # Errors
    ///
    /// As [`sample`](Source::sample).
    fn fingerprint(&self) -> Result<u64> {
        let (shape, len) = (self.shape(), self.len());
        let numbers = [
            len,
            self.classes(),
            shape.channels,
            shape.height,
            shape.width,
        ];
        let mut hash = Random::new(numbers.map(|number| number as u64)).next_u64();
        let mut scratch = Vec::new();
        let probes = len.min(64);
        for probe in 0..probes {
            // In 128 bits, as the product may not fit. The first and the last sample are among them.
            let index = probe as u128 * (len - 1) as u128 / (probes - 1).max(1) as u128;
            let sample = self.sample(index as usize, &mut scratch)?;
            hash = mix(hash ^ u64::from(sample.label));
            for bytes in sample.pixels.chunks(8) {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                hash = mix(hash ^ u64::from_le_bytes(word)).wrapping_add(hash.rotate_left(17));
            }
        }
        Ok(hash)
    }

    /// Checks that the data are still what they were when the source was opened. Called once an epoch.
    ///
    /// # Errors
    ///
    /// For files: [`Error::Malformed`](crate::Error::Malformed) if one was written to or cut off since.
    fn verify(&self) -> Result<()> {
        Ok(())
    }

    /// Says that sample `index` comes soon, so that its bytes may be brought closer to the processor. Called for every
    /// sample: must not wait, and does nothing by default.
    fn prefetch(&self, index: usize) {
        let _ = index;
    }

    /// Says that these samples come next, so that a source may begin to fetch them. Only block-wise orders say so.
    fn will_need(&self, samples: Range<usize>) {
        let _ = samples;
    }

    /// Says that these samples are not needed again soon, so that a source may give their memory back.
    fn done_with(&self, samples: Range<usize>) {
        let _ = samples;
    }
}

impl<S: Source + ?Sized> Source for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }
    fn shape(&self) -> Shape {
        (**self).shape()
    }
    fn classes(&self) -> usize {
        (**self).classes()
    }
    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        (**self).sample(index, scratch)
    }
    fn label(&self, index: usize) -> Result<u32> {
        (**self).label(index)
    }
    fn fingerprint(&self) -> Result<u64> {
        (**self).fingerprint()
    }
    fn verify(&self) -> Result<()> {
        (**self).verify()
    }
    fn prefetch(&self, index: usize) {
        (**self).prefetch(index);
    }
    fn will_need(&self, samples: Range<usize>) {
        (**self).will_need(samples);
    }
    fn done_with(&self, samples: Range<usize>) {
        (**self).done_with(samples);
    }
}
