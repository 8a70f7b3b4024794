//! The convolution without its bias, by cuDNN.
//!
//! Filters are KRSC: filter after filter, each like a picture pixel after pixel.

mod algorithms;
mod directions;

use std::marker::PhantomData;

use cudarc::cudnn::sys::{cudnnDataType_t, cudnnMathType_t};
use cudarc::driver::{CudaView, CudaViewMut, DevicePtr, DevicePtrMut};

use super::check;
use super::shape::Picture;
use crate::cuda::context::Context;
use crate::cuda::dnn::{self, Dnn};
use crate::cuda::{Algorithms, Real};
use crate::error::{Error, Result};
use crate::nn::geometry::Side;
use algorithms::Chosen;
use directions::{Data, Descriptors, Direction, Filter, Forward, Pointers};

/// A convolution of pictures that have their border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) input: Picture,
    pub(crate) output: Picture,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Zeros that the library adds above and below, and left and right: as many on opposite sides.
    pub(crate) padding: [usize; 2],
}

impl Convolution {
    /// The convolution of pictures whose windows lie on these sides, top to bottom and left to right.
    ///
    /// Where windows reach farther over the bottom than over the top, or farther to the right than to the left, its
    /// `input` is larger than the pictures: a [border](super::border) has zeros there.
    pub(crate) fn new(pictures: Picture, filters: usize, sides: &[Side; 2]) -> Self {
        let longer = |side: &Side| side.size + side.after().saturating_sub(side.before);
        let [vertical, horizontal] = sides;
        Self {
            input: Picture::new(longer(vertical), longer(horizontal), pictures.channels),
            output: Picture::new(vertical.windows, horizontal.windows, filters),
            kernel: vertical.window,
            stride: Side::step(sides),
            padding: [vertical.before, horizontal.before],
        }
    }

    /// Numbers of the filters.
    pub(crate) fn weights(&self) -> usize {
        self.output.channels * self.kernel * self.kernel * self.input.channels
    }
}

/// A convolution of so many rows made ready: its descriptors, and its algorithms once they were needed.
#[derive(Debug)]
pub(crate) struct Plan<T> {
    shape: Convolution,
    rows: usize,
    tf32: bool,
    /// The least exact way to multiply that is allowed.
    math: cudnnMathType_t,
    choice: Algorithms,
    descriptors: Descriptors,
    forward: Option<Chosen<Forward>>,
    data: Option<Chosen<Data>>,
    filter: Option<Chosen<Filter>>,
    numbers: PhantomData<T>,
}

