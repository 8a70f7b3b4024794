//! The description of a loader.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::stream::Stream;
use super::{Loader, Plan};
use crate::batch::{Recipe, SlotSize};
use crate::error::{Error, Result, invalid};
use crate::order::{GlobalBatches, Order, Shard, Tail};
use crate::sink::{Host, Sink};
use crate::source::Source;
use crate::transform::{Program, Transform};

/// Rows of a global batch, unless [`LoaderBuilder::batch_size`] says otherwise.
pub const DEFAULT_BATCH_SIZE: usize = 32;

/// Bytes for batches, unless [`LoaderBuilder::memory_budget`] says otherwise: 64 MiB.
pub const DEFAULT_MEMORY_BUDGET: usize = 64 << 20;

/// How long a loader waits for a consumer that holds every batch, unless [`LoaderBuilder::slot_timeout`] says
/// otherwise: 30 seconds.
pub const DEFAULT_SLOT_TIMEOUT: Duration = Duration::from_secs(30);

/// Describes a [`Loader`]; made by [`Loader::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct LoaderBuilder<K: Sink = Host> {
    source: Arc<dyn Source>,
    batch_size: usize,
    seed: u64,
    shuffle: bool,
    transform: Transform,
    tail: Tail,
    shard: Shard,
    workers: Option<usize>,
    prefetch: Option<usize>,
    memory_budget: usize,
    slot_timeout: Duration,
    sink: K,
}

impl LoaderBuilder<Host> {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            batch_size: DEFAULT_BATCH_SIZE,
            seed: 0,
            shuffle: false,
            transform: Transform::new(),
            tail: Tail::Drop,
            shard: Shard::WHOLE,
            workers: None,
            prefetch: None,
            memory_budget: DEFAULT_MEMORY_BUDGET,
            slot_timeout: DEFAULT_SLOT_TIMEOUT,
            sink: Host,
        }
    }
}

impl<K: Sink> LoaderBuilder<K> {
    /// Rows of a *global* batch: all replicas together. Default: [`DEFAULT_BATCH_SIZE`].
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// What every random choice follows from: order and augmentation. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether each epoch has a random order of its own, over the whole source. Default: no.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// What becomes of a sample. Default: its bytes as numbers.
    pub fn transform(mut self, transform: Transform) -> Self {
        self.transform = transform;
        self
    }

    /// What becomes of the samples that do not fill a batch. Default: [`Tail::Drop`].
    pub fn tail(mut self, tail: Tail) -> Self {
        self.tail = tail;
        self
    }

    /// Which part of every global batch this loader reads. Default: all.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = shard;
        self
    }

    /// Worker threads. Default: one for each processor that the process may use.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// Batches to prepare ahead of the one that the consumer holds. Default: two for each worker, or fewer if
    /// the memory budget does not hold them.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = Some(batches);
        self
    }

    /// Bytes that batches may take: prefetched ones, and the one that the consumer holds. Default:
    /// [`DEFAULT_MEMORY_BUDGET`]. The pages of a mapped file are not counted: they belong to the system.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// How long to wait for a consumer that holds every batch before that is an
    /// [`Error::SlotsHeld`]. Default: [`DEFAULT_SLOT_TIMEOUT`].
    pub fn slot_timeout(mut self, timeout: Duration) -> Self {
        self.slot_timeout = timeout;
        self
    }

    /// Batches as candle tensors on `device`, instead of plain buffers.
    #[cfg(feature = "candle")]
    pub fn device(self, device: &candle_core::Device) -> LoaderBuilder<crate::sink::Candle> {
        self.sink(crate::sink::Candle::new(device))
    }

    /// Batches as `sink` makes them.
    pub fn sink<L: Sink>(self, sink: L) -> LoaderBuilder<L> {
        LoaderBuilder {
            source: self.source,
            batch_size: self.batch_size,
            seed: self.seed,
            shuffle: self.shuffle,
            transform: self.transform,
            tail: self.tail,
            shard: self.shard,
            workers: self.workers,
            prefetch: self.prefetch,
            memory_budget: self.memory_budget,
            slot_timeout: self.slot_timeout,
            sink,
        }
    }

    /// Checks everything, sets the memory aside and starts the threads.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the source is empty, the batch size or the number of workers is 0, an
    /// epoch would have no step, there are more replicas than samples or than rows in a batch, or the
    /// transform does not fit the samples; [`Error::BudgetTooSmall`] if the budget does not hold one batch, or
    /// not the prefetch depth that was asked for; [`Error::Io`] if no thread can be started.
    pub fn build(self) -> Result<Loader<K>> {
        let program = Program::new(&self.transform, self.source.shape())?;
        let batches = GlobalBatches::new(self.source.len(), self.batch_size, self.tail)?;
        let fewest = self.batch_size.min(self.source.len());
        if self.shard.world_size() > fewest {
            let expected = format!(
                "at most {fewest}, so that every rank gets samples: there are {} of them, in batches of {}",
                self.source.len(),
                self.batch_size
            );
            return Err(invalid("world size", self.shard.world_size(), expected));
        }
        let workers = match self.workers {
            Some(0) => return Err(invalid("number of workers", 0, "at least 1")),
            Some(workers) => workers,
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        let size = SlotSize {
            rows: batches.rows(0, self.shard).rows,
            shape: program.output_shape(),
            stored: program.input_shape(),
        };
        let slot_bytes = size.bytes().unwrap_or(usize::MAX);
        let slots = self.slots(slot_bytes, workers)?;
        let plan = Plan {
            samples: self.source.len(),
            steps: batches.steps(),
            rows: size.rows,
            shape: size.shape,
            workers,
            slots,
            slot_bytes,
        };
        let order = if self.shuffle {
            Order::shuffled(self.source.len(), self.seed)
        } else {
            Order::sequential(self.source.len())
        };
        let recipe = Recipe {
            source: self.source,
            program,
            batches,
            shard: self.shard,
            seed: self.seed,
        };
        let stream = Stream::new(recipe, order, size, slots, workers, self.slot_timeout)?;
        Ok(Loader {
            plan,
            stream,
            sink: self.sink,
        })
    }

    /// How many slots the budget holds, up to what the prefetch depth needs.
    fn slots(&self, slot_bytes: usize, workers: usize) -> Result<usize> {
        let affordable = self.memory_budget / slot_bytes;
        // An explicit depth must fit; the default makes do with what there is.
        let least = self.prefetch.map_or(1, |batches| batches.saturating_add(1));
        if affordable < least {
            return Err(Error::BudgetTooSmall {
                budget: self.memory_budget,
                needed: slot_bytes.saturating_mul(least),
                slots: least,
            });
        }
        let most = self
            .prefetch
            .unwrap_or(workers.saturating_mul(2))
            .saturating_add(1);
        Ok(most.min(affordable))
    }
}

impl<K: Sink + fmt::Debug> fmt::Debug for LoaderBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderBuilder")
            .field("samples", &self.source.len())
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("shuffle", &self.shuffle)
            .field("transform", &self.transform)
            .field("tail", &self.tail)
            .field("shard", &self.shard)
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}
