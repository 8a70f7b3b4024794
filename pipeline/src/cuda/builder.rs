//! The description of a loader of batches on a GPU.

use std::sync::{Arc, OnceLock};

use cudarc::driver::CudaStream;

use super::loader::Origin;
use super::produce::Produce;
use super::resident::{Next, Resident};
use super::sizes::{Sizes, beside, not_resident};
use super::slot::Slot;
use super::streaming::{StreamedBytes, StreamedValues};
use super::transform::{Arrange, DeviceTransform};
use super::{CudaElement, CudaLoader, CudaPlan, Gpu, Layout, Progress};
use crate::batch::fingerprint;
use crate::error::{Error, Result};
use crate::loader::{Loader, LoaderBuilder};
use crate::sink::{Host, Sink};
#[cfg(doc)]
use crate::transform::Transform;

/// Batches that exist at a time on the GPU, unless [`CudaLoaderBuilder::slots`] says otherwise: one is computed with while
/// the next one is filled.
pub const DEFAULT_SLOTS: usize = 2;

/// Describes a [`CudaLoader`]; made by [`LoaderBuilder::cuda`]. What is said before `cuda` holds here, too: order, batch size,
/// transform, shard, memory budget, and all else.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build() is called"]
pub struct CudaLoaderBuilder<T: CudaElement = f32> {
    pub(super) inner: LoaderBuilder<Host<T>>,
    pub(super) gpu: Gpu,
    pub(super) layout: Layout,
    pub(super) slots: usize,
    pub(super) resident: bool,
    pub(super) progress: Option<Progress>,
}

impl<T: CudaElement> LoaderBuilder<Host<T>> {
    /// Batches in the memory of `gpu`, instead of plain buffers: the GPU crops, flips and converts samples by itself, to the
    /// bit as the host does, and gets their bytes as they are stored. Where the transform has a
    /// [`map`](Transform::map), the host transforms and the GPU gets values.
    pub fn cuda(self, gpu: &Gpu) -> CudaLoaderBuilder<T> {
        CudaLoaderBuilder {
            inner: self,
            gpu: gpu.clone(),
            layout: Layout::default(),
            slots: DEFAULT_SLOTS,
            resident: false,
            progress: None,
        }
    }
}

impl<T: CudaElement> CudaLoaderBuilder<T> {
    /// The type of a batch's values: `f32` or [`bf16`](crate::bf16). Default: `f32`.
    pub fn element<U: CudaElement>(self) -> CudaLoaderBuilder<U> {
        CudaLoaderBuilder {
            inner: self.inner.sink(Host::default()),
            gpu: self.gpu,
            layout: self.layout,
            slots: self.slots,
            resident: self.resident,
            progress: self.progress,
        }
    }

    /// The order of a row's values. Default: [`Layout::Nchw`].
    pub fn layout(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// Batches that exist at a time on the GPU, with as many in pinned memory: those that the consumer holds, and those that
    /// are filled meanwhile. At least 2. Default: [`DEFAULT_SLOTS`].
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Whether the whole source is copied to the GPU once, when the loader is built. Then the host draws orders and places
    /// and reads no sample any more: for sets that fit into the GPU's memory, a byte for each stored byte. A sample that
    /// can't be read is an error of [`build`](Self::build), whatever the error policy. Default: no.
    pub fn resident(mut self, resident: bool) -> Self {
        self.resident = resident;
        self
    }

    /// Has `progress` called with the samples that are copied so far and all that there are, while a
    /// [resident](Self::resident) source is copied.
    ///
    /// ```no_run
    /// # use feedline_pipeline::cuda::Gpu;
    /// # use feedline_pipeline::source::InMemory;
    /// # use feedline_pipeline::{Loader, Shape};
    /// # let source = InMemory::new(Shape::new(1, 2, 2), 2, vec![255; 400], vec![1; 100])?;
    /// let gpu = Gpu::new(0)?;
    /// let builder = Loader::builder(source).batch_size(10).cuda(&gpu).resident(true);
    /// let mut loader = builder
    ///     .on_progress(|done, all| eprint!("\rcopied {done} of {all} samples"))
    ///     .build()?;
    /// assert_eq!(loader.epoch(0).count(), 10);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn on_progress(mut self, progress: impl Fn(usize, usize) + Send + Sync + 'static) -> Self {
        self.progress = Some(Progress(Arc::new(progress)));
        self
    }

    /// What the loader would do and take, before any memory is set aside and any thread started.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), but for those of the GPU and of starting threads.
    pub fn plan(&self) -> Result<CudaPlan> {
        let sizes = self.sizes()?;
        if self.resident {
            let prepared = self.positions().prepare()?;
            let upload = self.upload(&sizes, &prepared.plan)?;
            return self.resident_plan(&sizes, &prepared.plan, &upload);
        }
        let plan = match &sizes.lowered {
            Some(_) => self.bytes(&sizes)?.plan(),
            None => self.values(&sizes)?.plan(),
        };
        let plan = plan.map_err(|error| beside(error, sizes.host_bytes()))?;
        Ok(self.streaming_plan(&sizes, &plan))
    }

