//! The loader: source, order, transform, batch and sink tied together.

mod builder;
mod epoch;
mod plan;
mod stream;
mod workers;

pub use builder::{DEFAULT_BATCH_SIZE, DEFAULT_MEMORY_BUDGET, DEFAULT_SLOT_TIMEOUT, LoaderBuilder};
pub use epoch::Epoch;
pub use plan::Plan;

use crate::batch::HostBatch;
use crate::error::Result;
use crate::sink::{Host, Sink};
use crate::source::Source;
use stream::Stream;

/// Streams an endless series of epochs as batches.
///
/// Workers prepare batches ahead, in memory that was set aside when the loader was built; batches come out in
/// order. The same seed gives the same batches to the bit, whatever the number of workers, the prefetch depth
/// and the epochs read before. While the last batches of an epoch are consumed, the first ones of the next are
/// prepared. Dropping the loader stops its threads, at any moment, after at most one sample each.
///
/// ```
/// use feedline_pipeline::source::InMemory;
/// use feedline_pipeline::{Loader, Shape, Transform};
///
/// // A hundred grey pictures of 2x2 pixels in two classes.
/// let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
/// let mut loader = Loader::builder(source)
///     .batch_size(32)
///     .shuffle(true)
///     .seed(7)
///     .transform(Transform::new().scale())
///     .build()?;
/// assert_eq!(loader.plan().steps, 3);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch) {
///         let batch = batch?;
///         assert_eq!(batch.pixels().len(), 32 * 4);
///         assert_eq!(batch.pixels()[0], 1.0);
///         assert_eq!(batch.labels(), [1; 32]);
///     }
/// }
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug)]
pub struct Loader<K: Sink = Host> {
    plan: Plan,
    stream: Stream,
    sink: K,
}

impl Loader<Host> {
    /// Starts to describe a loader of `source`. An `Arc` of a source is a source, too.
    pub fn builder(source: impl Source + 'static) -> LoaderBuilder<Host> {
        LoaderBuilder::new(std::sync::Arc::new(source))
    }
}

impl<K: Sink> Loader<K> {
    /// What the loader does and takes: steps, rows, slots, bytes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The batches of `epoch`, from its first step.
    ///
    /// Epochs can be read in any order and more than once. To go on with `epoch + 1` after `epoch` is fastest,
    /// as its first batches are ready by then. After an error the iterator ends; the loader can go on with any
    /// epoch.
    pub fn epoch(&mut self, epoch: u64) -> Epoch<'_, K> {
        self.stream.seek(epoch);
        Epoch::new(self, self.plan.steps)
    }

    fn next_batch(&mut self) -> Result<K::Batch> {
        let batch: HostBatch = self.stream.next()?;
        self.sink.deliver(batch)
    }
}
