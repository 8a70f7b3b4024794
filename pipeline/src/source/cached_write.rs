//! Writing a cache file: all samples once, on all processor cores.

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{available_parallelism, scope};

use super::Source;
use super::cached_format::{Layout, UNREADABLE};
use super::mapped_file::write_all_at;
use crate::cache;
use crate::error::{Error, Result, io_error};

/// What a thread reads before it writes it.
const PIECE_BYTES: usize = 1 << 20;

/// Writes the cache of `source` to `path`, unless somebody else has done so meanwhile, and tells `progress` how many samples
/// of how many are done.
pub(super) fn write(
    source: &impl Source,
    layout: &Layout,
    path: &Path,
    mut progress: impl FnMut(usize, usize),
) -> Result<()> {
    let temporary = cache::temporary_file(path)?;
    let file = temporary.as_file();
    let write_error = |error| io_error("write it", path)(error);
    file.set_len(layout.total() as u64).map_err(write_error)?;

    let work = Work {
        source,
        layout,
        file,
        piece: (PIECE_BYTES / layout.shape.elements().max(1)).max(1),
        next: AtomicUsize::new(0),
        stopped: AtomicBool::new(false),
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let mut labels = vec![UNREADABLE; source.len()];
    scope(|scope| {
        let (sender, receiver) = channel();
        for _ in 0..threads {
            let (sender, work) = (sender.clone(), &work);
            scope.spawn(move || work.run(&sender));
        }
        drop(sender);
        // What panics below, in the caller's function, need not wait for all samples.
        let _stop = Stop(&work.stopped);
        let mut done = 0;
        for piece in receiver {
            let (start, own): (usize, Vec<u32>) = piece.map_err(write_error)?;
            labels[start..start + own.len()].copy_from_slice(&own);
            done += own.len();
            progress(done, labels.len());
        }
        Ok::<(), Error>(())
    })?;
    // What was read may have changed in the middle.
    source.verify()?;
    write_all_at(file, &layout.header(&labels), 0).map_err(write_error)?;
    file.sync_all().map_err(write_error)?;
    match temporary.persist_noclobber(path) {
        // Somebody else was faster. Whether it is the same is looked at as with any file that was there.
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop).map_err(|error| write_error(error.error)),
    }
}

/// What all threads share.
struct Work<'a, S> {
    source: &'a S,
    layout: &'a Layout,
    file: &'a File,
    /// Samples that are written at once.
    piece: usize,
    /// The first sample that nobody has taken yet.
    next: AtomicUsize,
    stopped: AtomicBool,
}

/// Stops the threads when it is dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The first sample of a piece, and the labels of all in it.
type Piece = std::io::Result<(usize, Vec<u32>)>;

impl<S: Source> Work<'_, S> {
    /// Takes piece after piece until there is none left or nobody wants to know.
    fn run(&self, sender: &Sender<Piece>) {
        let len = self.source.len();
        let mut pixels = Vec::new();
        let mut scratch = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let start = self.next.fetch_add(self.piece, Ordering::Relaxed);
            if start >= len {
                return;
            }
            let samples = start..start.saturating_add(self.piece).min(len);
            let labels = self.read(samples.clone(), &mut pixels, &mut scratch);
            let place = self.layout.pixels(samples.clone()).start;
            let written = write_all_at(self.file, &pixels, place as u64);
            // Or a file that is larger than memory would fill it.
            let _ = catch_unwind(AssertUnwindSafe(|| self.source.done_with(samples)));
            if sender.send(written.map(|()| (start, labels))).is_err() {
                return;
            }
        }
    }

    /// Reads some samples: their pixels one after the other, and their labels.
    fn read(&self, samples: Range<usize>, pixels: &mut Vec<u8>, scratch: &mut Vec<u8>) -> Vec<u32> {
        let length = self.layout.shape.elements();
        pixels.clear();
        pixels.resize(samples.len() * length, 0);
        let read = |(offset, index)| {
            let place = offset * length..(offset + 1) * length;
            self.sample(index, &mut pixels[place], scratch)
                .unwrap_or(UNREADABLE)
        };
        samples.enumerate().map(read).collect()
    }

    /// Copies a sample's pixels and returns its label, if it has both as it should. Why not, the source tells those who ask
    /// for the sample later.
    fn sample(&self, index: usize, pixels: &mut [u8], scratch: &mut Vec<u8>) -> Option<u32> {
        let read = AssertUnwindSafe(|| {
            let sample = self.source.sample(index, scratch).ok()?;
            let label = sample.label;
            let sound = sample.pixels.len() == pixels.len()
                && (label as usize) < self.layout.classes
                && label != UNREADABLE;
            sound.then(|| {
                pixels.copy_from_slice(sample.pixels);
                label
            })
        });
        catch_unwind(read).ok().flatten()
    }
}
