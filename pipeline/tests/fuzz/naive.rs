//! What a file holds, or that it is not sound, found out in the shortest way.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

pub(crate) struct Pictures<'a> {
    pub(crate) size: (usize, usize),
    pub(crate) pixels: Vec<&'a [u8]>,
}

/// The big-endian word at `4 * index`.
fn word(file: &[u8], index: usize) -> Option<usize> {
    let bytes = file.get(4 * index..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

pub(crate) fn pictures(file: &[u8]) -> Option<Pictures<'_>> {
    let [magic, count, height, width] = [0, 1, 2, 3].map(|index| word(file, index));
    let (count, height, width) = (count?, height?, width?);
    let length = height as u128 * width as u128;
    let sound = magic? == 0x0803 && length > 0 && file.len() as u128 == 16 + count as u128 * length;
    sound.then(|| Pictures {
        size: (height, width),
        pixels: file[16..].chunks(height * width).collect(),
    })
}

pub(crate) fn labels(file: &[u8]) -> Option<&[u8]> {
    let sound = word(file, 0)? == 0x0801 && file.len() == 8 + word(file, 1)?;
    let labels = file.get(8..)?;
    (sound && labels.iter().all(|&label| label < super::CLASSES)).then_some(labels)
}

/// The files of an archive, all of which must be readable; of several with one name the last.
pub(crate) fn entries(file: &[u8]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().components().collect();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(path, content);
    }
    files
}
