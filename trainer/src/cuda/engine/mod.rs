//! A network on a GPU without candle's tape: its layers as stages, on device memory that is kept.

mod batch_norm;
mod compile;
#[cfg(feature = "cudnn")]
mod convolution;
mod exchange;
mod flat;
mod linear;
mod numbers;
mod pass;
mod simple;
mod stage;
#[cfg(test)]
mod tests;
mod totals;

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut};
use feedline_pipeline::cuda::Gpu;

use super::context::Context;
use super::memory::Memory;
use super::ops::optimizer;
use super::ops::sums::scratch_len;
use super::{Algorithms, Real};
use crate::engine::{self, Totals};
use crate::error::{Error, Result};
use crate::nn::{Pass, Sequential};
use crate::optim::Rule;
use compile::Compiled;
use numbers::Numbers;
use stage::Settings;

pub use exchange::Exchange;
pub use totals::PendingTotals;

/// A [`Sequential`] that trains on a GPU: with pictures and their gradients as `f32` or as
/// [`bf16`](half::bf16), and all that is trained as `f32`.
///
/// It holds the network's numbers on the device from the beginning until they are [downloaded](Self::download).
/// What stands behind a layer (the rectifier, the max-pool) is computed with it. Whatever is asked for is queued on the
/// GPU's stream and done in that order; the host waits only where it says so. Memory is allocated at the first step, and
/// when a batch has more rows than any before; no other step allocates.
///
/// Gradients are added up in the same order every time, so training is the same to the bit in every run on the same kind
/// of GPU (but see [`Algorithms`]). It is not the same to the bit as on the CPU.
///
/// ```no_run
/// use candle_core::Device;
/// use feedline_pipeline::cuda::Gpu;
/// use feedline_trainer::cuda::Engine;
/// use feedline_trainer::nn::{Flatten, Linear, Pass, Sequential};
/// use feedline_trainer::optim::{Adam, Optimizer};
///
/// let network = Sequential::builder([3, 32, 32]).add(Flatten).add(Linear::new(10));
/// let network = network.build(42, &Device::Cpu)?;
/// let gpu = Gpu::new(0)?;
/// let mut engine = Engine::<f32>::new(&network, &gpu)?.expect("all layers are nn's");
///
/// // A batch: pictures pixel after pixel, the channels of each side by side. A loader gives them like this:
/// // Loader::builder(source)….cuda(&gpu).layout(Layout::Nhwc).build()
/// let rows = 64;
/// let copied = |numbers: &[f32]| gpu.stream().clone_htod(numbers).expect("fits");
/// let images = copied(&vec![0.5; rows * 32 * 32 * 3]);
/// let labels = gpu.stream().clone_htod(&vec![1u32; rows]).expect("fits");
///
/// let rule = Adam::new(0.002).rule().expect("has a kernel");
/// for step in 0..100 {
///     let pass = Pass::training(42, step, 0);
///     let mean = 1.0 / rows as f32;
///     engine.gradients(&images.as_view(), &labels.as_view(), rows, mean, &pass, &mut ())?;
///     let totals = engine.totals_later()?;
///     engine.step(&rule, 1.0)?;
///     println!("loss {}", totals.wait()?.loss / rows as f64); // better some steps later
/// }
/// let (values, statistics) = engine.download()?;
/// feedline_trainer::engine::Engine::write(&network, &values, &statistics)?;
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug)]
pub struct Engine<T: Real> {
    context: Arc<Context>,
    settings: Settings,
    network: Compiled<T>,
    numbers: Numbers<T>,
    /// Gradients, and behind them the totals.
    sums: CudaSlice<f32>,
    optimizer: Option<optimizer::State>,
    /// What comes out of each stage; at last the logits.
    activations: Vec<Memory<T>>,
    /// Gradients of what came out of a stage, and of what went in.
    d_output: Memory<T>,
    d_input: Memory<T>,
    /// For sums over the batch.
    scratch: CudaSlice<f32>,
    /// Loss and right answer of each row.
    losses: Memory<f32>,
    evaluation: CudaSlice<f64>,
    copies: totals::Copies,
}

