//! Broken files, made from sound ones.

use feedline_pipeline::Random;

/// What fields are set to: least and greatest numbers in binary and octal, and names that lead elsewhere.
const EXTREMES: [&[u8]; 14] = [
    &[0],
    &[1],
    &[0xff],
    &[0; 4],
    &[0, 0, 0, 1],
    &[0xff; 4],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0, 0, 0xff, 0xff],
    b"77777777777\0",
    b"00000000000\0",
    &[0xff; 12],
    &[
        0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ],
    b"../../evil\0",
    b"/\0",
];

/// One of `seeds`, changed in one to four places. `fields` are offsets where a format has its numbers.
pub(crate) fn mutated(random: &mut Random, seeds: &[Vec<u8>], fields: &[usize]) -> Vec<u8> {
    let mut bytes = any(random, seeds).clone();
    for _ in 0..1 + random.below(4) {
        let place = below(random, bytes.len() + 1);
        match random.below(8) {
            0 | 1 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
            2 => bytes.truncate(place),
            3 => {
                // The start of one file and the end of another.
                let other = any(random, seeds);
                bytes.truncate(place);
                bytes.extend(&other[below(random, other.len() + 1)..]);
            }
            4 => {
                let end = place + below(random, bytes.len() - place + 1).min(600);
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            5 => {
                let end = (place + below(random, 20)).min(bytes.len());
                bytes.drain(place..end);
            }
            _ => {
                let extreme = any(random, &EXTREMES);
                let field = *any(random, fields);
                let end = (field + extreme.len()).min(bytes.len());
                if field < end {
                    bytes[field..end].copy_from_slice(&extreme[..end - field]);
                }
            }
        }
    }
    bytes
}

pub(crate) fn below(random: &mut Random, count: usize) -> usize {
    random.below(count as u64) as usize
}

fn any<'a, T>(random: &mut Random, of: &'a [T]) -> &'a T {
    &of[below(random, of.len())]
}
