//! The bytes of a file: mapped into memory, held there, or read piece by piece.

use std::fs::{File, Metadata};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::Mmap;

use super::prefetch::prefetch;
use crate::error::{Error, Fault, Result, io_error};

/// How the bytes of a file are reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// The file is mapped: nothing is copied, and the operating system keeps in memory what is used. Where the system
    /// refuses (no address space left, a file system that cannot), the file is [read](Self::Read) instead.
    ///
    /// A mapped file must not change. If another program makes it shorter, touching the missing part kills this
    /// process with SIGBUS; if it writes into the file, pixels may come out as a mixture. Both are looked for at the
    /// start of every epoch and are an error then, but in the middle of one nothing can be promised. Replacing the file
    /// by renaming another one over it is safe: the old one stays mapped. Choose [`Read`](Self::Read) or
    /// [`Copied`](Self::Copied) where you cannot be sure.
    #[default]
    Mapped,
    /// The file is read into memory when it is opened, and may change afterwards.
    Copied,
    /// Each sample is read from the file when it is needed: slower than mapping, for the price of a system call, but
    /// a file that becomes shorter is an error of the samples it lost, never a signal. What is written over in place is
    /// read as it is then, and noticed at the start of the next epoch. Choose [`Copied`](Self::Copied) where that is
    /// too late.
    Read,
}

/// The bytes of a whole file that is not empty.
#[derive(Debug)]
pub(super) struct FileBytes {
    path: PathBuf,
    file: File,
    len: usize,
    modified: Option<SystemTime>,
    bytes: Bytes,
}

#[derive(Debug)]
enum Bytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
    /// In the file, to be read when needed.
    InFile,
}

