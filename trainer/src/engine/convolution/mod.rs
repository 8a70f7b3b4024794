//! Convolution, with the rectifier and the max-pool behind it.

mod backward;

use rayon::prelude::*;

use super::stage::{Data, Moment, Places, Rows, Stage, block_rows, chunk_rows};
use crate::error::Result;
use crate::kernel::border::Border;
use crate::kernel::buffer::Buffer;
use crate::kernel::data_gradient::DataGradient;
use crate::kernel::entries::Entries;
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::{Convolution, Picture, Pool};
use crate::kernel::{Isa, filters, pool};
use backward::Chunk;

/// A convolution, and what is fused behind it.
#[derive(Debug)]
pub(super) struct ConvolutionStage {
    /// That of this pass.
    isa: Isa,
    /// Of the input.
    border: Border,
    shape: Convolution,
    rectify: bool,
    pool: Option<Pool>,
    places: Places,
    /// Weights as the way forward and the way back want them.
    packed: Buffer,
    packed_back: Buffer,
    back: DataGradient,
    bias: Vec<f32>,
    /// For each pooled number of the batch, its place in its window.
    pooled_from: Vec<u8>,
    chunks: Vec<Chunk>,
}

impl ConvolutionStage {
    /// `shape.input` is the outer picture of `border`.
    pub(super) fn new(border: Border, shape: Convolution, places: Places) -> Self {
        Self {
            isa: Isa::Portable,
            border,
            shape,
            rectify: false,
            pool: None,
            places,
            packed: Buffer::zeros(filters::packed_len(&shape)),
            packed_back: Buffer::default(),
            back: DataGradient::new(border, &shape, shape.output.pixels()),
            bias: vec![0.0; shape.output.stride],
            pooled_from: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// Puts a rectifier behind the convolution.
    pub(super) fn rectify(&mut self) {
        self.rectify = true;
    }

    /// Puts a max-pool at the end.
    pub(super) fn pool(&mut self, pool: Pool) {
        self.back = DataGradient::new(self.border, &self.shape, pool.output.pixels());
        self.pool = Some(pool);
    }

    /// Whether a pool can be put at the end: there is none yet, and lists of what has a gradient stay small.
    pub(super) fn takes(&self, pool: &Pool) -> bool {
        const MOST: usize = 1 << 20;
        self.pool.is_none() && Entries::most(pool) <= MOST
    }

    /// Numbers of a picture that comes out.
    fn output_len(&self) -> usize {
        self.output().len()
    }

    fn convolve(&self, images: usize, input: &[f32], rectify: bool, output: &mut [f32]) {
        let (shape, packed, bias) = (&self.shape, &self.packed, &self.bias);
        self.border.put(images, input, |input| {
            filters::forward(
                self.isa, shape, images, input, packed, bias, rectify, output,
            );
        });
    }
}

impl Stage for ConvolutionStage {
    fn output(&self) -> Picture {
        self.pool.map_or(self.shape.output, |pool| pool.output)
    }

    fn first_value(&self) -> Option<usize> {
        Some(self.places.weight.start)
    }

    fn prepare(&mut self, moment: &Moment<'_>, values: &[f32], back: bool) {
        self.isa = moment.isa;
        let (isa, shape, weights) = (self.isa, &self.shape, &values[self.places.weight.clone()]);
        let (packed, packed_back) = (&mut self.packed, &mut self.packed_back);
        let pack_back = || {
            if back {
                packed_back.reserve(self.back.packed_len());
                self.back.pack(isa, weights, packed_back);
            }
        };
        rayon::join(|| filters::pack(isa, shape, weights, packed), pack_back);
        let bias = &values[self.places.bias.clone()];
        self.bias[..bias.len()].copy_from_slice(bias);
        if self.pool.is_some() {
            let pooled = moment.rows * self.output().len();
            self.pooled_from
                .resize(self.pooled_from.len().max(pooled), 0);
        }
    }

    fn forward(
        &mut self,
        moment: &Moment<'_>,
        _: Data<'_>,
        input: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        let block = block_rows(moment.rows);
        let own = self.output().len();
        let mut pooled_from = std::mem::take(&mut self.pooled_from);
        let this = &*self;
        let blocks = output[..moment.rows * own]
            .par_chunks_mut(block * own)
            .enumerate();
        // Where nothing is pooled there are no places, either.
        match this.pool {
            None => blocks.for_each(|(index, output)| {
                let input = &input[index * block * this.border.inner.len()..];
                this.convolve(output.len() / own, input, this.rectify, output);
            }),
            Some(pool) => blocks
                .zip(pooled_from.par_chunks_mut(block * own))
                .for_each(|((index, output), places)| {
                    let images = output.len() / own;
                    let input = &input[index * block * this.border.inner.len()..];
                    with_scratch(images * this.shape.output.len(), |convolved| {
                        this.convolve(images, input, false, convolved);
                        let pictures = convolved.chunks_exact(pool.input.len());
                        let outputs = output
                            .chunks_exact_mut(own)
                            .zip(places.chunks_exact_mut(own));
                        for (convolved, (output, places)) in pictures.zip(outputs) {
                            pool::forward(this.isa, &pool, this.rectify, convolved, output, places);
                        }
                    });
                }),
        }
        self.pooled_from = pooled_from;
        Ok(())
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        _: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) -> Result<()> {
        self.add_up_chunks(moment.rows, rows, d_input);
        let chunks = &self.chunks[..moment.rows.div_ceil(chunk_rows(moment.rows))];
        let (weight, bias) = self.places.split(gradients);
        filters::add_up(&self.shape, chunks.iter().map(|chunk| &*chunk.sums), weight);
        bias.fill(0.0);
        for chunk in chunks {
            let sums = bias.iter_mut().zip(&*chunk.bias);
            sums.for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }
}
