//! Which pictures lie in a folder and the folders below it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::error::{Result, io_error};

/// The endings of names of pictures. What is inside tells which format it is.
pub(super) const ENDINGS: [&str; 5] = ["jpg", "jpeg", "jpe", "jfif", "png"];

/// The pictures of one class.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The folders, in which they lie, relative to the class's.
    pub(super) folders: Vec<PathBuf>,
    /// Each with its folder's number; sorted by folder and name.
    pub(super) names: Vec<(usize, OsString)>,
    /// How many files are no pictures by their names.
    pub(super) others: usize,
}

/// Whether a file is a picture by its name.
pub(super) fn is_picture(name: &OsStr) -> bool {
    let ending = Path::new(name).extension().and_then(OsStr::to_str);
    ending.is_some_and(|ending| {
        ENDINGS
            .iter()
            .any(|known| ending.eq_ignore_ascii_case(known))
    })
}

/// Whether a file or folder is somebody else's: hidden, or what macOS leaves in archives.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX"
}

/// What lies in a folder, by name in the order of bytes, without what is hidden. Links count as what they lead to, and
/// as files if they lead nowhere.
pub(super) struct Entries {
    pub(super) folders: Vec<OsString>,
    pub(super) files: Vec<OsString>,
}

impl Entries {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let mut entries = Self {
            folders: Vec::new(),
            files: Vec::new(),
        };
        let list = std::fs::read_dir(folder).map_err(io_error("list it", folder))?;
        for entry in list {
            let entry = entry.map_err(io_error("list it", folder))?;
            let name = entry.file_name();
            if is_hidden(&name) {
                continue;
            }
            let kind = entry.file_type().map_err(io_error("list it", folder))?;
            let is_folder = if kind.is_symlink() {
                folder.join(&name).is_dir()
            } else {
                kind.is_dir()
            };
            if is_folder {
                entries.folders.push(name);
            } else {
                entries.files.push(name);
            }
        }
        for names in [&mut entries.folders, &mut entries.files] {
            names.sort_unstable_by(|a, b| a.as_encoded_bytes().cmp(b.as_encoded_bytes()));
        }
        Ok(entries)
    }
}

impl Listing {
    /// All pictures in `class` and below. Each folder is gone through once, however many links lead to it.
    pub(super) fn read(class: &Path) -> Result<Self> {
        let mut listing = Self::default();
        let mut seen = HashSet::new();
        // The last comes next.
        let mut ahead = vec![PathBuf::new()];
        while let Some(folder) = ahead.pop() {
            let path = class.join(&folder);
            let real = path.canonicalize().map_err(io_error("list it", &path))?;
            if !seen.insert(real) {
                continue;
            }
            let entries = Entries::read(&path)?;
            let below = entries.folders.iter().rev();
            ahead.extend(below.map(|name| folder.join(name)));
            let number = listing.folders.len();
            for name in entries.files {
                if is_picture(&name) {
                    listing.names.push((number, name));
                } else {
                    listing.others += 1;
                }
            }
            listing.folders.push(folder);
        }
        Ok(listing)
    }
}
