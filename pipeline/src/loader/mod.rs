//! The loader: source, order, transform, batch and sink tied together.
//!
//! # Tuning
//!
//! How many workers there are and how many batches they prepare ahead is found out while batches flow, unless
//! [`workers`](LoaderBuilder::workers) or [`prefetch`](LoaderBuilder::prefetch) says so. What comes out is the same to the
//! bit; and there are never more bytes than the [`memory_budget`](LoaderBuilder::memory_budget) allows, nor, for longer than
//! it takes to notice, more processor time than the [`cpu_share`](LoaderBuilder::cpu_share) and a tenth of it.
//!
//! A loader begins with a worker for each processor, and two batches ahead for each worker. From then on it looks back
//! whenever its consumer was at work for a tenth of a second and got a few batches meanwhile:
//!
//! | what it sees | what it does |
//! |---|---|
//! | the consumer waits 3 % of its time at most | nothing, or gives back a worker that it had added and that isn't needed |
//! | it waits, and the workers are busy four fifths of their time | doubles the workers, as far as the processor time that they use leaves room: workers that compute stay about as many as there are processors, and those that wait for a disk become many |
//! | it waits, and so do the workers, for something to fill | doubles the batches, as far as the budget goes: for consumers that take many at once, and samples of which some take far longer than others |
//! | the workers that it added made nothing faster, by 4 % or half of what was to be gained; the batches that it added made things slower | takes that back, and doesn't try it again for the next 4 looks, then 8, then 16, then 32 |
//! | the workers use more processor time than their share | has fewer workers, at once |
//!
//! [`Loader::stats`] says where it stands; its decisions are events of the crate
//! [`tracing`](https://docs.rs/tracing), on the level of debugging.
//!
//! # Spans
//!
//! With a subscriber of [`tracing`](https://docs.rs/tracing) every stage is a span, with the target `feedline_pipeline`:
//! `wait` and `deliver` on the consumer's thread and `fill` on the workers' are on the level of debugging, with epoch and
//! step; `read` and `transform` of each sample on the level `TRACE`. Without a subscriber they cost next to nothing.

mod batches;
mod builder;
mod lane;
mod meter;
mod plan;
mod prepare;
mod sampling;
mod slots;
mod state;
mod stats;
mod stream;
mod tuner;
mod tuning;
mod waits;
mod workers;

pub use batches::Batches;
pub use builder::{
    DEFAULT_BATCH_SIZE, DEFAULT_MEMORY_BUDGET, DEFAULT_REPORT_WAITS, DEFAULT_STALL_TIMEOUT,
    LoaderBuilder,
};
pub use plan::Plan;
pub use state::LoaderState;
pub use stats::{Stage, Stats};

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use tracing::debug_span;

use crate::batch::{HostBatch, fingerprint, verify};
use crate::error::{Error, Result};
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
///
/// An epoch borrows the loader, so that two can't be read at once by mistake:
///
/// ```compile_fail
/// # use feedline_pipeline::source::InMemory;
/// # use feedline_pipeline::{Loader, Shape};
/// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100]).unwrap();
/// let mut loader = Loader::builder(source).build().unwrap();
/// let first = loader.epoch(0);
/// let second = loader.epoch(1); // cannot borrow `loader` as mutable more than once
/// first.zip(second).count();
/// ```
#[derive(Debug)]
pub struct Loader<K: Sink = Host> {
    plan: Plan,
    seed: u64,
    /// What epochs and batches are made of, in words.
    batches: String,
    stream: Stream<K::Element>,
    /// Of the data, once it was asked for.
    fingerprint: OnceLock<u64>,
    sink: K,
    /// Where the loader was resumed, until it is read from there.
    resumed: Option<(u64, usize)>,
    /// The epoch and step of a batch that was taken and could not be delivered.
    undelivered: Option<(u64, usize)>,
    failed: usize,
    at_most_failed: usize,
}

impl Loader<Host> {
    /// Starts to describe a loader of `source`. An `Arc` of a source is a source, too.
    pub fn builder(source: impl Source + 'static) -> LoaderBuilder<Host> {
        LoaderBuilder::new(Arc::new(source))
    }

    /// Starts to describe a loader that mixes `sources`, each with its weight: of every `sum of weights` samples in a
    /// row, exactly `weight` come from that source, at random places. Each source is gone through in a random order of
    /// its own, again and again; an epoch has as many samples as all sources together, unless
    /// [`take`](LoaderBuilder::take) says otherwise. The index of a sample counts on through the sources.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use feedline_pipeline::source::InMemory;
    /// use feedline_pipeline::{Loader, Shape, Source};
    ///
    /// let source = |label| -> Result<Arc<dyn Source>, feedline_pipeline::Error> {
    ///     let pictures = InMemory::new(Shape::new(1, 1, 1), 2, vec![0; 100], vec![label; 100])?;
    ///     Ok(Arc::new(pictures))
    /// };
    /// let mut loader = Loader::mixed(vec![(source(0)?, 3), (source(1)?, 1)])?.batch_size(4).build()?;
    /// for batch in loader.epoch(0) {
    ///     assert_eq!(batch?.labels().iter().sum::<u32>(), 1);
    /// }
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there is no source, if they differ in the shape of their samples or in the number of
    /// classes, or if a source with a weight has no samples.
    pub fn mixed(sources: Vec<(Arc<dyn Source>, u32)>) -> Result<LoaderBuilder<Host>> {
        LoaderBuilder::mixed(sources)
    }
}

