//! What feeds a replica: the same on every kind of device.

use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::{Loader, Shard, Tail};

use super::{Input, Trainer};
use crate::error::Result;
use crate::parallel::Replica;

/// Describes the replica's loaders for training and, if there is a set for it, for testing.
pub(super) fn describe<F, O>(
    trainer: &Trainer<F, O>,
    replica: &Replica,
    train: &Input,
    test: Option<&Input>,
) -> Result<(LoaderBuilder, Option<LoaderBuilder>)> {
    let shard = Shard::new(replica.rank(), replica.world_size())?;
    let cpu_share = 1.0 / replica.on_this_machine().max(1) as f64;
    let loaders = replica.local_ranks().len() * if test.is_some() { 2 } else { 1 };
    let load = |input: &Input, shuffle, tail| {
        Loader::builder(input.source.clone())
            .transform(input.transform.clone())
            .batch_size(trainer.batch_size)
            .seed(trainer.seed)
            .shuffle(shuffle)
            .tail(tail)
            .shard(shard)
            .cpu_share(cpu_share)
            .memory_budget(trainer.memory_budget / loaders)
    };
    let train = load(train, true, Tail::Drop);
    Ok((train, test.map(|test| load(test, false, Tail::Pad))))
}
