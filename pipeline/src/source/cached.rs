//! A source whose samples were written to a file once, so that nothing is decoded again.

use std::ops::Range;
use std::path::Path;

use super::cached_format::{Layout, UNREADABLE};
use super::cached_write::write;
use super::mapped_file::{Access, FileBytes};
use super::{Sample, Shape, Source, sample_error};
use crate::error::{Error, Fault, Result};

/// A source together with a file of its samples as they come out of it: plain bytes, which are mapped. For sources whose
/// samples take long, such as pictures that must be decoded and made smaller.
///
/// The file is written when it is not there yet, on all processor cores, and complete before it has its name: a program that
/// is killed while it writes leaves nothing behind that is taken for a cache (but its temporary file, `.feedline-…` in the
/// same folder), and several that write the same one do not disturb each other. Later it is used as it is. Beside it an opened
/// cache needs 4 bytes of memory per sample; while it is written, one mebibyte (or the bytes of a picture, if it is larger) and
/// the source's [`scratch_bytes`](Source::scratch_bytes) per core.
///
/// Whether it is the same source, its fingerprint says: what that does not see, such as another picture in a file with the same
/// name and length, the cache does not see either.
///
/// A sample that cannot be read is noted in the file, and whoever asks for it gets what the source says: so a loader's
/// [`OnError`](crate::OnError) does the same with and without a cache. The fingerprint is the source's, too: a state that was
/// saved without a cache can be resumed with one.
///
/// ```
/// use feedline_pipeline::source::{Cached, InMemory};
/// use feedline_pipeline::{Shape, Source};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("pictures.cache");
/// // Any source; what is in memory already would not need it.
/// let source = InMemory::new(Shape::new(1, 1, 2), 10, vec![1, 2, 3, 4], vec![7, 9])?;
/// let cached = Cached::open(source, &path)?;
/// assert_eq!(cached.sample(1, &mut Vec::new())?.pixels, [3, 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Cached<S> {
    source: S,
    layout: Layout,
    bytes: FileBytes,
    /// Held in memory.
    labels: Vec<u32>,
}

impl<S: Source> Cached<S> {
    /// Opens the cache of `source` at `path`, after writing it if there is nothing.
    ///
    /// A file that is there is used if it is a whole cache of a source with this length, shape, number of classes and
    /// [fingerprint](Source::fingerprint), and never replaced: whatever else it is, it may be somebody's own. To make it anew,
    /// delete it.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with [`Fault::OtherCache`] if the file there is something else, another source's cache, or
    /// damaged; [`Error::Io`] if it can't be written or read (no such folder, no permission, a full disk);
    /// [`Error::InvalidArgument`] if the samples are more bytes than can be counted; what the source says if it has no
    /// fingerprint or has changed meanwhile.
    pub fn open(source: S, path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(source, path, Access::default(), |_, _| {})
    }

    /// As [`open`](Self::open), with a choice between mapping and reading, and a function that is told how many samples of
    /// how many are written: `progress(done, all)`, on the caller's own thread. It is not called if nothing is to be written.
    ///
    /// ```
    /// # use feedline_pipeline::source::{Access, Cached, InMemory};
    /// # use feedline_pipeline::Shape;
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("pictures.cache");
    /// # let source = InMemory::new(Shape::new(1, 1, 2), 10, vec![1, 2, 3, 4], vec![7, 9])?;
    /// let cached = Cached::open_with(source, &path, Access::Copied, |done, all| {
    ///     eprint!("\r{done} of {all} pictures");
    /// })?;
    /// # drop(cached);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(
        source: S,
        path: impl AsRef<Path>,
        access: Access,
        progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let path = path.as_ref();
        let layout = Layout::of(&source)?;
        // Also a link to nothing is somebody's own: opening it says so.
        if path.symlink_metadata().is_err() {
            write(&source, &layout, path, progress)?;
        }
        let bytes = FileBytes::open(path, access).map_err(|error| match error {
            Error::Malformed {
                path,
                fault: Fault::Empty,
                offset,
                found,
                ..
            } => Error::Malformed {
                path,
                fault: Fault::OtherCache,
                offset,
                expected: "the cache of a source".into(),
                found,
            },
            other => other,
        })?;
        let labels = layout.labels(&bytes)?;
        Ok(Self {
            source,
            layout,
            bytes,
            labels,
        })
    }

    /// How many samples could not be read when the cache was written. They are asked of the source each time.
    pub fn unreadable(&self) -> usize {
        let labels = self.labels.iter();
        labels.filter(|&&label| label == UNREADABLE).count()
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }
}

impl<S: Source> Source for Cached<S> {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> Shape {
        self.layout.shape
    }

    fn classes(&self) -> usize {
        self.layout.classes
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let label = self.labels[index];
        if label == UNREADABLE {
            return self.source.sample(index, scratch);
        }
        let place = self.layout.pixels(index..index + 1);
        let pixels = self
            .bytes
            .get(place, scratch)
            .map_err(sample_error(index))?;
        Ok(Sample { pixels, label })
    }

    fn label(&self, index: usize) -> Result<u32> {
        match self.labels[index] {
            UNREADABLE => self.source.label(index),
            label => Ok(label),
        }
    }

    fn scratch_bytes(&self) -> usize {
        let own = self.layout.shape.elements();
        match self.labels.contains(&UNREADABLE) {
            true => own.max(self.source.scratch_bytes()),
            false => own,
        }
    }

    fn fingerprint(&self) -> Result<u64> {
        Ok(self.layout.fingerprint)
    }

    fn verify(&self) -> Result<()> {
        self.bytes.verify()
    }

    fn prefetch(&self, index: usize) {
        self.bytes.prefetch(self.layout.pixels(index..index + 1));
    }

    fn will_need(&self, samples: Range<usize>) {
        self.bytes.will_need(self.layout.pixels(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.bytes.done_with(self.layout.pixels(samples));
    }
}
