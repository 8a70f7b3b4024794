//! The transform on a GPU: a row's bytes and its plan become values, to the bit as the host computes them.

use std::marker::PhantomData;
use std::sync::Arc;

use cudarc::driver::{CudaFunction, CudaSlice, CudaStream, CudaView, LaunchConfig, PushKernelArg};

use super::{CudaElement, Gpu, Layout, Module, kernels};
use crate::error::{Error, Result, invalid};
use crate::source::Shape;
use crate::transform::lowered::Lowered;

/// Threads of a block, as the kernels are compiled for.
const THREADS: u32 = 256;

/// Values that a block of the writing kernels writes.
const BLOCK_VALUES: usize = 4 * THREADS as usize;

/// Where the kernels find the rows of a batch.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    /// Words of each row's plan, which names the row's sample.
    pub(super) plans: CudaView<'a, u8>,
    /// Stored bytes, sample after sample.
    pub(super) pixels: CudaView<'a, u8>,
    /// Four bytes for each sample.
    pub(super) labels: CudaView<'a, u8>,
}

/// Where they write the batch.
#[derive(Debug)]
pub(super) struct Outputs<'a, T> {
    /// A factor and an offset for each row's channels; not used where all samples share them.
    pub(super) lines: &'a mut CudaSlice<f32>,
    pub(super) images: &'a mut CudaSlice<T>,
    pub(super) labels: &'a mut CudaSlice<u32>,
}

/// A program on a GPU.
#[derive(Debug)]
pub(super) struct DeviceTransform<T> {
    input: Shape,
    output: Shape,
    plan_words: i32,
    kinds: CudaSlice<u32>,
    constants: CudaSlice<f64>,
    operations: i32,
    needs_moments: i32,
    /// The lines that all samples share.
    shared: Option<CudaSlice<f32>>,
    find_lines: CudaFunction,
    write: CudaFunction,
    element: PhantomData<T>,
}

impl<T: CudaElement> DeviceTransform<T> {
    /// Puts a program for samples of shape `input` onto the device, in the order of `stream`.
    pub(super) fn new(
        gpu: &Gpu,
        stream: &Arc<CudaStream>,
        lowered: &Lowered,
        (input, output): (Shape, Shape),
        (plan_words, layout): (usize, Layout),
    ) -> Result<Self> {
        let module = Module::load(gpu, kernels::TRANSFORM)?;
        let failed = Error::cuda("copy the transform");
        // Memory of no bytes can't be had.
        let kinds = [&lowered.kinds[..], &[0]].concat();
        let constants = [&lowered.lines[..], &[0.0]].concat();
        let shared = lowered.constant.as_ref();
        let transform = Self {
            input,
            output,
            plan_words: plan_words as i32,
            kinds: stream.clone_htod(&kinds).map_err(&failed)?,
            constants: stream.clone_htod(&constants).map_err(&failed)?,
            operations: lowered.kinds.len() as i32,
            needs_moments: lowered.needs_moments.into(),
            shared: shared
                .map(|lines| stream.clone_htod(lines))
                .transpose()
                .map_err(&failed)?,
            find_lines: module.function("transform_lines")?,
            write: module.function(&format!("transform_{}_{}", layout.name(), T::NAME))?,
            element: PhantomData,
        };
        // What was copied goes out of scope here.
        stream.synchronize().map_err(&failed)?;
        Ok(transform)
    }

