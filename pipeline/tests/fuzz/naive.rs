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

/// A word, a number or a mark of a `.npy` header.
#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Number(usize),
    Mark(char),
}

/// The type, the dimensions and the elements of a `.npy` file.
fn npy(file: &[u8]) -> Option<(String, Vec<usize>, &[u8])> {
    let rest = file.strip_prefix(b"\x93NUMPY")?;
    let (length, rest) = match rest.split_at_checked(2)? {
        ([1, 0], rest) => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        ([2 | 3, 0], rest) => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    if length > 65535 {
        return None;
    }
    let (text, elements) = rest.split_at_checked(length)?;
    let tokens = tokens(std::str::from_utf8(text).ok()?)?;
    let entries = tokens.strip_prefix(&[Token::Mark('{')])?;
    let entries = entries.strip_suffix(&[Token::Mark('}')])?;
    let mut entries = entries.to_vec();
    // With or without a comma behind the last entry.
    if entries.last() != Some(&Token::Mark(',')) {
        entries.push(Token::Mark(','));
    }
    let (mut element, mut fortran, mut dimensions) = (vec![], vec![], vec![]);
    let mut rest = &entries[..];
    while let [Token::Word(key), Token::Mark(':'), value @ ..] = rest {
        let end = match value {
            [Token::Mark('('), ..] => value.iter().position(|own| *own == Token::Mark(')'))? + 1,
            _ => 1,
        };
        match (&key[..], value.get(..end)?) {
            ("descr", [Token::Word(name)]) => element.push(name.clone()),
            ("fortran_order", [Token::Mark(letter @ ('T' | 'F'))]) => fortran.push(*letter == 'T'),
            ("shape", [_, numbers @ .., _]) => dimensions.push(tuple(numbers)?),
            _ => return None,
        }
        rest = value[end..].strip_prefix(&[Token::Mark(',')])?;
    }
    match (&element[..], &fortran[..], &dimensions[..], rest) {
        ([element], [fortran], [dimensions], []) => {
            let axes = dimensions.iter().filter(|&&length| length != 1).count();
            let sound = !(*fortran && axes > 1);
            sound.then(|| (element.clone(), dimensions.clone(), elements))
        }
        _ => None,
    }
}

fn tuple(tokens: &[Token]) -> Option<Vec<usize>> {
    let parts: Vec<_> = tokens.split(|token| *token == Token::Mark(',')).collect();
    let numbers = match parts.split_last()? {
        ([], before) => before,
        (_, []) => return None,
        _ => &parts[..],
    };
    numbers
        .iter()
        .map(|part| match part {
            [Token::Number(number)] => Some(*number),
            _ => None,
        })
        .collect()
}

fn tokens(mut text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        let Some(first) = text.chars().next() else {
            return Some(tokens);
        };
        let length = match first {
            '\'' | '"' => {
                let word = text[1..].split_once(first)?.0;
                let plain = |letter: char| (' '..='~').contains(&letter) && letter != '\\';
                if !word.chars().all(plain) {
                    return None;
                }
                tokens.push(Token::Word(word.into()));
                word.len() + 2
            }
            '0'..='9' => {
                let end = text.find(|letter: char| !letter.is_ascii_digit());
                let end = end.unwrap_or(text.len());
                tokens.push(Token::Number(text[..end].parse().ok()?));
                end + usize::from(text[end..].starts_with('L'))
            }
            _ => {
                tokens.push(Token::Mark(first));
                let words = ["True", "False"].into_iter();
                let mut words = words.filter(|word| text.starts_with(word));
                words.next().map_or(first.len_utf8(), str::len)
            }
        };
        if matches!(first, 'T' | 'F') && length == 1 {
            return None;
        }
        text = &text[length..];
    }
}

fn product(dimensions: &[usize]) -> Option<usize> {
    let dimensions = dimensions.iter();
    dimensions.copied().try_fold(1, usize::checked_mul)
}

/// Pictures in planes, whose axes number, height, width and perhaps channels are at these places.
pub(crate) fn npy_pictures(file: &[u8], order: &[usize]) -> Option<Vec<Vec<u8>>> {
    let (element, dimensions, elements) = npy(file)?;
    let sound = matches!(&element[..], "|u1" | "<u1" | ">u1")
        && dimensions.len() == order.len()
        && dimensions[1..].iter().all(|&length| length > 0)
        && product(&dimensions) == Some(elements.len());
    if !sound {
        return None;
    }
    let pictures = elements.chunks(product(&dimensions[1..])?.max(1));
    if order != [0, 1, 2, 3] {
        return Some(pictures.map(<[u8]>::to_vec).collect());
    }
    let channels = dimensions[3];
    let planes = |picture: &[u8]| {
        let plane = |channel| picture.iter().copied().skip(channel).step_by(channels);
        (0..channels).flat_map(plane).collect()
    };
    Some(pictures.map(planes).collect())
}

pub(crate) fn npy_labels(file: &[u8], classes: u8) -> Option<Vec<u8>> {
    let (element, dimensions, elements) = npy(file)?;
    let (order, kind) = element.split_at_checked(1)?;
    let size = match kind {
        "u1" | "i1" => 1,
        "u2" | "i2" => 2,
        "u4" | "i4" => 4,
        "u8" | "i8" => 8,
        _ => return None,
    };
    let sound = (order == "<" || order == ">" || (order == "|" && size == 1))
        && (dimensions.len() == 1 || (dimensions.len() == 2 && dimensions[1] == 1))
        && dimensions[0].checked_mul(size) == Some(elements.len());
    let label = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        if order == ">" {
            bytes.reverse();
        }
        // All other bytes of a small number are zero, and no negative number is small.
        let small = bytes[0] < classes && bytes[1..].iter().all(|&byte| byte == 0);
        small.then_some(bytes[0])
    };
    sound.then(|| elements.chunks(size).map(label).collect())?
}
