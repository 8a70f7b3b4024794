//! Batch normalization.

use cudarc::driver::{CudaSlice, CudaView, CudaViewMut, PushKernelArg};

use super::sums::Parts;
use super::{check, count, push, run, threads};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Error, Result, invalid};
use crate::nn::BatchNorm;

/// What sums a small buffer over all ranks, in the order of the context's stream; `None` if each uses its own rows'.
pub(crate) type Sum<'a> = Option<&'a mut dyn FnMut(&mut CudaSlice<f32>) -> Result<()>>;

/// A layer's device memory from the way forward to the way back: a number for each channel.
#[derive(Debug)]
pub(crate) struct State {
    layer: BatchNorm,
    channels: u32,
    /// Whether the means are those of a batch, so that they have gradients.
    of_batch: bool,
    means: CudaSlice<f32>,
    /// 1 / √(variance + ε)
    inverses: CudaSlice<f32>,
    /// Sums of squared distances to the mean.
    squares: CudaSlice<f32>,
    /// Sums, and at last how many numbers were added up for each.
    totals: CudaSlice<f32>,
    /// Of the gradients, and of their products with the distance to the mean.
    gradient_sums: CudaSlice<f32>,
}

/// Scale and shift, or their gradients.
#[derive(Debug)]
pub(crate) struct Line<V> {
    pub(crate) scale: V,
    pub(crate) shift: V,
}

impl State {
    /// Memory for a layer with this many channels, at least 1.
    pub(crate) fn new(context: &Context, layer: BatchNorm, channels: usize) -> Result<Self> {
        if channels == 0 {
            return Err(invalid("number of channels", channels, "at least 1"));
        }
        count("number of channels", &[channels])?;
        let zeros = |length: usize| {
            let zeros = context.gpu.stream().alloc_zeros::<f32>(length);
            zeros.map_err(Error::cuda("allocate a batch normalization's memory"))
        };
        Ok(Self {
            layer,
            channels: channels as u32,
            of_batch: false,
            means: zeros(channels)?,
            inverses: zeros(channels)?,
            squares: zeros(channels)?,
            totals: zeros(channels + 1)?,
            gradient_sums: zeros(2 * channels)?,
        })
    }

    /// Takes mean and variance of the batch, lets the running ones follow, and normalizes, rectified if asked for.
    /// `sum` is called twice.
    #[expect(clippy::too_many_arguments, reason = "each buffer is one")]
    pub(crate) fn train<T: Real>(
        &mut self,
        context: &Context,
        line: &Line<CudaView<'_, f32>>,
        running_means: &mut CudaViewMut<'_, f32>,
        running_variances: &mut CudaViewMut<'_, f32>,
        rectify: bool,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
        scratch: &mut CudaViewMut<'_, f32>,
        sum: Sum<'_>,
    ) -> Result<()> {
        self.check_channels("running mean", running_means.len())?;
        self.check_channels("running variance", running_variances.len())?;
        self.check_line(line.scale.len(), line.shift.len())?;
        self.check_batch(input.len(), output.len())?;
        self.measure(context, input, scratch, sum)?;
        self.follow(context, running_means, running_variances)?;
        self.of_batch = true;
        self.normalize(context, line, rectify, input, output)
    }

    /// Normalizes with the running mean and variance, rectified if asked for.
    #[expect(clippy::too_many_arguments, reason = "each buffer is one")]
    pub(crate) fn evaluate<T: Real>(
        &mut self,
        context: &Context,
        line: &Line<CudaView<'_, f32>>,
        running_means: &CudaView<'_, f32>,
        running_variances: &CudaView<'_, f32>,
        rectify: bool,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        self.check_channels("running mean", running_means.len())?;
        self.check_channels("running variance", running_variances.len())?;
        self.check_line(line.scale.len(), line.shift.len())?;
        self.check_batch(input.len(), output.len())?;
        self.of_batch = false;
        let (_, epsilon) = self.layer.settings();
        let kernel = context.kernel("running_moments", "")?;
        let mut launch = context.gpu.stream().launch_builder(kernel);
        launch.arg(&self.channels).arg(&epsilon);
        launch.arg(running_means).arg(running_variances);
        launch.arg(&mut self.means).arg(&mut self.inverses);
        // SAFETY: as the kernel has them; each has a number for every channel.
        unsafe { run(&mut launch, threads(self.channels))? };
        self.normalize(context, line, rectify, input, output)
    }