impl<T: Real> Engine<T> {
    /// How many numbers there are behind the gradients: the sum of the losses, and how many answers are right.
    pub const TOTALS: usize = engine::Engine::TOTALS;

    /// Takes over the network's numbers. `None` if one of its layers is not one of [`nn`](crate::nn)'s, or is a pool with
    /// windows above 256×256 pixels (which candle's tape can't do on a GPU either), or if what comes out is not one row of
    /// logits per picture.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] for a network with a convolution in a build without the feature `cudnn`; [`Error::Cuda`]
    /// if the device refuses.
    pub fn new(network: &Sequential, gpu: &Gpu) -> Result<Option<Self>> {
        let context = Arc::new(Context::new(gpu)?);
        let Some(compiled) = compile::compile::<T>(network, &context)? else {
            return Ok(None);
        };
        let channels = compiled.stages.iter().map(|stage| stage.output().channels);
        let scratch = scratch_len(channels.max().unwrap_or(0));
        let stream = gpu.stream();
        let failed = Error::cuda("allocate memory");
        let mut own = Self {
            settings: Settings::default(),
            numbers: Numbers::new(&context, &compiled)?,
            sums: stream
                .alloc_zeros(compiled.values.len() + Self::TOTALS)
                .map_err(&failed)?,
            optimizer: None,
            activations: compiled.stages.iter().map(|_| Memory::default()).collect(),
            d_output: Memory::default(),
            d_input: Memory::default(),
            scratch: stream.alloc_zeros(scratch).map_err(&failed)?,
            losses: Memory::default(),
            evaluation: stream.alloc_zeros(Self::TOTALS).map_err(&failed)?,
            copies: totals::Copies::default(),
            network: compiled,
            context,
        };
        let (values, statistics) = engine::Engine::read(network)?;
        own.upload(&values, &statistics)?;
        Ok(Some(own))
    }

    /// Lets products be of `f32`s that are rounded to 10 bits of mantissa, for which GPUs since Ampere have units of their
    /// own; off unless it is switched on.
    #[must_use]
    pub fn tf32(mut self, tf32: bool) -> Self {
        self.settings.tf32 = tf32;
        self
    }

    /// How algorithms for convolutions are chosen.
    #[must_use]
    pub fn algorithms(mut self, algorithms: Algorithms) -> Self {
        self.settings.algorithms = algorithms;
        self
    }

    /// Takes over these numbers, in the order of [`Engine::read`](crate::engine::Engine::read). What optimizers keep
    /// stays as it is.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) if there are more or fewer of them; [`Error::Cuda`] if the device
    /// refuses.
    pub fn upload(&mut self, values: &[f32], statistics: &[f32]) -> Result<()> {
        let values = (&self.network.values, values);
        let statistics = (&self.network.statistics, statistics);
        self.numbers.upload(&self.context, values, statistics)
    }

    /// Waits for all that is queued: the network's numbers, in the order of
    /// [`Engine::write`](crate::engine::Engine::write).
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if something on the device failed.
    pub fn download(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let Compiled {
            values, statistics, ..
        } = &self.network;
        self.numbers.download(&self.context, values, statistics)
    }