    /// Makes the first `rows` rows of a batch, in the order of `stream`.
    pub(super) fn apply(
        &self,
        stream: &CudaStream,
        rows: usize,
        inputs: &Inputs<'_>,
        outputs: &mut Outputs<'_, T>,
    ) -> Result<()> {
        let (input, output) = (self.input, self.output);
        let values = output.elements();
        let plan_bytes = 4 * self.plan_words as usize;
        check("plans", inputs.plans.len(), rows * plan_bytes)?;
        check("values", outputs.images.len(), rows * values)?;
        check("labels", outputs.labels.len(), rows)?;
        let (parts, grid) = grid(rows, values)?;
        let [channels, height, width] = [input.channels, input.height, input.width].map(to_i32);
        let [rows_out, columns_out] = [output.height, output.width].map(to_i32);
        if self.shared.is_none() {
            check("lines", outputs.lines.len(), rows * 2 * input.channels)?;
            let mut launch = stream.launch_builder(&self.find_lines);
            launch.arg(&inputs.plans).arg(&self.plan_words);
            launch.arg(&inputs.pixels);
            launch.arg(&channels).arg(&height).arg(&width);
            launch.arg(&rows_out).arg(&columns_out);
            launch.arg(&self.kinds).arg(&self.constants);
            launch.arg(&self.operations).arg(&self.needs_moments);
            launch.arg(&mut *outputs.lines);
            let grid = LaunchConfig {
                grid_dim: (rows as u32, 1, 1),
                ..grid
            };
            // SAFETY: the arguments are of the kernel's types. It reads and writes `rows` rows of the slices, whose lengths
            // were compared above, and the samples that the plans name, which their writer answers for.
            unsafe { launch.launch(grid) }.map_err(Error::cuda("launch the transform"))?;
        }
        let (lines, stride) = match &self.shared {
            Some(lines) => (lines, 0),
            None => (&*outputs.lines, channels),
        };
        let mut launch = stream.launch_builder(&self.write);
        launch.arg(&inputs.plans).arg(&self.plan_words);
        launch.arg(&inputs.pixels).arg(&inputs.labels);
        launch.arg(&channels).arg(&height).arg(&width);
        launch.arg(&rows_out).arg(&columns_out);
        launch.arg(lines).arg(&stride).arg(&parts);
        launch.arg(&mut *outputs.images).arg(&mut *outputs.labels);
        // SAFETY: as above.
        unsafe { launch.launch(grid) }.map_err(Error::cuda("launch the transform"))?;
        Ok(())
    }
}

/// Puts values that the host has computed into the order of a batch.
#[derive(Debug)]
pub(super) struct Arrange<T> {
    shape: Shape,
    kernel: CudaFunction,
    element: PhantomData<T>,
}

impl<T: CudaElement> Arrange<T> {
    /// For rows of `shape`.
    pub(super) fn new(gpu: &Gpu, shape: Shape, layout: Layout) -> Result<Self> {
        let module = Module::load(gpu, kernels::TRANSFORM)?;
        Ok(Self {
            shape,
            kernel: module.function(&format!("arrange_{}_{}", layout.name(), T::NAME))?,
            element: PhantomData,
        })
    }

    /// Arranges `rows` rows of `values` (NCHW, as they lie in memory) with their labels, four bytes each.
    pub(super) fn apply(
        &self,
        stream: &CudaStream,
        rows: usize,
        (values, labels): (&CudaView<'_, u8>, &CudaView<'_, u8>),
        images: &mut CudaSlice<T>,
        labels_out: &mut CudaSlice<u32>,
    ) -> Result<()> {
        let elements = self.shape.elements();
        check("values", values.len(), rows * elements * size_of::<T>())?;
        check("values", images.len(), rows * elements)?;
        check("labels", labels.len(), rows * size_of::<u32>())?;
        check("labels", labels_out.len(), rows)?;
        let (parts, grid) = grid(rows, elements)?;
        let [channels, plane] =
            [self.shape.channels, self.shape.height * self.shape.width].map(to_i32);
        let mut launch = stream.launch_builder(&self.kernel);
        launch.arg(values).arg(labels).arg(&channels).arg(&plane);
        launch.arg(&parts).arg(images).arg(labels_out);
        // SAFETY: the arguments are of the kernel's types. It reads and writes `rows` rows of the slices, whose lengths
        // were compared above.
        unsafe { launch.launch(grid) }.map_err(Error::cuda("launch the transform"))?;
        Ok(())
    }
}

/// Into how many parts a row of so many `values` is cut, and a block for each of them.
fn grid(rows: usize, values: usize) -> Result<(i32, LaunchConfig)> {
    let parts = values.div_ceil(BLOCK_VALUES);
    let blocks = rows
        .checked_mul(parts)
        .and_then(|blocks| i32::try_from(blocks).ok());
    let Some(blocks) = blocks.filter(|_| values <= i32::MAX as usize) else {
        let found = format!("{rows} x {values} values");
        return Err(invalid(
            "batch",
            found,
            "one that a kernel's grid can cover",
        ));
    };
    let config = LaunchConfig {
        grid_dim: (blocks as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    Ok((parts as i32, config))
}

/// Sizes that were checked to fit.
fn to_i32(size: usize) -> i32 {
    size as i32
}

/// An error if memory is shorter than a kernel's reach.
fn check(name: &'static str, found: usize, needed: usize) -> Result<()> {
    if found < needed {
        return Err(invalid(name, found, format!("at least {needed}")));
    }
    Ok(())
}