    /// The gradients of scale and shift by this rank's rows, and of the input if it is asked for. `rectified` is the
    /// output, if it was. After [`evaluate`](Self::evaluate) mean and variance have no gradient; else `sum` is called
    /// once, if the input's gradient is asked for.
    #[expect(clippy::too_many_arguments, reason = "each buffer is one")]
    pub(crate) fn backward<T: Real>(
        &mut self,
        context: &Context,
        scale: &CudaView<'_, f32>,
        input: &CudaView<'_, T>,
        rectified: Option<&CudaView<'_, T>>,
        d_output: &CudaView<'_, T>,
        d_line: &mut Line<CudaViewMut<'_, f32>>,
        d_input: Option<&mut CudaViewMut<'_, T>>,
        scratch: &mut CudaViewMut<'_, f32>,
        sum: Sum<'_>,
    ) -> Result<()> {
        let parts = Parts::new(input.len(), self.channels as usize)?;
        parts.check(scratch)?;
        self.check_line(d_line.scale.len(), d_line.shift.len())?;
        self.check_channels("scale", scale.len())?;
        check("gradient of batch_norm", d_output.len(), input.len())?;
        if let Some(output) = rectified {
            check("output of batch_norm", output.len(), input.len())?;
        }
        if let Some(d_input) = &d_input {
            check("gradient of batch_norm's input", d_input.len(), input.len())?;
        }
        let stream = context.gpu.stream();

        let mut launch = stream.launch_builder(context.kernel("gradient_sums", T::SUFFIX)?);
        launch
            .arg(&parts.pixels)
            .arg(&self.channels)
            .arg(&parts.lanes);
        launch.arg(&self.means).arg(input);
        push(&mut launch, rectified);
        launch.arg(d_output).arg(&mut *scratch);
        // SAFETY: as the kernel has them; the lengths were compared.
        unsafe { run(&mut launch, parts.config())? };
        parts.sum(context, 2, scratch, &mut self.gradient_sums.as_view_mut())?;

        let mut launch = stream.launch_builder(context.kernel("line_gradient", "")?);
        launch
            .arg(&self.channels)
            .arg(&self.gradient_sums)
            .arg(&self.inverses);
        launch.arg(&mut d_line.scale).arg(&mut d_line.shift);
        // SAFETY: as the kernel has them; each has its numbers for every channel.
        unsafe { run(&mut launch, threads(self.channels))? };

        let Some(d_input) = d_input else {
            return Ok(());
        };
        let totals = self.of_batch.then(|| self.totals.as_view());
        if let (Some(_), Some(sum)) = (&totals, sum) {
            sum(&mut self.gradient_sums)?;
        }
        let count = input.len() as u32;
        let kernel = context.kernel("normalize_gradient", T::SUFFIX)?;
        let mut launch = stream.launch_builder(kernel);
        launch.arg(&count).arg(&self.channels);
        launch.arg(&self.means).arg(&self.inverses).arg(scale);
        launch.arg(&self.gradient_sums);
        push(&mut launch, totals.as_ref());
        launch.arg(input);
        push(&mut launch, rectified);
        launch.arg(d_output).arg(d_input);
        // SAFETY: as the kernel has them; the lengths were compared.
        unsafe { run(&mut launch, threads(count)) }
    }