    /// Checks everything, sets the memory aside, copies a [resident](Self::resident) source, and starts the threads.
    ///
    /// # Errors
    ///
    /// As [`LoaderBuilder::build`]; [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there are less than two
    /// slots, or the source is to be resident and the transform has a [`map`](Transform::map);
    /// [`Error::GpuMemory`](crate::Error::GpuMemory) if the GPU's free memory does not hold the slots and a resident source;
    /// for a resident source, the error of a sample that can't be read, which names it;
    /// [`Error::Cuda`](crate::Error::Cuda) if the GPU refuses.
    pub fn build(self) -> Result<CudaLoader<T>> {
        let sizes = self.sizes()?;
        let copying = self.gpu.new_stream()?;
        match (self.resident, &sizes.lowered) {
            (true, _) => self.build_resident(sizes, &copying),
            (false, Some(_)) => self.build_streamed_bytes(sizes, &copying),
            (false, None) => self.build_streamed_values(&sizes, &copying),
        }
    }

    fn build_resident(self, sizes: Sizes<T>, copying: &Arc<CudaStream>) -> Result<CudaLoader<T>> {
        let prepared = self.positions().prepare()?;
        let upload = self.upload(&sizes, &prepared.plan)?;
        let plan = self.resident_plan(&sizes, &prepared.plan, &upload)?;
        let source = Arc::clone(&self.inner.source);
        let origin = Origin {
            // Asked now, as the source is not kept.
            fingerprint: OnceLock::from(fingerprint(&*source)?),
            source: None,
            seed: prepared.seed,
            batches: prepared.description,
            resumed: self.resumed(),
        };
        let transform = self.transform(&sizes, copying)?;
        let slots = self.allocate(&sizes, &plan, copying)?;
        let producer = Resident {
            samples: upload.run(&self.gpu, copying, source)?,
            program: sizes.program,
            transform,
            next: Next::new(&prepared.order, plan.rows),
            order: prepared.order,
            batches: prepared.batches,
            shard: self.inner.shard,
            seed: prepared.seed,
        };
        self.finish(plan, origin, slots, Box::new(producer))
    }

    fn build_streamed_bytes(
        self,
        sizes: Sizes<T>,
        copying: &Arc<CudaStream>,
    ) -> Result<CudaLoader<T>> {
        let loader = self.bytes(&sizes)?.build();
        let loader = loader.map_err(|error| beside(error, sizes.host_bytes()))?;
        let plan = self.streaming_plan(&sizes, loader.plan());
        let origin = self.origin(&loader);
        let transform = self.transform(&sizes, copying)?;
        let slots = self.allocate(&sizes, &plan, copying)?;
        let producer = StreamedBytes {
            loader,
            program: sizes.program,
            transform,
        };
        self.finish(plan, origin, slots, Box::new(producer))
    }

    fn build_streamed_values(
        self,
        sizes: &Sizes<T>,
        copying: &Arc<CudaStream>,
    ) -> Result<CudaLoader<T>> {
        let loader = self.values(sizes)?.build();
        let loader = loader.map_err(|error| beside(error, sizes.host_bytes()))?;
        let plan = self.streaming_plan(sizes, loader.plan());
        let origin = self.origin(&loader);
        let slots = self.allocate(sizes, &plan, copying)?;
        let producer = StreamedValues {
            loader,
            arrange: Arrange::new(&self.gpu, plan.shape, self.layout)?,
        };
        self.finish(plan, origin, slots, Box::new(producer))
    }

    /// What the batches of an inner `loader` follow from.
    fn origin<K: Sink>(&self, loader: &Loader<K>) -> Origin {
        Origin {
            fingerprint: OnceLock::new(),
            source: Some(Arc::clone(&self.inner.source)),
            seed: loader.seed(),
            batches: loader.description().to_owned(),
            resumed: self.resumed(),
        }
    }

    fn resumed(&self) -> Option<(u64, usize)> {
        let state = self.inner.resume.as_ref();
        state.map(|state| (state.epoch(), state.step()))
    }

    fn transform(&self, sizes: &Sizes<T>, copying: &Arc<CudaStream>) -> Result<DeviceTransform<T>> {
        let lowered = sizes.lowered.as_ref().ok_or_else(not_resident)?;
        let (program, shapes) = (&sizes.program, sizes.shapes());
        let form = (program.plan_words(), self.layout);
        DeviceTransform::new(&self.gpu, copying, lowered, shapes, form)
    }

    /// The slots, if the GPU has the memory that the `plan` says.
    fn allocate(
        &self,
        sizes: &Sizes<T>,
        plan: &CudaPlan,
        copying: &Arc<CudaStream>,
    ) -> Result<Vec<Slot<T>>> {
        let mut free = self.gpu.free_memory()?;
        if plan.gpu_bytes > free {
            // What another loader had is free only when its stream comes to that.
            let done = self.gpu.stream().context().synchronize();
            done.map_err(Error::cuda("finish what is on the device"))?;
            free = self.gpu.free_memory()?;
        }
        if plan.gpu_bytes > free {
            let (what, advice) = if self.resident {
                (
                    "the samples and batches",
                    "stream the samples, or take a subset of them",
                )
            } else {
                ("batches", "lower the batch size or the number of slots")
            };
            let (gpu, needed) = (self.gpu.ordinal(), plan.gpu_bytes);
            return Err(Error::GpuMemory {
                gpu,
                what,
                needed,
                free,
                advice,
            });
        }
        let slot = |_| Slot::new(&self.gpu, copying, sizes.slot, self.inner.stall_timeout);
        (0..self.slots).map(slot).collect()
    }

    fn finish(
        &self,
        plan: CudaPlan,
        origin: Origin,
        slots: Vec<Slot<T>>,
        producer: Box<dyn Produce<T>>,
    ) -> Result<CudaLoader<T>> {
        let patience = self.inner.stall_timeout;
        CudaLoader::new(&self.gpu, plan, origin, patience, slots, producer)
    }
}
