//! The consumer's side: batches on a GPU, epoch by epoch.

use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::exchange::{Exchange, Refusal, Seek};
use super::produce::{Produce, run};
use super::slot::Slot;
use super::{CudaBatch, CudaBatches, CudaElement, CudaPlan, Gpu};
use crate::batch::{fingerprint, verify};
use crate::error::{Error, Result, io_error};
use crate::loader::LoaderState;
use crate::source::Source;
use crate::sync::thread::{self, JoinHandle};

/// Streams an endless series of epochs as batches in a GPU's memory; made by
/// [`LoaderBuilder::cuda`](crate::loader::LoaderBuilder::cuda).
///
/// A thread has batches filled ahead, on a stream of its own: it reads samples or has them on the GPU already
/// ([`resident`](super::CudaLoaderBuilder::resident)), and the GPU transforms them. Either way batches are, to the bit,
/// those of a [`Loader`](crate::Loader) with the same settings. They come out in order; dropping the loader stops its
/// threads at any moment and waits for copies in flight.
///
/// ```no_run
/// use feedline_pipeline::cuda::{Gpu, Layout};
/// use feedline_pipeline::source::InMemory;
/// use feedline_pipeline::{Loader, Shape, Transform, bf16};
///
/// let gpu = Gpu::new(0)?;
/// let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
/// let mut loader = Loader::builder(source)
///     .batch_size(32)
///     .shuffle(true)
///     .transform(Transform::new().random_flip().scale())
///     .cuda(&gpu)
///     .element::<bf16>()
///     .layout(Layout::Nhwc)
///     .build()?;
/// for batch in loader.epochs(0..10) {
///     let batch = batch?;
///     // Launch kernels on batch.stream() that read batch.images() and batch.labels(), then drop the batch.
///     assert_eq!(batch.images().len(), 32 * 4);
/// }
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug)]
pub struct CudaLoader<T: CudaElement = f32> {
    gpu: Gpu,
    plan: CudaPlan,
    exchange: Arc<Exchange<Slot<T>>>,
    thread: Option<JoinHandle<()>>,
    origin: Origin,
    patience: Duration,
    /// The epoch and step of the batch that comes next.
    position: (u64, usize),
    /// Whether the thread is at it.
    running: bool,
    failed: usize,
}

/// What a loader's batches follow from.
pub(super) struct Origin {
    /// Of the data, once it was asked for.
    pub(super) fingerprint: OnceLock<u64>,
    /// Unless it is not needed any more.
    pub(super) source: Option<Arc<dyn Source>>,
    pub(super) seed: u64,
    /// What epochs and batches are made of, in words.
    pub(super) batches: String,
    /// Where the loader was resumed, until it is read from there.
    pub(super) resumed: Option<(u64, usize)>,
}

impl<T: CudaElement> CudaLoader<T> {
    pub(super) fn new(
        gpu: &Gpu,
        plan: CudaPlan,
        origin: Origin,
        patience: Duration,
        slots: Vec<Slot<T>>,
        producer: Box<dyn Produce<T>>,
    ) -> Result<Self> {
        let exchange = Arc::new(Exchange::new(slots));
        let (own, context) = (Arc::clone(&exchange), Arc::clone(gpu.stream().context()));
        let thread = thread::Builder::new()
            .name(format!("feedline-gpu-{}", gpu.ordinal()))
            .spawn(move || {
                // Events are asked for without a context of their own. Should it fail, so does the first copy.
                context.record_err(context.bind_to_thread());
                run(&own, producer);
            })
            .map_err(io_error("start its threads", "loader".as_ref()))?;
        Ok(Self {
            gpu: gpu.clone(),
            plan,
            exchange,
            thread: Some(thread),
            origin,
            patience,
            position: (0, 0),
            running: false,
            failed: 0,
        })
    }

    /// What the loader does and takes: steps, rows, slots, bytes.
    pub fn plan(&self) -> &CudaPlan {
        &self.plan
    }