    /// Takes means and squares of the batch, of all ranks if there is a `sum`.
    fn measure<T: Real>(
        &mut self,
        context: &Context,
        input: &CudaView<'_, T>,
        scratch: &mut CudaViewMut<'_, f32>,
        sum: Sum<'_>,
    ) -> Result<()> {
        let parts = Parts::new(input.len(), self.channels as usize)?;
        parts.check(scratch)?;
        let stream = context.gpu.stream();

        let mut launch = stream.launch_builder(context.kernel("moments", T::SUFFIX)?);
        launch
            .arg(&parts.pixels)
            .arg(&self.channels)
            .arg(&parts.lanes);
        launch.arg(input).arg(&mut *scratch);
        // SAFETY: as the kernel has them; the scratch memory is large enough for three quantities.
        unsafe { run(&mut launch, parts.config())? };

        let mut launch = stream.launch_builder(context.kernel("merge_moments", "")?);
        launch
            .arg(&parts.count)
            .arg(&self.channels)
            .arg(&mut *scratch);
        launch
            .arg(&mut self.means)
            .arg(&mut self.squares)
            .arg(&mut self.totals);
        // SAFETY: as the kernel has them; each has its numbers for every channel.
        unsafe { run(&mut launch, parts.sum_config(1))? };

        let Some(sum) = sum else { return Ok(()) };
        sum(&mut self.totals)?;
        let mut launch = stream.launch_builder(context.kernel("move_moments", "")?);
        launch
            .arg(&parts.pixels)
            .arg(&self.channels)
            .arg(&self.totals);
        launch.arg(&mut self.means).arg(&mut self.squares);
        // SAFETY: as the kernel has them; each has its numbers for every channel.
        unsafe { run(&mut launch, threads(self.channels))? };
        sum(&mut self.squares)
    }

    /// Lets the running statistics follow those of the batch.
    fn follow(
        &mut self,
        context: &Context,
        running_means: &mut CudaViewMut<'_, f32>,
        running_variances: &mut CudaViewMut<'_, f32>,
    ) -> Result<()> {
        let (momentum, epsilon) = self.layer.settings();
        let kernel = context.kernel("follow_moments", "")?;
        let mut launch = context.gpu.stream().launch_builder(kernel);
        launch.arg(&self.channels).arg(&momentum).arg(&epsilon);
        launch.arg(&self.totals).arg(&self.means).arg(&self.squares);
        launch
            .arg(&mut self.inverses)
            .arg(running_means)
            .arg(running_variances);
        // SAFETY: as the kernel has them; each has its numbers for every channel, as the caller saw to.
        unsafe { run(&mut launch, threads(self.channels)) }
    }

    /// Normalizes with the means and deviations that there are.
    fn normalize<T: Real>(
        &self,
        context: &Context,
        line: &Line<CudaView<'_, f32>>,
        rectify: bool,
        input: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        let count = count("numbers of a batch", &[input.len()])?;
        let kernel = context.kernel("normalize", T::SUFFIX)?;
        let mut launch = context.gpu.stream().launch_builder(kernel);
        launch.arg(&count).arg(&self.channels).arg(&rectify);
        launch.arg(&self.means).arg(&self.inverses);
        launch
            .arg(&line.scale)
            .arg(&line.shift)
            .arg(input)
            .arg(output);
        // SAFETY: as the kernel has them; the caller compared the lengths.
        unsafe { run(&mut launch, threads(count)) }
    }

    fn check_channels(&self, name: &'static str, found: usize) -> Result<()> {
        check(name, found, self.channels as usize)
    }

    /// An error unless there is a number of every channel for each pixel, and a place for each.
    fn check_batch(&self, input: usize, output: usize) -> Result<()> {
        check("output of batch_norm", output, input)?;
        if input.is_multiple_of(self.channels as usize) {
            return Ok(());
        }
        let expected = format!("a multiple of the {} channels", self.channels);
        Err(invalid("numbers of a batch", input, expected))
    }

    fn check_line(&self, scale: usize, shift: usize) -> Result<()> {
        self.check_channels("scale of batch_norm", scale)?;
        self.check_channels("shift of batch_norm", shift)
    }
}
