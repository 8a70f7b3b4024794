//! The way back, chunk by chunk.

use rayon::prelude::*;

use super::super::stage::{Rows, chunk_rows};
use super::ConvolutionStage;
use crate::kernel::buffer::Buffer;
use crate::kernel::entries::Entries;
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::Pool;
use crate::kernel::{activation, convolution, filters, pool, sparse};

/// What one chunk of the batch adds up.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Of the weights' gradients.
    pub(super) sums: Buffer,
    pub(super) bias: Buffer,
    /// If there is a pool.
    entries: Option<Entries>,
}

/// Pictures that are worked on at a time: enough to fill tiles, and few enough to stay near the processor.
const GROUP: usize = 4;

impl ConvolutionStage {
    /// Adds up the gradients of each chunk's weights, and writes those of the input if they are asked for.
    pub(super) fn add_up_chunks(
        &mut self,
        count: usize,
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
    ) {
        let per_chunk = chunk_rows(count);
        let chunk_count = count.div_ceil(per_chunk);
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.resize_with(chunk_count.max(chunks.len()), Chunk::default);
        let this = &*self;
        let (inner, own) = (this.border.inner.len(), this.output_len());
        let outputs = rows.output[..count * own].par_chunks(per_chunk * own);
        let d_outputs = rows.d_output[..count * own].par_chunks_mut(per_chunk * own);
        let tasks = chunks[..chunk_count]
            .par_iter_mut()
            .zip(outputs.zip(d_outputs));
        let backward = |index: usize, chunk: &mut Chunk, output, d_output, d_input| {
            let first = index * per_chunk;
            let input = &rows.input[first * inner..];
            this.backward_chunk(first, chunk, (input, output, d_output), d_input);
        };
        match d_input {
            None => tasks
                .enumerate()
                .for_each(|(index, (chunk, (output, d_output)))| {
                    backward(index, chunk, output, d_output, None);
                }),
            Some(d_input) => tasks
                .zip(d_input[..count * inner].par_chunks_mut(per_chunk * inner))
                .enumerate()
                .for_each(|(index, ((chunk, (output, d_output)), d_input))| {
                    backward(index, chunk, output, d_output, Some(d_input));
                }),
        }
        self.chunks = chunks;
    }

    /// A chunk that begins with row `first`, group by group. The input may be longer.
    fn backward_chunk(
        &self,
        first: usize,
        chunk: &mut Chunk,
        (input, output, d_output): (&[f32], &[f32], &mut [f32]),
        mut d_input: Option<&mut [f32]>,
    ) {
        let (inner, own) = (self.border.inner.len(), self.output_len());
        let sums = filters::backward_len(&self.shape);
        chunk.sums.reserve(sums);
        chunk.bias.reserve(self.shape.output.stride);
        chunk.sums.fill(0.0);
        chunk.bias.fill(0.0);
        if let (None, true) = (&self.pool, self.rectify) {
            activation::rectifier_gradient(self.isa, output, d_output);
        }
        let groups = output.chunks(GROUP * own).zip(d_output.chunks(GROUP * own));
        for (index, (output, d_output)) in groups.enumerate() {
            let (start, images) = (index * GROUP, output.len() / own);
            let input = &input[start * inner..];
            let d_input = d_input.as_deref_mut();
            let d_input = d_input.map(|all| &mut all[start * inner..][..images * inner]);
            match &self.pool {
                None => self.backward_dense(images, chunk, (input, d_output), d_input),
                Some(pool) => {
                    let places = &self.pooled_from[(first + start) * own..][..images * own];
                    let rows = (input, output, d_output, places);
                    self.backward_pooled(pool, chunk, rows, d_input);
                }
            }
        }
    }

    fn backward_dense(
        &self,
        images: usize,
        chunk: &mut Chunk,
        (input, d_output): (&[f32], &[f32]),
        d_input: Option<&mut [f32]>,
    ) {
        let (isa, shape) = (self.isa, &self.shape);
        let Chunk { sums, bias, .. } = chunk;
        self.border.put(images, input, |input| {
            convolution::weight_gradient(isa, shape, images, input, d_output, sums, bias);
        });
        if let Some(d_input) = d_input {
            self.back
                .run(isa, images, &self.packed_back, d_output, d_input);
        }
    }

    /// Most outputs of the convolution have no gradient, as they were not the largest of a window.
    fn backward_pooled(
        &self,
        pool: &Pool,
        chunk: &mut Chunk,
        (input, output, d_output, places): (&[f32], &[f32], &[f32], &[u8]),
        mut d_input: Option<&mut [f32]>,
    ) {
        let (isa, shape) = (self.isa, &self.shape);
        let (inner, own) = (self.border.inner.len(), self.output_len());
        let Chunk {
            sums,
            bias,
            entries,
        } = chunk;
        let sparse = d_input.is_some() && !self.back.is_dense();
        let new = || Entries::new(shape, pool, self.rectify, sparse);
        let entries = entries.get_or_insert_with(new);
        let images = output.len() / own;
        for image in 0..images {
            let pooled = image * own..(image + 1) * own;
            let places = &places[pooled.clone()];
            entries.build(isa, &output[pooled.clone()], &d_output[pooled], places);
            self.border.put(1, &input[image * inner..], |input| {
                sparse::weight_gradient(isa, entries, input, sums, bias);
            });
            if let (true, Some(d_input)) = (sparse, &mut d_input) {
                self.border
                    .take(1, &mut d_input[image * inner..][..inner], |d_input| {
                        sparse::data_gradient(isa, entries, &self.packed_back, d_input);
                    });
            }
        }
        if let (false, Some(d_input)) = (sparse, d_input) {
            with_scratch(images * shape.output.len(), |convolved| {
                let rectified = output.chunks_exact(own);
                let pooled =
                    rectified.zip(places.chunks_exact(own).zip(d_output.chunks_exact(own)));
                let pictures = convolved.chunks_exact_mut(shape.output.len());
                for (picture, (rectified, (places, d_output))) in pictures.zip(pooled) {
                    let rectified = self.rectify.then_some(rectified);
                    pool::backward(isa, pool, rectified, places, d_output, picture);
                }
                self.back
                    .run(isa, images, &self.packed_back, convolved, d_input);
            });
        }
    }
}