impl FileBytes {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
        let mut file = open_regular(path)?;
        let metadata = file
            .metadata()
            .map_err(io_error("read the size of it", path))?;
        let bytes = match access {
            // SAFETY: the map is only read. That nobody changes the file meanwhile is the condition that
            // `Access::Mapped` states to whoever chooses it.
            Access::Mapped => unsafe { Mmap::map(&file) }.map_or(Bytes::InFile, Bytes::Mapped),
            Access::Copied => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)
                    .map_err(io_error("read it", path))?;
                Bytes::Copied(bytes)
            }
            Access::Read => Bytes::InFile,
        };
        // What was mapped or copied counts, even if the file grew or shrank since it was asked for its length.
        let len = match &bytes {
            Bytes::Mapped(map) => map.len(),
            Bytes::Copied(bytes) => bytes.len(),
            Bytes::InFile => usize::try_from(metadata.len()).unwrap_or(usize::MAX),
        };
        if len == 0 {
            return Err(Error::Malformed {
                path: path.to_owned(),
                fault: Fault::Empty,
                offset: 0,
                expected: "records".into(),
                found: "0 bytes".into(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            len,
            modified: modified(&metadata),
            file,
            bytes,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes in `range`, if they lie in memory.
    pub(super) fn in_memory(&self, range: Range<usize>) -> Option<&[u8]> {
        match &self.bytes {
            Bytes::Mapped(map) => Some(&map[range]),
            Bytes::Copied(bytes) => Some(&bytes[range]),
            Bytes::InFile => None,
        }
    }

    /// The bytes in `range`, lent where they lie in memory, else read into `scratch`.
    pub(super) fn get<'a>(
        &'a self,
        range: Range<usize>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        match &self.bytes {
            Bytes::Mapped(map) => Ok(&map[range]),
            Bytes::Copied(bytes) => Ok(&bytes[range]),
            Bytes::InFile => {
                scratch.resize(range.len(), 0);
                read_exact_at(&self.file, scratch, range.start as u64)
                    .map_err(io_error("read it", &self.path))?;
                Ok(scratch)
            }
        }
    }

    /// As [`get`](Self::get), but what must be read is read into the start of `memory`, as much as there is room for.
    #[cfg(feature = "images")]
    pub(super) fn get_in<'a>(
        &'a self,
        range: Range<usize>,
        memory: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        match &self.bytes {
            Bytes::Mapped(map) => Ok(&map[range]),
            Bytes::Copied(bytes) => Ok(&bytes[range]),
            Bytes::InFile => {
                let part = range.len().min(memory.len());
                let memory = &mut memory[..part];
                read_exact_at(&self.file, memory, range.start as u64)
                    .map_err(io_error("read it", &self.path))?;
                Ok(memory)
            }
        }
    }

    /// Whether the bytes lie in memory.
    #[cfg(feature = "images")]
    pub(super) fn lends(&self) -> bool {
        !matches!(self.bytes, Bytes::InFile)
    }

    /// Calls `check` with all bytes in order, in pieces that are multiples of `unit` but for the last, and the offset
    /// of each.
    pub(super) fn scan(
        &self,
        unit: usize,
        mut check: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let piece = ((1 << 20) / unit).max(1) * unit;
        let mut scratch = Vec::new();
        for start in (0..self.len).step_by(piece) {
            let end = start.saturating_add(piece).min(self.len);
            check(start, self.get(start..end, &mut scratch)?)?;
            // Or a file that is larger than memory would fill it before the first epoch.
            self.done_with(start..end);
        }
        Ok(())
    }

    /// An error if the file was written to or cut off since it was opened.
    pub(super) fn verify(&self) -> Result<()> {
        if matches!(self.bytes, Bytes::Copied(_)) {
            return Ok(());
        }
        let metadata = self
            .file
            .metadata()
            .map_err(io_error("read the size of it", &self.path))?;
        let changed = |expected: String, found: String, offset| Error::Malformed {
            path: self.path.clone(),
            fault: Fault::Changed,
            offset,
            expected,
            found,
        };
        if metadata.len() != self.len as u64 {
            let [expected, found] =
                [self.len as u64, metadata.len()].map(|len| format!("{len} bytes"));
            return Err(changed(
                expected,
                found,
                metadata.len().min(self.len as u64),
            ));
        }
        if self.modified.is_some() && modified(&metadata) != self.modified {
            let expected = "a file that nobody has written to since it was opened";
            return Err(changed(expected.into(), "a later change".into(), 0));
        }
        Ok(())
    }

    /// Brings the bytes in `range` closer to the processor.
    pub(super) fn prefetch(&self, range: Range<usize>) {
        match &self.bytes {
            Bytes::Mapped(map) => prefetch(&map[range]),
            Bytes::Copied(bytes) => prefetch(&bytes[range]),
            Bytes::InFile => {}
        }
    }

    /// Has the system fetch the bytes in `range`, while this thread goes on.
    pub(super) fn will_need(&self, range: Range<usize>) {
        let range = within(range, 0, self.len);
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes {
            // Only a hint: if it is not taken, the pages come when they are touched.
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, range.len());
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Takes the bytes in `range` out of this process' memory.
    pub(super) fn done_with(&self, range: Range<usize>) {
        // With a page the system maps its neighbours, up to 64 KiB: those that came with the range go with it. Who
        // still uses them gets them back without reading.
        let range = within(range, 64 << 10, self.len);
        #[cfg(unix)]
        if let Bytes::Mapped(map) = &self.bytes {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: `range` is within the map, as the advised memory would otherwise be somebody else's. Its pages
            // belong to a file that is mapped read-only, so nothing in them can be lost: who touches them again, even
            // at this moment, gets the same bytes from the file.
            let _ = unsafe { map.unchecked_advise_range(advice, range.start, range.len()) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

/// When the file was last written to, where the system knows.
fn modified(metadata: &Metadata) -> Option<SystemTime> {
    metadata.modified().ok()
}

/// The part of `range`, made longer by `margin` on both sides, that lies in a file of `len` bytes: a caller's hint may
/// go beyond the end.
fn within(range: Range<usize>, margin: usize, len: usize) -> Range<usize> {
    let end = range.end.saturating_add(margin).min(len);
    range.start.saturating_sub(margin).min(end)..end
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, buffer, offset)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

/// Writes all of `bytes` at `offset`, from any thread.
#[cfg(unix)]
pub(super) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Writes all of `bytes` at `offset`, from any thread.
#[cfg(windows)]
pub(super) fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, offset)? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            written => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
        }
    }
    Ok(())
}

/// Opens a file, but no folder, device or pipe: reading those would fail later or never end.
pub(super) fn open_regular(path: &Path) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(io_error("open it", path))?;
    if !metadata.is_file() {
        return Err(Error::Malformed {
            path: path.to_owned(),
            fault: Fault::NotAFile,
            offset: 0,
            expected: "a file".into(),
            found: if metadata.is_dir() {
                "a folder".into()
            } else {
                "a device or pipe".into()
            },
        });
    }
    File::open(path).map_err(io_error("open it", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hints_never_leave_the_file(start: usize, end: usize, margin: usize, len: usize) {
            let range = within(start..end, margin, len);
            prop_assert!(range.start <= range.end && range.end <= len);
        }

        #[test]
        fn hints_within_the_file_are_taken_as_they_are(a in 0usize..100, b in 0usize..100) {
            let (start, end) = (a.min(b), a.max(b));
            prop_assert_eq!(within(start..end, 0, 100), start..end);
            prop_assert_eq!(within(start..end, 10, 100), start.saturating_sub(10)..(end + 10).min(100));
        }
    }

    #[test]
    fn hints_beyond_the_end_are_taken_for_the_part_that_is_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 5000]).unwrap();
        let bytes = FileBytes::open(file.path(), Access::Mapped).unwrap();
        for range in [0..usize::MAX, 1 << 20..1 << 21, usize::MAX - 1..usize::MAX] {
            bytes.will_need(range.clone());
            bytes.done_with(range);
        }
        assert_eq!(bytes.get(4999..5000, &mut Vec::new()).unwrap(), [7]);
    }
}
