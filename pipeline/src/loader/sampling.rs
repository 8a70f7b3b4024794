//! Which samples an epoch has, as the builder is told.

use std::sync::Arc;

use crate::error::{Result, invalid};
use crate::order::Order;
use crate::random::Random;
use crate::source::Source;

/// A block of a block-wise shuffle is about this long: long enough to be read at full speed, short enough for many of
/// them in a window.
const BLOCK_BYTES: usize = 1 << 20;

/// A window has at least as many blocks, so that a batch mixes samples from all over the file.
const LEAST_BLOCKS: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) enum Sampling {
    #[default]
    Sequential,
    Shuffled,
    Blocks {
        window_bytes: usize,
    },
    ClassBalanced,
    Weighted(Arc<[f64]>),
    /// The length and weight of each source.
    Mixed(Vec<(usize, u32)>),
}

impl Sampling {
    /// The order of `source`'s samples.
    pub(super) fn order(&self, source: &dyn Source, seed: u64) -> Result<Order> {
        let len = source.len();
        match self {
            Self::Sequential => Ok(Order::sequential(len)),
            Self::Shuffled => Ok(Order::shuffled(len, seed)),
            &Self::Blocks { window_bytes } => {
                let (block, blocks) = blocks(source, window_bytes)?;
                Order::block_shuffled(len, block, blocks, seed)
            }
            Self::ClassBalanced => {
                let labels = (0..len).map(|index| source.label(index));
                let labels = labels.collect::<Result<Vec<_>>>()?;
                Order::class_balanced(labels, source.classes(), seed)
            }
            Self::Weighted(weights) if weights.len() != len => Err(invalid(
                "number of weights",
                weights.len(),
                format!("{len}, one for each sample"),
            )),
            Self::Weighted(weights) => Order::weighted(weights, seed),
            Self::Mixed(sources) => Order::mixed(sources, seed),
        }
    }
}

impl Sampling {
    /// Bytes of the order's tables, for so many samples.
    pub(super) fn table_bytes(&self, samples: usize) -> usize {
        match self {
            Self::Sequential | Self::Shuffled | Self::Blocks { .. } => 0,
            Self::ClassBalanced => samples.saturating_mul(size_of::<u32>()),
            Self::Weighted(_) => samples.saturating_mul(size_of::<u64>()),
            Self::Mixed(sources) => sources.len() * 64,
        }
    }
}

/// The samples of a block, and the blocks of a window.
fn blocks(source: &dyn Source, window_bytes: usize) -> Result<(usize, usize)> {
    let sample = source.shape().elements().max(1);
    let block_bytes = BLOCK_BYTES.min(window_bytes / LEAST_BLOCKS);
    if block_bytes < sample {
        let expected = format!(
            "at least {} bytes, {LEAST_BLOCKS} samples",
            sample.saturating_mul(LEAST_BLOCKS)
        );
        return Err(invalid("shuffle window", window_bytes, expected));
    }
    let block = block_bytes / sample;
    Ok((block, window_bytes / (block * sample)))
}

/// Tells apart all that decides which samples an epoch has, as a state must name it.
impl std::fmt::Display for Sampling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sequential => f.write_str("sequential"),
            Self::Shuffled => f.write_str("shuffled"),
            Self::Blocks { window_bytes } => {
                write!(f, "shuffled in windows of {window_bytes} bytes")
            }
            Self::ClassBalanced => f.write_str("class-balanced"),
            Self::Weighted(weights) => {
                let mut hash = 0;
                for weight in &**weights {
                    hash = Random::new([hash, weight.to_bits()]).next_u64();
                }
                write!(f, "weighted by {hash:016x}")
            }
            Self::Mixed(sources) => write!(f, "mixed by (length, weight) {sources:?}"),
        }
    }
}
