//! What is on disk: samples that can be read in any order.
//!
//! A [`Source`] answers one question, "what is sample `i`?", from any thread. Everything about a file is
//! checked when it is opened, so that reading a sample of a built-in source can only fail later where the file is read
//! piece by piece ([`Access::Read`]) and the system cannot read it any more.

mod cached;
mod cached_format;
mod cached_write;
mod concat;
mod fingerprint;
mod gzip;
mod idx;
mod idx_file;
mod in_memory;
mod mapped_file;
mod npy;
mod npy_file;
mod npy_header;
#[cfg(feature = "images")]
mod pictures;
mod prefetch;
mod record_file;
mod record_format;
mod shape;
mod split;
mod subset;

pub use cached::Cached;
pub use concat::Concat;
pub use idx::IdxPair;
pub use in_memory::InMemory;
pub use mapped_file::Access;
pub use npy::{Axes, NpyPair};
#[cfg(feature = "images")]
pub use pictures::{DEFAULT_PIXEL_LIMIT, Decode, Fit, ImageFolder, TarShards};
pub use record_file::RecordFile;
pub use record_format::RecordFormat;
pub use shape::Shape;
pub use split::{Split, split, split_stratified};
pub use subset::Subset;

use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Result};

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
    /// call to call) and lends that. If it needs more room there than a picture has bytes, it says so in
    /// [`scratch_bytes`](Source::scratch_bytes).
    ///
    /// # Errors
    ///
    /// [`Error::Sample`], with the index in this source and the reason inside. The built-in sources were checked when
    /// they were opened and fail only where a file is read piece by piece: with [`Access::Read`], or where the system
    /// refused to map it.
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

    /// The bytes that [`sample`](Source::sample) writes into its scratch buffer at the most. They are set aside for
    /// every worker beforehand and count in the memory budget. By default the bytes of a picture: override it where
    /// decoding needs more, as for a compressed picture beside the plain one.
    fn scratch_bytes(&self) -> usize {
        self.shape().elements()
    }

    /// A number that tells these data from others, so that a state is not resumed on the wrong ones. By default it
    /// follows from length, shape, classes and the bytes of up to 64 samples from all over the source; one that cannot
    /// be read counts as such. Sources that have all labels at hand add them, so that other labels are noticed, too.
    ///
    /// # Errors
    ///
    /// Only where a user's source has a fingerprint of its own: what that says.
    fn fingerprint(&self) -> Result<u64> {
        Ok(fingerprint::of_probes(self))
    }

    /// Checks that the data are still what they were when the source was opened. Called once an epoch.
    ///
    /// # Errors
    ///
    /// For files: [`Error::Malformed`] if one was written to or cut off since.
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
    fn scratch_bytes(&self) -> usize {
        (**self).scratch_bytes()
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

/// For `map_err`: the error of one sample, which names it.
fn sample_error(index: usize) -> impl FnOnce(Error) -> Error {
    move |source| Error::Sample {
        index,
        stage: "source",
        source: source.into(),
    }
}
