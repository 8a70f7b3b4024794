//! The convolution as an operation on candle's tape, with the kernels that the engine computes with.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::storage::{slice, with_slice};
use crate::kernel::batch::{block_rows, chunk_rows};
use crate::kernel::border::Border;
use crate::kernel::data_gradient::DataGradient;
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::{Convolution, Picture, SLACK};
use crate::kernel::{Isa, convolution, filters, layout};

/// Convolves a batch `[rows, channels, height, width]` with weights `[filters, channels, kernel, kernel]` and adds the
/// bias `[filters]`; all `f32` on the CPU.
///
/// Work is spread over the threads of the rayon pool that it is called in. Pictures are turned into the kernels' order
/// of numbers and back on the way, some at a time, in memory that the threads keep.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) isa: Isa,
    /// That of the input.
    pub(super) border: Border,
    /// Its input has the border.
    pub(super) shape: Convolution,
    /// Whether the input has a gradient. The pictures that go into a network have none, and it is a third of the work.
    pub(super) backward: bool,
}

/// Pictures that a thread turns and convolves at a time when it goes back: few enough to stay in its cache.
const GROUP: usize = 2;

/// What the gradient of the input takes.
#[derive(Clone, Copy)]
struct Back<'a> {
    gradient: &'a DataGradient,
    packed: &'a [f32],
}

impl Operation {
    /// Numbers of a picture that goes in, and of one that comes out, as candle has them.
    fn lens(&self) -> (usize, usize) {
        let len = |picture: &Picture| picture.channels * picture.pixels();
        (len(&self.border.inner), len(&self.shape.output))
    }

    fn forward(&self, input: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let shape = &self.shape;
        let (own_input, own_output) = self.lens();
        let rows = input.len() / own_input;
        let mut output = vec![0.0; rows * own_output];
        let lens = filters::packed_len(shape) + shape.output.stride;
        with_scratch(lens, |scratch| {
            let (packed, padded_bias) = scratch.split_at_mut(filters::packed_len(shape));
            filters::pack(self.isa, shape, weights, packed);
            padded_bias.fill(0.0);
            padded_bias[..bias.len()].copy_from_slice(bias);
            let (packed, bias) = (&*packed, &*padded_bias);
            let block = block_rows(rows);
            let blocks = output.par_chunks_mut(block * own_output);
            blocks
                .zip(input.par_chunks(block * own_input))
                .for_each(|(output, input)| {
                    let images = output.len() / own_output;
                    self.with_bordered(images, input, |input| {
                        with_scratch(images * shape.output.len(), |convolved| {
                            filters::forward(
                                self.isa, shape, images, input, packed, bias, false, convolved,
                            );
                            let convolved = convolved.chunks_exact(shape.output.len());
                            let pictures = output.chunks_exact_mut(own_output).zip(convolved);
                            for (output, convolved) in pictures {
                                let picture = &shape.output;
                                layout::from_bordered(picture, picture, (0, 0), convolved, output);
                            }
                        });
                    });
                });
        });
        output
    }

