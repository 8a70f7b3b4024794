//! Which part of each global batch a replica gets.

use crate::error::{Result, invalid};

/// One of `world_size` equal parts of every global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shard {
    rank: usize,
    world_size: usize,
}

impl Shard {
    /// The whole: rank 0 of a world of one.
    pub const WHOLE: Self = Self {
        rank: 0,
        world_size: 1,
    };

    /// The part of replica `rank` of `world_size`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `world_size` is 0 or `rank` is not below it.
    pub fn new(rank: usize, world_size: usize) -> Result<Self> {
        if world_size == 0 {
            return Err(invalid("world size", world_size, "at least 1"));
        }
        if rank >= world_size {
            return Err(invalid(
                "rank",
                rank,
                format!("below the world size, {world_size}"),
            ));
        }
        Ok(Self { rank, world_size })
    }

    /// Which of the replicas this is, from 0.
    pub fn rank(self) -> usize {
        self.rank
    }

    /// The number of replicas.
    pub fn world_size(self) -> usize {
        self.world_size
    }

    /// The rows of a global batch of `batch_size` rows that are this shard's. Where the world size does not
    /// divide the batch size, shards differ by one row.
    pub(crate) fn rows(self, batch_size: usize) -> std::ops::Range<usize> {
        let start = |rank: usize| {
            // In 128 bits, as the product may not fit.
            (rank as u128 * batch_size as u128 / self.world_size as u128) as usize
        };
        start(self.rank)..start(self.rank + 1)
    }
}