    /// Queues a way forward and back: the [gradients](Self::sums) become those of `share` times the sum of the rows'
    /// cross-entropies, and the numbers behind them the totals. Statistics follow the batch if the pass is a training pass.
    ///
    /// `images` begin with `rows` pictures, pixel after pixel, and `labels` with theirs; they must stay as they are until
    /// that is done. Memory that was allocated on the GPU's own stream may be dropped at once, because it is freed in that
    /// stream's order. That of another stream is the caller's to order, by events: what fills it before this, and what
    /// overwrites or frees it after. A [`CudaBatch`](feedline_pipeline::cuda::CudaBatch) does.
    ///
    /// A label that is no class makes the loss NaN. With several replicas `exchange` sums numbers over them; alone it is
    /// `&mut ()`.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) if there are no rows, or fewer than promised, or memory of another GPU;
    /// [`Error::Cuda`] if the
    /// device refuses; the exchange's.
    pub fn gradients(
        &mut self,
        images: &CudaView<'_, T>,
        labels: &CudaView<'_, u32>,
        rows: usize,
        share: f32,
        pass: &Pass,
        exchange: &mut dyn Exchange,
    ) -> Result<()> {
        let (images, labels) = self.batch(images, labels, rows)?;
        self.forward(&images, rows, pass, exchange)?;
        self.lose(&labels, Some(share))?;
        self.backward(&images, rows, pass, exchange)
    }

    /// Queues a way forward as in evaluation, and adds loss and right answers to the
    /// [totals](Self::read_totals). What `images` and `labels` are is as for [`gradients`](Self::gradients).
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn evaluate(
        &mut self,
        images: &CudaView<'_, T>,
        labels: &CudaView<'_, u32>,
        rows: usize,
    ) -> Result<()> {
        let (images, labels) = self.batch(images, labels, rows)?;
        self.forward(&images, rows, &Pass::evaluation(), &mut ())?;
        self.lose(&labels, None)
    }

    /// Waits for all that is queued: the totals of [evaluation](Self::evaluate) since this was last called.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if something on the device failed.
    pub fn read_totals(&mut self) -> Result<Totals> {
        let stream = self.context.gpu.stream();
        let totals = stream.clone_dtoh(&self.evaluation);
        let totals = totals.and_then(|totals| {
            stream.memset_zeros(&mut self.evaluation)?;
            // Whether a copy to pageable memory is waited for is the driver's affair.
            stream.synchronize()?;
            Ok(totals)
        });
        let totals = totals.map_err(Error::cuda("compute"))?;
        Ok(Totals {
            loss: totals[0],
            correct: totals[1] as usize,
        })
    }

    /// The totals of the last [`gradients`](Self::gradients), or what replicas have summed them to by now: queues a copy,
    /// and does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device refuses.
    pub fn totals_later(&mut self) -> Result<PendingTotals> {
        let totals = self.sums.slice(self.network.values.len()..);
        self.copies.queue(&self.context, &totals)
    }

    /// Queues a step: the values change by the gradients as this rule has it. `factor` is a
    /// [`Schedule`](crate::optim::Schedule)'s. What the rule keeps for each parameter begins at the first step.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](Error::InvalidArgument) if it is another kind of rule than before; [`Error::Cuda`] if the
    /// device refuses.
    pub fn step(&mut self, rule: &Rule, factor: f32) -> Result<()> {
        let length = self.network.values.len();
        let state = match &mut self.optimizer {
            Some(state) => state,
            none => none.insert(optimizer::State::new(&self.context, rule, length)?),
        };
        let gradients = self.sums.slice(..length);
        let mut values = self.numbers.values.slice_mut(..length);
        let mut copies = self.numbers.copies.as_mut().map(CudaSlice::as_view_mut);
        let copies = copies.as_mut();
        state.step(&self.context, rule, factor, &mut values, &gradients, copies)
    }

    /// How many numbers each parameter takes in the [sums](Self::sums), one after the other: what
    /// [`Buckets`](crate::collective::Buckets) are made of.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.network.values.lengths()
    }

    /// The gradients, each parameter's where [`Exchange::ready`] has it, and behind them the totals.
    pub fn sums(&mut self) -> &mut CudaSlice<f32> {
        &mut self.sums
    }

    /// The numbers that are not trained, such as running means, in the device's order: to be replaced by another
    /// replica's.
    pub fn statistics(&mut self) -> CudaViewMut<'_, f32> {
        self.numbers.statistics.as_view_mut()
    }
}