    /// The GPU that has the batches.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The batches of `epoch`; as [`Loader::epoch`](crate::Loader::epoch).
    pub fn epoch(&mut self, epoch: u64) -> CudaBatches<'_, T> {
        self.epochs(epoch..epoch.saturating_add(1))
    }

    /// The batches of several epochs as one iterator; as [`Loader::epochs`](crate::Loader::epochs).
    pub fn epochs(&mut self, epochs: Range<u64>) -> CudaBatches<'_, T> {
        let steps = self.start(&epochs);
        CudaBatches::new(self, steps)
    }

    /// Where the loader stands: what [`LoaderBuilder::resume`](crate::loader::LoaderBuilder::resume) needs to go on with the
    /// next batch, on the host or a GPU; as [`Loader::state`](crate::Loader::state).
    ///
    /// # Errors
    ///
    /// The first time, what the source says if it has changed or has no [fingerprint](Source::fingerprint).
    pub fn state(&self) -> Result<LoaderState> {
        let origin = &self.origin;
        let data = match (origin.fingerprint.get(), &origin.source) {
            (None, Some(source)) => {
                let data = fingerprint(&**source)?;
                *origin.fingerprint.get_or_init(|| data)
            }
            (known, _) => known.copied().unwrap_or_default(),
        };
        let position = origin.resumed.unwrap_or(self.position);
        let batches = origin.batches.clone();
        Ok(LoaderState::new(data, batches, origin.seed, position))
    }

    /// How many samples have failed so far and were skipped or replaced, in the batches that were delivered.
    pub fn failed_samples(&self) -> usize {
        self.failed
    }

    /// Goes to where `epochs` begin and says how many batches they have.
    fn start(&mut self, epochs: &Range<u64>) -> Result<u64> {
        if epochs.is_empty() {
            return Ok(0);
        }
        let mut step = 0;
        if let Some((epoch, resumed)) = self.origin.resumed {
            if epoch != epochs.start {
                let found = epochs.start;
                return Err(Error::NotResumed {
                    epoch,
                    step: resumed,
                    found,
                });
            }
            step = resumed;
        }
        // The first batches may have been made long ago: what has become of the data since?
        if let Some(source) = &self.origin.source {
            verify(&**source)?;
        }
        if !self.running || self.position != (epochs.start, step) {
            let (epoch, failed) = (epochs.start, self.failed);
            self.exchange.seek(Seek {
                epoch,
                step,
                failed,
            });
            self.position = (epoch, step);
            self.running = true;
        }
        self.origin.resumed = None;
        let steps = (epochs.end - epochs.start).saturating_mul(self.plan.steps as u64);
        Ok(steps - step as u64)
    }

    pub(super) fn next_batch(&mut self) -> Result<CudaBatch<T>> {
        let (epoch, step) = self.position;
        let waited = self.patience;
        let slot = self
            .exchange
            .take(waited)
            .map_err(|refusal| match refusal {
                Refusal::Held => Error::SlotsHeld {
                    slots: self.plan.slots,
                    waited,
                },
                Refusal::Failed(error) => {
                    self.running = false;
                    error
                }
                Refusal::Late => {
                    self.running = false;
                    Error::Stalled {
                        epoch,
                        step,
                        waited: waited.saturating_mul(2),
                    }
                }
            })?;
        let form = (self.plan.shape, self.plan.layout);
        let batch = CudaBatch::new(slot, &self.exchange, self.gpu.stream(), form);
        batch.wait().inspect_err(|_| self.running = false)?;
        self.failed += batch.failures().len();
        self.position = if step + 1 == self.plan.steps {
            (epoch.wrapping_add(1), 0)
        } else {
            (epoch, step + 1)
        };
        Ok(batch)
    }
}

impl<T: CudaElement> Drop for CudaLoader<T> {
    fn drop(&mut self) {
        // A source that never returns is left behind with its thread, rather than waited for.
        if self.exchange.stop(self.patience)
            && let Some(thread) = self.thread.take()
        {
            // What panics in it is caught; there is nothing to report.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin")
            .field("seed", &self.seed)
            .field("batches", &self.batches)
            .field("resumed", &self.resumed)
            .finish_non_exhaustive()
    }
}
