//! The description of a loader.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::prepare::Prepared;
use super::sampling::Sampling;
use super::stream::{Settings, Stream};
use super::tuner::Bounds;
use super::waits::Patience;
use super::{Loader, LoaderState, Plan};
use crate::batch::{OnError, Recipe, SlotSize};
use crate::error::Result;
use crate::order::{Shard, Tail};
use crate::sink::{Host, Sink};
use crate::source::{Concat, Source};
use crate::transform::{Element, Transform};

/// Rows of a global batch, unless [`LoaderBuilder::batch_size`] says otherwise.
pub const DEFAULT_BATCH_SIZE: usize = 32;

/// Bytes for batches, unless [`LoaderBuilder::memory_budget`] says otherwise: 64 MiB.
pub const DEFAULT_MEMORY_BUDGET: usize = 64 << 20;

/// How long a loader waits before it reports a stall, unless [`LoaderBuilder::stall_timeout`] says otherwise: two
/// minutes.
pub const DEFAULT_STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a wait lasts before it is reported, unless [`LoaderBuilder::report_waits`] says otherwise: ten seconds.
pub const DEFAULT_REPORT_WAITS: Duration = Duration::from_secs(10);

/// Describes a [`Loader`]; made by [`Loader::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct LoaderBuilder<K: Sink = Host> {
    pub(crate) source: Arc<dyn Source>,
    pub(crate) batch_size: usize,
    pub(crate) seed: Option<u64>,
    pub(super) sampling: Sampling,
    pub(crate) skip: usize,
    pub(crate) take: Option<usize>,
    pub(crate) transform: Transform,
    pub(crate) tail: Tail,
    pub(crate) shard: Shard,
    pub(crate) workers: Option<usize>,
    pub(crate) prefetch: Option<usize>,
    pub(crate) memory_budget: usize,
    pub(crate) on_error: OnError,
    pub(crate) stall_timeout: Duration,
    pub(super) report_waits: Duration,
    pub(super) cpu_share: f64,
    pub(crate) resume: Option<LoaderState>,
    pub(crate) sink: K,
}

impl LoaderBuilder<Host> {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self {
            source,
            batch_size: DEFAULT_BATCH_SIZE,
            seed: None,
            sampling: Sampling::default(),
            skip: 0,
            take: None,
            transform: Transform::new(),
            tail: Tail::Drop,
            shard: Shard::WHOLE,
            workers: None,
            prefetch: None,
            memory_budget: DEFAULT_MEMORY_BUDGET,
            on_error: OnError::default(),
            stall_timeout: DEFAULT_STALL_TIMEOUT,
            report_waits: DEFAULT_REPORT_WAITS,
            cpu_share: 1.0,
            resume: None,
            sink: Host::default(),
        }
    }

    pub(super) fn mixed(sources: Vec<(Arc<dyn Source>, u32)>) -> Result<Self> {
        let weights = sources
            .iter()
            .map(|(source, weight)| (source.len(), *weight));
        let sampling = Sampling::Mixed(weights.collect());
        let sources = sources.into_iter().map(|(source, _)| source).collect();
        let mut builder = Self::new(Arc::new(Concat::new(sources)?));
        // Now, so that weights that can't work are an error of this call.
        sampling.order(&*builder.source, 0)?;
        builder.sampling = sampling;
        Ok(builder)
    }
}

impl<T: Element> LoaderBuilder<Host<T>> {
    /// The type of a batch's values: `f32`, `u8`, or [`f16`](crate::f16) or [`bf16`](crate::bf16). Default: `f32`. To be
    /// said before `device`.
    ///
    /// ```
    /// use feedline_pipeline::source::InMemory;
    /// use feedline_pipeline::{Loader, Shape, Transform};
    ///
    /// // Bytes as they are stored, cropped and flipped: a device that converts them gets a quarter of the traffic.
    /// let source = InMemory::new(Shape::new(1, 4, 4), 2, vec![200; 1600], vec![1; 100])?;
    /// let mut loader = Loader::builder(source)
    ///     .transform(Transform::new().random_crop(4, 4, 1).random_flip())
    ///     .element::<u8>()
    ///     .build()?;
    /// let batch = loader.epoch(0).next().expect("a batch")?;
    /// let pixels: &[u8] = batch.pixels();
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn element<U: Element>(self) -> LoaderBuilder<Host<U>> {
        self.sink(Host::default())
    }