impl<T: Real> Plan<T> {
    /// If `tf32`, `f32`s may be rounded to 10 bits of mantissa before they are multiplied.
    pub(crate) fn new(
        shape: Convolution,
        rows: usize,
        tf32: bool,
        choice: Algorithms,
    ) -> Result<Self> {
        let math = match (T::TENSOR, tf32) {
            (cudnnDataType_t::CUDNN_DATA_FLOAT, false) => cudnnMathType_t::CUDNN_FMA_MATH,
            // Permits TF32.
            (cudnnDataType_t::CUDNN_DATA_FLOAT, true) => cudnnMathType_t::CUDNN_DEFAULT_MATH,
            // The units for matrices, without rounding to another type.
            _ => cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let tensor = |picture: &Picture| {
            dnn::tensor::<T>([rows, picture.channels, picture.height, picture.width])
        };
        let convolution = || dnn::convolution(shape.padding, shape.stride, math);
        let filters = [shape.output.channels, shape.input.channels, shape.kernel];
        let descriptors = Descriptors {
            input: tensor(&shape.input)?,
            filters: dnn::filters::<T>(filters)?,
            output: tensor(&shape.output)?,
            forward: convolution()?,
            data: convolution()?,
            filter: convolution()?,
        };
        Ok(Self {
            shape,
            rows,
            tf32,
            math,
            choice,
            descriptors,
            forward: None,
            data: None,
            filter: None,
            numbers: PhantomData,
        })
    }

    /// Whether it was made for this.
    pub(crate) fn is_for(&self, rows: usize, tf32: bool, choice: Algorithms) -> bool {
        (self.rows, self.tf32, self.choice) == (rows, tf32, choice)
    }

    /// `output` becomes the pictures convolved with the filters.
    pub(crate) fn forward(
        &mut self,
        context: &Context,
        input: &CudaView<'_, T>,
        filters: &CudaView<'_, T>,
        output: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        self.check(input.len(), filters.len(), output.len())?;
        let dnn = context.dnn()?;
        let (input, _read) = input.device_ptr(dnn.stream());
        let (filters, _also_read) = filters.device_ptr(dnn.stream());
        let (output, _written) = output.device_ptr_mut(dnn.stream());
        let pointers = Pointers::new(input, filters, output);
        self.forward = Some(self.run(dnn, self.forward, &pointers)?);
        Ok(())
    }

    /// `d_input` becomes the gradient of the input.
    pub(crate) fn data_gradient(
        &mut self,
        context: &Context,
        filters: &CudaView<'_, T>,
        d_output: &CudaView<'_, T>,
        d_input: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        self.check(d_input.len(), filters.len(), d_output.len())?;
        let dnn = context.dnn()?;
        let (filters, _read) = filters.device_ptr(dnn.stream());
        let (d_output, _also_read) = d_output.device_ptr(dnn.stream());
        let (d_input, _written) = d_input.device_ptr_mut(dnn.stream());
        let pointers = Pointers::new(d_input, filters, d_output);
        self.data = Some(self.run(dnn, self.data, &pointers)?);
        Ok(())
    }

    /// `gradient` becomes that of the filters.
    pub(crate) fn filter_gradient(
        &mut self,
        context: &Context,
        input: &CudaView<'_, T>,
        d_output: &CudaView<'_, T>,
        gradient: &mut CudaViewMut<'_, T>,
    ) -> Result<()> {
        self.check(input.len(), gradient.len(), d_output.len())?;
        let dnn = context.dnn()?;
        let (input, _read) = input.device_ptr(dnn.stream());
        let (d_output, _also_read) = d_output.device_ptr(dnn.stream());
        let (gradient, _written) = gradient.device_ptr_mut(dnn.stream());
        let pointers = Pointers::new(input, gradient, d_output);
        self.filter = Some(self.run(dnn, self.filter, &pointers)?);
        Ok(())
    }

    fn check(&self, input: usize, filters: usize, output: usize) -> Result<()> {
        let Convolution {
            input: from,
            output: to,
            ..
        } = &self.shape;
        check("numbers of the input", input, self.rows * from.len())?;
        check("numbers of the filters", filters, self.shape.weights())?;
        check("numbers of the output", output, self.rows * to.len())
    }

    /// Computes with the algorithm that was chosen before, or chooses one. The memory behind the pointers has been
    /// compared with the shapes.
    fn run<D: Direction>(
        &self,
        dnn: &Dnn,
        chosen: Option<Chosen<D>>,
        pointers: &Pointers,
    ) -> Result<Chosen<D>> {
        let chosen = match chosen {
            Some(chosen) => chosen,
            None => Chosen::new(dnn, self.choice, self.math, &self.descriptors, pointers)?,
        };
        let Chosen {
            algorithm,
            workspace,
        } = chosen;
        let done = dnn.with_workspace(workspace, |handle, memory| {
            // SAFETY: the handle and the descriptors are open, and what the pointers point to has the descriptors' sizes.
            unsafe {
                D::run(
                    handle,
                    &self.descriptors,
                    pointers,
                    algorithm,
                    (memory, workspace),
                )
            }
        })?;
        done.map_err(Error::cuda("compute a convolution"))?;
        Ok(chosen)
    }
}
