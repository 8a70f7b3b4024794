//! The bytes of a file, mapped into memory or read.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Fault, Result, io_error};

/// How the bytes of a file are reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Access {
    /// The file is mapped: nothing is copied, and the operating system keeps in memory what is used.
    ///
    /// A mapped file must not change. If another program makes it shorter, touching the missing part kills this
    /// process with SIGBUS; if it writes into the file, pixels may come out as a mixture. Replacing the file by
    /// renaming another one over it is safe. Choose [`Copied`](Self::Copied) where you cannot be sure.
    #[default]
    Mapped,
    /// The file is read into memory when it is opened, and may change afterwards.
    Copied,
}

/// The bytes of a whole file that is not empty.
#[derive(Debug)]
pub(super) enum FileBytes {
    Mapped(Mmap),
    Copied(Vec<u8>),
}

impl FileBytes {
    pub(super) fn open(path: &Path, access: Access) -> Result<Self> {
        let mut file = open_regular(path)?;
        let length = file
            .metadata()
            .map_err(io_error("read the size of it", path))?
            .len();
        if length == 0 {
            return Err(Error::Malformed {
                path: path.to_owned(),
                fault: Fault::Empty,
                offset: 0,
                expected: "records".into(),
                found: "0 bytes".into(),
            });
        }
        match access {
            Access::Mapped => {
                // SAFETY: the map is only read. That nobody changes the file meanwhile is the condition that
                // `Access::Mapped` states to whoever chooses it.
                let map = unsafe { Mmap::map(&file) }.map_err(io_error("map it", path))?;
                Ok(Self::Mapped(map))
            }
            Access::Copied => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)
                    .map_err(io_error("read it", path))?;
                Ok(Self::Copied(bytes))
            }
        }
    }
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

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Copied(bytes) => bytes,
        }
    }
}