    /// Batches as candle tensors on `device`, instead of plain buffers.
    #[cfg(feature = "candle")]
    pub fn device(self, device: &candle_core::Device) -> LoaderBuilder<crate::sink::Candle<T>>
    where
        T: candle_core::WithDType,
    {
        self.sink(crate::sink::Candle::new(device))
    }
}

impl<K: Sink> LoaderBuilder<K> {
    /// Rows of a *global* batch: all replicas together. Default: [`DEFAULT_BATCH_SIZE`].
    pub fn batch_size(mut self, rows: usize) -> Self {
        self.batch_size = rows;
        self
    }

    /// What every random choice follows from: order and augmentation. Default: 0, or that of a state to
    /// [`resume`](Self::resume) from.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether each epoch has a random order of its own, over the whole source. Default: no.
    ///
    /// This and the four methods below decide on the order of samples; of several, the last one counts.
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.sampling = if shuffle {
            Sampling::Shuffled
        } else {
            Sampling::Sequential
        };
        self
    }

    /// Shuffles a source that is larger than memory: blocks of consecutive samples in a random order, and samples
    /// at random within a window of many blocks. Pages of a mapped file are asked for a window ahead and given back
    /// behind, so that about three windows of `window_bytes` are in memory at a time, however large the file.
    ///
    /// It mixes less than [`shuffle`](Self::shuffle): what lies in one block comes in one window. [The order's
    /// documentation](crate::order::Order::block_shuffled) has figures.
    pub fn shuffle_blocks(mut self, window_bytes: usize) -> Self {
        self.sampling = Sampling::Blocks { window_bytes };
        self
    }

    /// Draws every class equally often, whatever its share of the samples: of as many samples in a row as there are
    /// classes, one is of each. Within a class every sample comes once before any comes again, in a random order; what an
    /// epoch sees twice is augmented anew. An epoch has as many samples as the source, or as [`take`](Self::take) says.
    pub fn class_balanced(mut self) -> Self {
        self.sampling = Sampling::ClassBalanced;
        self
    }

    /// Draws each sample with a probability that is proportional to its weight, each time anew ("with replacement"). An
    /// epoch has as many samples as the source, or as [`take`](Self::take) says.
    pub fn weighted(mut self, weights: impl Into<Arc<[f64]>>) -> Self {
        self.sampling = Sampling::Weighted(weights.into());
        self
    }

    /// Leaves out the first `samples` of every epoch's order, whichever of this and [`take`](Self::take) is called first.
    /// Default: none.
    pub fn skip(mut self, samples: usize) -> Self {
        self.skip = samples;
        self
    }

    /// Ends every epoch after so many `samples`, counted behind those that are [skipped](Self::skip). Default: as many as the source has, less those that are
    /// [skipped](Self::skip).
    ///
    /// In a shuffled order that is another part of the source in every epoch; for always the same samples take a
    /// [`Subset`](crate::source::Subset). Class-balanced, weighted and mixed epochs may also be longer than the source.
    pub fn take(mut self, samples: usize) -> Self {
        self.take = Some(samples);
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

    /// Worker threads, so many and always so many. Default: [tuned](super#tuning) while batches flow, beginning with one for
    /// each processor of [`cpu_share`](Self::cpu_share).
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = Some(threads);
        self
    }

    /// Batches to prepare ahead of the one that the consumer holds, so many and always so many. Default:
    /// [tuned](super#tuning) while batches flow, beginning with two for each worker, or fewer if the memory budget does not
    /// hold them.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = Some(batches);
        self
    }

    /// Which share of the processors that the process may use the workers may take up, if their number is tuned: above 0, and
    /// at most 1, which is the default. There are only ever more workers than that is in processors while they mostly wait,
    /// for a disk or the network; and never fewer than one.
    pub fn cpu_share(mut self, share: f64) -> Self {
        self.cpu_share = share;
        self
    }

    /// Bytes that batches may take: prefetched ones, and the one that the consumer holds. Default:
    /// [`DEFAULT_MEMORY_BUDGET`]. The pages of a mapped file are not counted: they belong to the system.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = bytes;
        self
    }

    /// What to do with samples that cannot be read. Default: [`OnError::Stop`].
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// How long to wait before something is reported instead of waited for: a consumer that holds every batch
    /// ([`Error::SlotsHeld`](crate::Error::SlotsHeld)), workers that do not finish one ([`Error::Stalled`](crate::Error::Stalled)). A loader that is dropped waits as long
    /// for workers that are in the middle of a sample, and then leaves them behind. Default: [`DEFAULT_STALL_TIMEOUT`].
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// How long a wait lasts before the loader says what waits for what, as a warning of the crate
    /// [`tracing`](https://docs.rs/tracing): the consumer for a batch, and which worker is at which sample meanwhile; the
    /// consumer for itself, as it holds all batches; a loader that is dropped for its workers. A worker that has nothing to
    /// do for so long says so as an information, as that is what a slow consumer looks like. Default:
    /// [`DEFAULT_REPORT_WAITS`].
    pub fn report_waits(mut self, after: Duration) -> Self {
        self.report_waits = after;
        self
    }

    /// Goes on from where another loader stood, to the bit: with the same data, order, global batch size and seed, which
    /// the state names and `build` checks, and with the same transform and error policy, which it does not name. Workers,
    /// prefetch depth and world size may be others. The first epoch that is read must then be the state's.
    pub fn resume(mut self, state: LoaderState) -> Self {
        self.resume = Some(state);
        self
    }

    /// Batches as `sink` makes them.
    pub fn sink<L: Sink>(self, sink: L) -> LoaderBuilder<L> {
        LoaderBuilder {
            source: self.source,
            batch_size: self.batch_size,
            seed: self.seed,
            sampling: self.sampling,
            skip: self.skip,
            take: self.take,
            transform: self.transform,
            tail: self.tail,
            shard: self.shard,
            workers: self.workers,
            prefetch: self.prefetch,
            memory_budget: self.memory_budget,
            on_error: self.on_error,
            stall_timeout: self.stall_timeout,
            report_waits: self.report_waits,
            cpu_share: self.cpu_share,
            resume: self.resume,
            sink,
        }
    }

    /// What the loader would do and take, before any memory is set aside and any thread started.
    ///
    /// ```
    /// # use feedline_pipeline::source::InMemory;
    /// # use feedline_pipeline::{Loader, Shape};
    /// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
    /// let plan = Loader::builder(source).batch_size(32).prefetch(3).plan()?;
    /// assert_eq!((plan.steps, plan.slots), (3, 4));
    /// println!("{plan}");
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), but for those of starting threads.
    pub fn plan(&self) -> Result<Plan> {
        Ok(self.prepare()?.plan)
    }

    /// Checks everything, sets the memory aside and starts the threads.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the source is empty, the batch size or the number of workers is 0, the
    /// share of the processors is none, an epoch would have no step, there are more replicas than samples or than rows in a batch, or the order or the
    /// transform does not fit the samples; [`Error::BudgetTooSmall`](crate::Error::BudgetTooSmall) if the budget does not hold one batch, or
    /// not the prefetch depth that was asked for; [`Error::ForeignState`](crate::Error::ForeignState) if the state to resume from belongs to
    /// other data, another order or seed; [`Error::Io`](crate::Error::Io) if no thread can be started; and what the source says if it has
    /// changed since it was opened.
    pub fn build(self) -> Result<Loader<K>> {
        let Prepared {
            program,
            order,
            batches,
            seed,
            description,
            plan,
            limit,
        } = self.prepare()?;
        let recipe = Recipe {
            classes: self.source.classes(),
            source: self.source,
            program,
            batches,
            shard: self.shard,
            seed,
            on_error: self.on_error,
        };
        let size = SlotSize {
            rows: plan.rows,
            shape: plan.shape,
        };
        let settings = Settings {
            slots: Bounds {
                first: plan.initial_slots,
                most: plan.slots,
            },
            workers: Bounds {
                first: plan.initial_workers,
                most: plan.workers,
            },
            parts: plan.parts,
            limit,
            patience: Patience {
                at_most: self.stall_timeout,
                report_after: self.report_waits,
            },
        };
        Ok(Loader {
            stream: Stream::new(recipe, order, size, settings)?,
            plan,
            seed,
            batches: description,
            fingerprint: OnceLock::new(),
            sink: self.sink,
            resumed: self.resume.map(|state| (state.epoch, state.step)),
            undelivered: None,
            failed: 0,
            at_most_failed: self.on_error.at_most(),
        })
    }
}

impl<K: Sink + fmt::Debug> fmt::Debug for LoaderBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoaderBuilder")
            .field("samples", &self.source.len())
            .field("batch_size", &self.batch_size)
            .field("seed", &self.seed)
            .field("sampling", &format_args!("{}", self.sampling))
            .field("transform", &self.transform)
            .field("tail", &self.tail)
            .field("shard", &self.shard)
            .field("sink", &self.sink)
            .finish_non_exhaustive()
    }
}
