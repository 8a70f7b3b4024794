//! Numbers that tell data apart.

use super::Source;
use crate::random::{Random, mix};

/// How many samples are looked at.
const PROBES: usize = 64;

/// What stands for a sample that cannot be read. No label is as large.
const UNREADABLE: u64 = u64::from_be_bytes(*b"no data\0");

/// Adds `number` to `hash`, whose value depends on the order of all numbers.
pub(super) fn add(hash: u64, number: u64) -> u64 {
    mix(hash ^ number).wrapping_add(hash.rotate_left(17))
}

/// The hash of a row of labels.
pub(super) fn of_labels(labels: impl Iterator<Item = u32>) -> u64 {
    labels.fold(0, |hash, label| add(hash, u64::from(label)))
}

/// Adds `bytes`, eight at a time.
fn add_words(hash: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(hash, |hash, bytes| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        add(hash, u64::from_le_bytes(word))
    })
}

/// Adds `bytes` and how many there are, so that of two in a row it matters where the first ends.
#[cfg(feature = "images")]
pub(super) fn add_bytes(hash: u64, bytes: &[u8]) -> u64 {
    add(add_words(hash, bytes), bytes.len() as u64)
}

/// Adds the bytes of some of `len` files from all over, and what stands for them where they can't be read.
#[cfg(feature = "images")]
pub(super) fn add_files(
    hash: u64,
    len: usize,
    mut read: impl FnMut(usize) -> crate::Result<Vec<u8>>,
) -> u64 {
    probes(len).fold(hash, |hash, index| match read(index) {
        Ok(bytes) => add_bytes(hash, &bytes),
        Err(_) => add(hash, UNREADABLE),
    })
}

/// Which of `len` samples are looked at: the first and the last are among them.
fn probes(len: usize) -> impl Iterator<Item = usize> {
    let probes = len.min(PROBES);
    // In 128 bits, as the product may not fit.
    (0..probes).map(move |probe| {
        (probe as u128 * (len - 1) as u128 / (probes - 1).max(1) as u128) as usize
    })
}

/// The hash of what `source` says of itself, and of some samples from all over it. A sample that cannot be read counts
/// as such, so that a set with a few of them can be told apart like any other.
pub(super) fn of_probes<S: Source + ?Sized>(source: &S) -> u64 {
    let (shape, len) = (source.shape(), source.len());
    let numbers = [
        len,
        source.classes(),
        shape.channels,
        shape.height,
        shape.width,
    ];
    let mut hash = Random::new(numbers.map(|number| number as u64)).next_u64();
    let mut scratch = Vec::new();
    for index in probes(len) {
        let Ok(sample) = source.sample(index, &mut scratch) else {
            hash = add(hash, UNREADABLE);
            continue;
        };
        hash = add(hash, u64::from(sample.label));
        hash = add_words(hash, sample.pixels);
    }
    hash
}