impl<K: Sink> Loader<K> {
    /// What the loader does and takes: steps, rows, slots, bytes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The batches of `epoch`, from its first step; after [`resume`](LoaderBuilder::resume), from where it was left.
    ///
    /// Epochs can be read in any order and more than once. To go on with `epoch + 1` after `epoch` is fastest,
    /// as its first batches are ready by then. After an error the iterator ends; the loader can go on with any
    /// epoch.
    ///
    /// A loader that was resumed must first be read from where it was left: the first batch of any other epoch is an
    /// [`Error::NotResumed`].
    pub fn epoch(&mut self, epoch: u64) -> Batches<'_, K> {
        self.epochs(epoch..epoch.saturating_add(1))
    }

    /// The batches of several epochs as one iterator, which does not pause where one ends and the next begins.
    ///
    /// ```
    /// # use feedline_pipeline::source::InMemory;
    /// # use feedline_pipeline::{Loader, Shape};
    /// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
    /// let mut loader = Loader::builder(source).batch_size(32).build()?;
    /// assert_eq!(loader.epochs(0..10).count(), 30);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn epochs(&mut self, epochs: Range<u64>) -> Batches<'_, K> {
        let steps = self.start(&epochs);
        Batches::new(self, steps)
    }

    /// Where the loader stands: what [`LoaderBuilder::resume`] needs to go on with the next batch, or to try again one that
    /// was an error. While an epoch is read, ask [`Batches::state`].
    ///
    /// ```
    /// # use feedline_pipeline::source::InMemory;
    /// # use feedline_pipeline::{Loader, Shape};
    /// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
    /// let builder = Loader::builder(source).batch_size(32).shuffle(true).seed(7);
    /// let mut loader = builder.clone().build()?;
    /// let mut batches = loader.epoch(4);
    /// batches.next();
    /// let state = batches.state()?; // to be stored with the model
    ///
    /// let mut later = builder.resume(state.clone()).build()?;
    /// let next = later.epoch(state.epoch()).next().expect("a batch")?;
    /// assert_eq!((next.info().epoch, next.info().step), (4, 1));
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first time, what the source says if it has changed or has no [fingerprint](Source::fingerprint).
    pub fn state(&self) -> Result<LoaderState> {
        let position = self.resumed.or(self.undelivered);
        let position = position.unwrap_or(self.stream.position());
        let fingerprint = match self.fingerprint.get() {
            Some(&fingerprint) => fingerprint,
            None => {
                let fingerprint = fingerprint(self.stream.source())?;
                *self.fingerprint.get_or_init(|| fingerprint)
            }
        };
        let batches = self.batches.clone();
        Ok(LoaderState::new(fingerprint, batches, self.seed, position))
    }

    /// How many samples have failed so far and were skipped or replaced; each batch says
    /// [which](crate::HostBatch::failures). Those of a batch that was refused because there were too many are not counted.
    pub fn failed_samples(&self) -> usize {
        self.failed
    }

    /// What the loader's time has gone into since it was built: how long its stages take, who waits for whom, and how much
    /// there is to gain. While an epoch is read, ask [`Batches::stats`].
    pub fn stats(&self) -> Stats {
        self.stream.stats()
    }

    /// No batch is asked for any more, for now.
    fn pause(&mut self) {
        self.stream.clock().pause();
    }

    /// What random choices follow from.
    #[cfg(feature = "cuda")]
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// What epochs and batches are made of, in words.
    #[cfg(feature = "cuda")]
    pub(crate) fn description(&self) -> &str {
        &self.batches
    }

    /// Makes the batch at this epoch and step the next one, after `failed` samples that failed: for whoever goes on from
    /// epoch to epoch by itself.
    #[cfg(feature = "cuda")]
    pub(crate) fn go_to(&mut self, (epoch, step): (u64, usize), failed: usize) -> Result<()> {
        self.stream.seek(epoch, step)?;
        (self.resumed, self.undelivered) = (None, None);
        self.failed = failed;
        Ok(())
    }

    /// Goes to where `epochs` begin and says how many batches they have.
    fn start(&mut self, epochs: &Range<u64>) -> Result<u64> {
        let mut skipped = 0;
        if epochs.is_empty() {
            return Ok(0);
        }
        if let Some((epoch, step)) = self.resumed {
            if epoch != epochs.start {
                return Err(Error::NotResumed {
                    epoch,
                    step,
                    found: epochs.start,
                });
            }
            skipped = step;
        }
        // The first batches may have been made long ago: what has become of the data since?
        verify(self.stream.source())?;
        self.stream.clock().forget();
        self.stream.seek(epochs.start, skipped)?;
        (self.resumed, self.undelivered) = (None, None);
        let steps = (epochs.end - epochs.start).saturating_mul(self.plan.steps as u64);
        Ok(steps - skipped as u64)
    }

    pub(crate) fn next_batch(&mut self) -> Result<K::Batch> {
        let position = self.stream.position();
        let batch = self.stream.next().and_then(|batch| self.deliver(batch));
        if batch.is_err() {
            self.undelivered = Some(position);
        }
        batch
    }

    fn deliver(&mut self, batch: HostBatch<K::Element>) -> Result<K::Batch> {
        // The first one that is too many: the same however the batch was cut.
        if let Some(failure) = batch.failures().get(self.at_most_failed - self.failed) {
            return Err(Error::TooManyFailures {
                at_most: self.at_most_failed,
                last: failure.error.to_string(),
            });
        }
        self.failed += batch.failures().len();
        let info = batch.info();
        let delivered = debug_span!("deliver", epoch = info.epoch, step = info.step)
            .in_scope(|| self.sink.deliver(batch));
        if delivered.is_ok() {
            self.stream.clock().deliver(info.samples);
        }
        delivered
    }
}
