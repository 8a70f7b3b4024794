//! Compressed files, unpacked once.
//!
//! A sample can only be read at random from a file that is not compressed, so a `.gz` is unpacked when it is
//! first opened and found again afterwards.

use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::mapped_file::open_regular;
use crate::cache::{self, Place};
use crate::error::{Error, Fault, Result, io_error};

/// A file of gzip's format (RFC 1952) that is being read.
pub(super) struct GzipFile {
    path: PathBuf,
    decoder: MultiGzDecoder<File>,
}

impl GzipFile {
    /// The file at `path`, or `None` if it does not begin as gzip's files do.
    pub(super) fn open(path: &Path) -> Result<Option<Self>> {
        let mut file = open_regular(path)?;
        let mut magic = Vec::new();
        (&file)
            .take(2)
            .read_to_end(&mut magic)
            .map_err(io_error("read it", path))?;
        if magic != [0x1f, 0x8b] {
            return Ok(None);
        }
        file.rewind().map_err(io_error("read it", path))?;
        Ok(Some(Self {
            path: path.to_owned(),
            decoder: MultiGzDecoder::new(file),
        }))
    }

    /// Reads the next bytes into `buffer`; fewer than fit only at the end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.decoder.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.damaged(error)),
            }
        }
        Ok(filled)
    }

    /// Writes all of it, which must be `length` bytes and of which `start` was read already, to a file of its own,
    /// and returns that file's path. If it is there from an earlier time, nothing is written.
    pub(super) fn unpack(mut self, start: &[u8], length: u64) -> Result<PathBuf> {
        let is_whole = |path: &Path| {
            std::fs::metadata(path).is_ok_and(|old| old.is_file() && old.len() == length)
        };
        let destination = match cache::place(&self.path, &unpacked_name(&self.path), is_whole)? {
            Place::Ready(path) => return Ok(path),
            Place::Free(path) => path,
        };
        let mut file = cache::temporary_file(&destination)?;
        let write_error = |error| io_error("write it", &destination)(error);
        file.write_all(start).map_err(write_error)?;
        let mut written = start.len() as u64;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = self.read(&mut buffer)?;
            // Never more than the header announced, however much the stream would give.
            if count == 0 || written + count as u64 > length {
                written += count as u64;
                break;
            }
            file.write_all(&buffer[..count]).map_err(write_error)?;
            written += count as u64;
        }
        if written != length {
            let found = if written > length {
                "more".into()
            } else {
                written.to_string()
            };
            return Err(Error::Malformed {
                path: self.path,
                fault: Fault::WrongLength,
                offset: written.min(length),
                expected: format!("{length} unpacked bytes, as the header says"),
                found,
            });
        }
        cache::keep(file, &destination)?;
        Ok(destination)
    }

    fn damaged(&mut self, error: std::io::Error) -> Error {
        use ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if !matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
            return io_error("read it", &self.path)(error);
        }
        Error::Malformed {
            path: self.path.clone(),
            fault: Fault::DamagedCompression,
            // As far as was read: the damage lies at most one read buffer before.
            offset: self.decoder.get_mut().stream_position().unwrap_or(0),
            expected: "gzip data".into(),
            found: error.to_string(),
        }
    }
}

/// The name without `.gz`. A compressed file that has another ending cannot be unpacked over itself.
fn unpacked_name(path: &Path) -> OsString {
    match path.file_stem() {
        Some(stem) if path.extension().is_some_and(|ending| ending == "gz") => stem.to_owned(),
        _ => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".unpacked");
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_in_their_ending_are_not_unpacked_to_the_same_name() {
        let name = |path: &str| unpacked_name(Path::new(path));
        assert_eq!(name("data/images.gz"), "images");
        assert_eq!(name("data/images.train"), "images.train.unpacked");
        assert_eq!(name("data/images.test"), "images.test.unpacked");
        assert_eq!(name("data/.gz"), ".gz.unpacked");
    }
}
