//! Where the pictures of a tar file lie, and their classes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use tar::Archive;

use super::super::mapped_file::FileBytes;
use super::listing::{ENDINGS, is_hidden};
use crate::error::{Error, Fault, Result};

/// A tar file's blocks.
const BLOCK: u64 = 512;

/// No class has as many digits.
const LONGEST_CLASS: u64 = 64;

/// The pictures of one tar file, in the order in which they lie there.
#[derive(Debug, Default)]
pub(super) struct TarIndex {
    pub(super) pictures: Vec<Entry>,
    /// All names, one behind the other.
    names: Vec<u8>,
}

/// One picture. Millions of them are held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) length: u64,
    pub(super) label: u32,
    /// Where its name ends among all names.
    name_end: u32,
}

/// What files of the same key say of a sample.
#[derive(Default)]
struct Sample {
    /// Name, start and length.
    picture: Option<(Vec<u8>, u64, u64)>,
    /// Class, and where it stands.
    class: Option<(u32, u64)>,
}

impl Entry {
    /// Where its bytes lie.
    pub(super) fn bytes(&self) -> Range<usize> {
        self.start as usize..(self.start + self.length) as usize
    }
}

impl TarIndex {
    /// Goes through the headers of a tar file once.
    pub(super) fn read(file: &FileBytes) -> Result<Self> {
        refuse_compressed(file)?;
        let mut samples: HashMap<Vec<u8>, Sample> = HashMap::new();
        // Behind the last entry.
        let mut end = 0;
        let damaged = |offset: u64, found: String| {
            let expected = "the header of the next file, or two blocks of zeros as the end";
            malformed(file, Fault::DamagedArchive, offset, expected.into(), found)
        };
        let reader = Reader {
            file,
            position: 0,
            scratch: Vec::new(),
        };
        let mut archive = Archive::new(reader);
        let entries = archive
            .entries_with_seek()
            .map_err(|error| damaged(0, error.to_string()))?;
        for entry in entries {
            let entry = entry.map_err(|error| damaged(end, error.to_string()))?;
            let (start, length) = (entry.raw_file_position(), entry.size());
            let name = entry.path_bytes();
            let kind = entry.header().entry_type();
            end = start
                .checked_add(length)
                .filter(|&end| end <= file.len() as u64)
                .ok_or_else(|| {
                    let expected = format!("{length} bytes of {}", shown(&name));
                    let found = format!("{}, then the file ends", file.len() as u64 - start);
                    malformed(file, Fault::DamagedArchive, start, expected, found)
                })?
                .next_multiple_of(BLOCK);
            let Some((key, ending)) = split(&name) else {
                continue;
            };
            if kind.is_file() || kind.is_contiguous() {
                add(file, &mut samples, key, ending, &name, start, length)?;
            } else if kind.is_gnu_sparse() && is_picture(ending) {
                let expected = format!("{} as a plain file", shown(&name));
                let found = "a sparse one".into();
                return Err(malformed(
                    file,
                    Fault::UnsoundSample,
                    start,
                    expected,
                    found,
                ));
            }
        }
        check_end(file, end)?;
        Self::collect(file, samples)
    }

    /// Puts the samples in the order of their pictures, if each has a picture and a class.
    fn collect(file: &FileBytes, samples: HashMap<Vec<u8>, Sample>) -> Result<Self> {
        let mut sound = Vec::with_capacity(samples.len());
        // The first in the file, so that the same file always gives the same error.
        let mut first_unsound: Option<(u64, Vec<u8>, &str)> = None;
        for (key, sample) in samples {
            let (offset, missing) = match (sample.picture, sample.class) {
                (Some(picture), Some((label, _))) => {
                    sound.push((picture, label));
                    continue;
                }
                (Some((_, start, _)), None) => (start, "its class"),
                (None, Some((_, start))) => (start, "its picture"),
                (None, None) => continue,
            };
            if first_unsound.as_ref().is_none_or(|first| offset < first.0) {
                first_unsound = Some((offset, key, missing));
            }
        }
        if let Some((offset, key, missing)) = first_unsound {
            let key = shown(&key);
            let expected = format!("{key}.cls with the class, and {key}.jpg, .jpeg or .png");
            let found = format!("a sample that lacks {missing}");
            return Err(malformed(
                file,
                Fault::UnsoundSample,
                offset,
                expected,
                found,
            ));
        }
        if sound.is_empty() {
            let expected = "pictures with their classes, as in 0001.jpg and 0001.cls".into();
            return Err(malformed(
                file,
                Fault::NoPictures,
                0,
                expected,
                "none".into(),
            ));
        }
        sound.sort_unstable_by_key(|((_, start, _), _)| *start);
        let mut index = Self::default();
        for ((name, start, length), label) in sound {
            index.names.extend(name);
            let name_end = u32::try_from(index.names.len()).map_err(|_| {
                let (expected, found) = ("names of at most 4 GiB", "more");
                malformed(
                    file,
                    Fault::WrongLength,
                    start,
                    expected.into(),
                    found.into(),
                )
            })?;
            index.pictures.push(Entry {
                start,
                length,
                label,
                name_end,
            });
        }
        Ok(index)
    }

    /// The name of a picture.
    pub(super) fn name(&self, picture: usize) -> &[u8] {
        let start = match picture {
            0 => 0,
            _ => self.pictures[picture - 1].name_end,
        };
        &self.names[start as usize..self.pictures[picture].name_end as usize]
    }
}

