//! A file of records whose pages the system has forgotten, so that they come from the disk again.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use feedline_pipeline::source::{Access, RecordFile, RecordFormat};
use feedline_pipeline::{Random, Result, Shape, Source};
use tempfile::NamedTempFile;

/// A byte that is the label, and a picture.
const FORMAT: RecordFormat = RecordFormat {
    shape: Shape::new(3, 96, 96),
    classes: 10,
    record_length: 1 + 3 * 96 * 96,
    label_offset: 0,
    pixel_offset: 1,
};

/// A gibibyte.
const RECORDS: usize = (1 << 30) / FORMAT.record_length;

pub(crate) struct ColdFile {
    pub(crate) source: Arc<RecordFile>,
    file: File,
}

/// Writes the file into `folder`. It is removed when it is dropped.
pub(crate) fn create(folder: &Path) -> io::Result<NamedTempFile> {
    std::fs::create_dir_all(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    let mut random = Random::new([0]);
    let mut record = Vec::with_capacity(FORMAT.record_length + 8);
    for index in 0..RECORDS {
        record.clear();
        record.push((index % FORMAT.classes) as u8);
        while record.len() < FORMAT.record_length {
            record.extend(random.next_u64().to_le_bytes());
        }
        file.write_all(&record[..FORMAT.record_length])?;
    }
    // What is not on the disk yet can't be forgotten.
    file.as_file().sync_all()?;
    Ok(file)
}

impl ColdFile {
    pub(crate) fn open(path: &Path, access: Access) -> Result<Self> {
        let io_error = |source| feedline_pipeline::Error::Io {
            action: "open it",
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            source: Arc::new(RecordFile::open_with(path, FORMAT, access)?),
            file: File::open(path).map_err(io_error)?,
        })
    }

    /// Has the system forget all of it. Pages that are mapped are kept, so they are given back first.
    pub(crate) fn forget(&self) -> io::Result<()> {
        self.source.done_with(0..self.source.len());
        forget(&self.file)
    }

    /// Bytes of a record.
    pub(crate) fn record_length(&self) -> usize {
        FORMAT.record_length
    }
}

#[cfg(target_os = "linux")]
fn forget(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fadvise(
        file,
        0,
        None,
        rustix::fs::Advice::DontNeed,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn forget(_: &File) -> io::Result<()> {
    let message = "only Linux is known to forget a file on demand";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Bytes that this process had the disks read.
pub(crate) fn bytes_read() -> f64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("read_bytes: "));
    line.and_then(|bytes| bytes.parse().ok())
        .unwrap_or_default()
}