    /// The gradients of the weights, the bias and, if there is one, of the input.
    fn backward(&self, input: &[f32], weights: &[f32], d_output: &[f32]) -> [Vec<f32>; 3] {
        let shape = &self.shape;
        let (own_input, own_output) = self.lens();
        let rows = input.len() / own_input;
        let back = DataGradient::new(self.border, shape, shape.output.pixels());
        let back = self.backward.then_some(back);
        let mut d_weights = vec![0.0; weights.len()];
        let mut d_bias = vec![0.0; shape.output.channels];
        let mut d_input = vec![0.0; if back.is_some() { input.len() } else { 0 }];
        let per_chunk = chunk_rows(rows);
        // What each chunk adds up, for the weights and for the bias.
        let sums = filters::backward_len(shape);
        let all = sums + shape.output.stride;
        let packed = back.as_ref().map_or(0, DataGradient::packed_len);
        with_scratch(packed + rows.div_ceil(per_chunk) * all, |scratch| {
            let (packed, chunks) = scratch.split_at_mut(packed);
            if let Some(back) = &back {
                back.pack(self.isa, weights, packed);
            }
            let back = back.as_ref().map(|gradient| Back { gradient, packed });
            let mut d_inputs: Vec<_> = d_input.chunks_mut(per_chunk * own_input).collect();
            d_inputs.resize_with(rows.div_ceil(per_chunk), Default::default);
            let inputs = input.par_chunks(per_chunk * own_input);
            chunks
                .par_chunks_mut(all)
                .zip(d_inputs)
                .zip(inputs.zip(d_output.par_chunks(per_chunk * own_output)))
                .for_each(|((chunk, d_input), (input, d_output))| {
                    chunk.fill(0.0);
                    let mut d_inputs = d_input.chunks_mut(GROUP * own_input);
                    let inputs = input.chunks(GROUP * own_input);
                    for (input, d_output) in inputs.zip(d_output.chunks(GROUP * own_output)) {
                        let (sums, bias) = chunk.split_at_mut(sums);
                        let back = back.zip(d_inputs.next());
                        self.backward_group(input, d_output, sums, bias, back);
                    }
                });
            let chunks = chunks.chunks_exact(all);
            let sums = chunks.clone().map(|chunk| &chunk[..sums]);
            filters::add_up(shape, sums, &mut d_weights);
            for chunk in chunks {
                let own = &chunk[filters::backward_len(shape)..];
                d_bias.iter_mut().zip(own).for_each(|(sum, x)| *sum += x);
            }
        });
        [d_weights, d_bias, d_input]
    }

    /// Adds the gradients of some pictures to `sums` and `bias`, and writes those of their input.
    fn backward_group(
        &self,
        input: &[f32],
        d_output: &[f32],
        sums: &mut [f32],
        bias: &mut [f32],
        back: Option<(Back<'_>, &mut [f32])>,
    ) {
        let (isa, shape) = (self.isa, &self.shape);
        let (own_input, own_output) = self.lens();
        let images = d_output.len() / own_output;
        with_scratch(images * shape.output.len(), |by_pixel| {
            let pictures = by_pixel.chunks_exact_mut(shape.output.len());
            for (pixels, channels) in pictures.zip(d_output.chunks_exact(own_output)) {
                layout::to_bordered(&shape.output, &shape.output, (0, 0), channels, pixels);
            }
            self.with_bordered(images, input, |input| {
                convolution::weight_gradient(isa, shape, images, input, by_pixel, sums, bias);
            });
            let Some((back, d_input)) = back else {
                return;
            };
            let inner = &self.border.inner;
            with_scratch(images * inner.len(), |pixels| {
                let Back { gradient, packed } = back;
                gradient.run(isa, images, packed, by_pixel, pixels);
                let pictures = pixels.chunks_exact(inner.len());
                for (pixels, channels) in pictures.zip(d_input.chunks_exact_mut(own_input)) {
                    layout::from_bordered(inner, inner, (0, 0), pixels, channels);
                }
            });
        });
    }

    /// Calls `with` with the pictures, pixel by pixel and with their border.
    fn with_bordered(&self, images: usize, input: &[f32], with: impl FnOnce(&[f32])) {
        let Border {
            inner,
            outer,
            corner,
        } = &self.border;
        with_scratch(images * outer.len() + SLACK, |bordered| {
            let pictures = bordered.chunks_exact_mut(outer.len());
            for (pixels, channels) in pictures.zip(input.chunks_exact(self.lens().0)) {
                layout::to_bordered(inner, outer, *corner, channels, pixels);
            }
            with(bordered);
        });
    }
}

impl CustomOp3 for Operation {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        weights: &CpuStorage,
        weights_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let output = self.forward(
            slice(input, layout)?,
            slice(weights, weights_layout)?,
            slice(bias, bias_layout)?,
        );
        let Picture {
            height,
            width,
            channels,
            ..
        } = self.shape.output;
        let shape = (layout.dims()[0], channels, height, width);
        Ok((CpuStorage::F32(output), shape.into()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        weights: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [d_weights, d_bias, d_input] = with_slice(input, |input| {
            with_slice(weights, |weights| {
                with_slice(gradient, |d_output| {
                    Ok(self.backward(input, weights, d_output))
                })
            })
        })?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        let d_input = match self.backward {
            true => Some(tensor(d_input, input)?),
            false => None,
        };
        Ok((
            d_input,
            Some(tensor(d_weights, weights)?),
            Some(tensor(d_bias, bias)?),
        ))
    }
}