/// Adds a file to the sample of its key.
fn add(
    file: &FileBytes,
    samples: &mut HashMap<Vec<u8>, Sample>,
    key: &[u8],
    ending: &[u8],
    name: &[u8],
    start: u64,
    length: u64,
) -> Result<()> {
    let is_class = ending.eq_ignore_ascii_case(b"cls");
    if !is_class && !is_picture(ending) {
        return Ok(());
    }
    let sample = samples.entry(key.to_vec()).or_default();
    let twice = |what: &str, other: String| {
        let expected = format!("one {what} for the key {}", shown(key));
        let found = format!("{} beside {other}", shown(name));
        Err(malformed(
            file,
            Fault::UnsoundSample,
            start,
            expected,
            found,
        ))
    };
    if is_class {
        if let Some((_, other)) = sample.class {
            return twice("class", format!("the one at byte {other}"));
        }
        sample.class = Some((class(file, name, start, length)?, start));
    } else {
        if let Some((other, at, _)) = &sample.picture {
            return twice("picture", format!("{} at byte {at}", shown(other)));
        }
        sample.picture = Some((name.to_vec(), start, length));
    }
    Ok(())
}

/// Lists are made with a place for each class: a number that is damaged must not decide how long they are.
const MOST_CLASSES: u32 = 1 << 20;

/// The number in a file of that.
fn class(file: &FileBytes, name: &[u8], start: u64, length: u64) -> Result<u32> {
    let mut scratch = Vec::new();
    let text = start..start + length.min(LONGEST_CLASS);
    let text = file.get(text.start as usize..text.end as usize, &mut scratch)?;
    let number = std::str::from_utf8(text)
        .ok()
        .map(str::trim)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .filter(|&class| class < MOST_CLASSES);
    number.filter(|_| length <= LONGEST_CLASS).ok_or_else(|| {
        let expected = format!(
            "a class below {MOST_CLASSES} as a decimal number in {}",
            shown(name)
        );
        let found = shown(text);
        malformed(file, Fault::UnsoundSample, start, expected, found)
    })
}

/// Key and ending of a file's name, as WebDataset has them: up to the first dot of the last part, and behind it. None
/// for what is hidden or has no dot.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    let parts = name.split(|&byte| byte == b'/');
    for part in parts {
        let hidden = std::str::from_utf8(part).is_ok_and(|part| is_hidden(OsStr::new(part)));
        if hidden && part != b"." && part != b".." {
            return None;
        }
    }
    let last = name
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let dot = last + name[last..].iter().position(|&byte| byte == b'.')?;
    Some((&name[..dot], &name[dot + 1..]))
}

fn is_picture(ending: &[u8]) -> bool {
    let mut known = ENDINGS.iter();
    known.any(|known| ending.eq_ignore_ascii_case(known.as_bytes()))
}

fn refuse_compressed(file: &FileBytes) -> Result<()> {
    const KINDS: [(&[u8], &str); 4] = [
        (&[0x1f, 0x8b], "gzip"),
        (b"BZh", "bzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
    ];
    let mut scratch = Vec::new();
    let start = file.get(0..file.len().min(8), &mut scratch)?;
    match KINDS.iter().find(|(magic, _)| start.starts_with(magic)) {
        None => Ok(()),
        Some((_, kind)) => Err(malformed(
            file,
            Fault::Compressed,
            0,
            "a plain tar file".into(),
            format!("one compressed by {kind}"),
        )),
    }
}

/// An error unless the archive ends at `end`: a block of zeros at least, and nothing else behind it.
fn check_end(file: &FileBytes, end: u64) -> Result<()> {
    let len = file.len() as u64;
    if end + BLOCK > len {
        let expected = "two blocks of zeros as the end of the archive".into();
        let found = format!("the end of the file at byte {len}");
        let offset = end.min(len);
        return Err(malformed(
            file,
            Fault::DamagedArchive,
            offset,
            expected,
            found,
        ));
    }
    let mut scratch = Vec::new();
    for start in (end as usize..file.len()).step_by(1 << 16) {
        let piece = start..file.len().min(start + (1 << 16));
        let piece = file.get(piece, &mut scratch)?;
        if let Some(place) = piece.iter().position(|&byte| byte != 0) {
            let offset = (start + place) as u64;
            let expected = "nothing but zeros behind the end of the archive".into();
            let found = "data, as if several archives were put together".into();
            return Err(malformed(
                file,
                Fault::DamagedArchive,
                offset,
                expected,
                found,
            ));
        }
    }
    Ok(())
}

/// Bytes as text.
pub(super) fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

fn malformed(
    file: &FileBytes,
    fault: Fault,
    offset: u64,
    expected: String,
    found: String,
) -> Error {
    Error::Malformed {
        path: file.path().to_owned(),
        fault,
        offset,
        expected,
        found,
    }
}

/// A file's bytes for whoever reads piece by piece.
struct Reader<'a> {
    file: &'a FileBytes,
    position: u64,
    scratch: Vec<u8>,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = self.position.min(self.file.len() as u64) as usize;
        let end = start.saturating_add(buffer.len()).min(self.file.len());
        let bytes = self
            .file
            .get(start..end, &mut self.scratch)
            .map_err(io::Error::other)?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl Seek for Reader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => (self.file.len() as u64).checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}
