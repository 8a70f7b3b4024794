//! A checkpoint for replicas that can't see its folder.

use std::path::Path;

use super::manifest::Manifest;
use super::tensors::Tensors;
use super::{Checkpoint, CheckpointFault, damaged, error};
use crate::collective::Collective;
use crate::error::Result;

/// How many numbers travel at once: so little that nobody needs much memory for it.
const PIECE: usize = 1 << 20;

/// Gives every rank the checkpoint of rank 0, if that has one. All must call this; what the others bring is not looked at, so
/// that they need not see the folder.
pub(crate) fn of_rank_0(
    own: Option<&Checkpoint>,
    collective: &dyn Collective,
) -> Result<Option<Checkpoint>> {
    let is_first = collective.rank() == 0;
    let mut parts = match own.filter(|_| is_first) {
        Some(checkpoint) => checkpoint.encode()?,
        None => Default::default(),
    };
    let mut header = [0; 6];
    for (pair, part) in header.chunks_exact_mut(2).zip(&parts) {
        let length = part.len() as u64;
        pair.copy_from_slice(&[length as u32, (length >> 32) as u32]);
    }
    broadcast(&mut header, collective)?;
    let lengths = header.as_chunks::<2>().0.iter();
    for (part, &[low, high]) in parts.iter_mut().zip(lengths) {
        let length = u64::from(high) << 32 | u64::from(low);
        if !is_first {
            make_room(part, length)?;
        }
        share(part, collective)?;
    }
    let [path, manifest, tensors] = parts;
    match manifest.is_empty() {
        true => Ok(None),
        false => Checkpoint::decode(&path, &manifest, &tensors).map(Some),
    }
}

impl Checkpoint {
    /// Its path, and the bytes of its two files.
    fn encode(&self) -> Result<[Vec<u8>; 3]> {
        let manifest = self.manifest.encode();
        let manifest = manifest.map_err(|reason| error(&self.path, CheckpointFault::Io, reason))?;
        let tensors = Tensors::encode(&self.path, &self.tensors.0)?;
        let path = self.path.display().to_string();
        Ok([path.into_bytes(), manifest, tensors])
    }

    fn decode(path: &[u8], manifest: &[u8], tensors: &[u8]) -> Result<Self> {
        let path = String::from_utf8_lossy(path).into_owned();
        let manifest = Manifest::decode(Path::new(&path), manifest)?;
        let tensors = Tensors::decode_as(Path::new(&path), tensors, &manifest)?;
        Ok(Self {
            path: path.into(),
            manifest,
            tensors,
        })
    }
}

fn make_room(part: &mut Vec<u8>, length: u64) -> Result<()> {
    let room = usize::try_from(length).ok();
    match room.filter(|&length| part.try_reserve_exact(length).is_ok()) {
        Some(length) => {
            part.resize(length, 0);
            Ok(())
        }
        None => {
            let reason = format!("there is no memory for its {length} bytes, which rank 0 sends");
            Err(damaged(Path::new("of rank 0"), reason))
        }
    }
}

/// Replaces the bytes by those of rank 0, which are as many.
fn share(bytes: &mut [u8], collective: &dyn Collective) -> Result<()> {
    let mut words = Vec::new();
    for piece in bytes.chunks_mut(PIECE * size_of::<u32>()) {
        words.clear();
        words.extend(piece.chunks(size_of::<u32>()).map(|four| {
            let mut word = [0; size_of::<u32>()];
            word[..four.len()].copy_from_slice(four);
            u32::from_le_bytes(word)
        }));
        broadcast(&mut words, collective)?;
        for (four, word) in piece.chunks_mut(size_of::<u32>()).zip(&words) {
            four.copy_from_slice(&word.to_le_bytes()[..four.len()]);
        }
    }
    Ok(())
}

/// Replaces the words by those of rank 0: as the bits of numbers, with which nobody calculates.
fn broadcast(words: &mut [u32], collective: &dyn Collective) -> Result<()> {
    let mut bits: Vec<f32> = words.iter().map(|&word| f32::from_bits(word)).collect();
    collective.broadcast(&mut bits)?;
    for (word, bits) in words.iter_mut().zip(bits) {
        *word = bits.to_bits();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Replicas;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn any_bytes_of_rank_0_arrive(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let sent = bytes.clone();
            let received = Replicas::cpu(3).unwrap().run(move |replica| {
                let mut own = match replica.rank() {
                    0 => sent.clone(),
                    _ => vec![7; sent.len()],
                };
                share(&mut own, replica.collective())?;
                Ok(own)
            });
            prop_assert_eq!(received.unwrap(), [&bytes, &bytes, &bytes].map(Clone::clone));
        }
    }
}
