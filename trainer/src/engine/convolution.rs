//! Convolution, with the rectifier and the max-pool behind it.

use rayon::prelude::*;

use super::stage::{Data, Moment, Places, Rows, Stage, block_rows, chunk_rows};
use crate::kernel::buffer::Buffer;
use crate::kernel::entries::Entries;
use crate::kernel::scratch::with_scratch;
use crate::kernel::shape::{Convolution, Picture, Pool, SLACK};
use crate::kernel::sparse;
use crate::kernel::{Isa, activation, convolution, layout, pool, winograd};

/// A convolution, and what is fused behind it.
#[derive(Debug)]
pub(super) struct ConvolutionStage {
    /// That of this pass.
    isa: Isa,
    /// Without the border.
    input: Picture,
    /// Rows above and columns left of the input.
    border: (usize, usize),
    shape: Convolution,
    rectify: bool,
    pool: Option<Pool>,
    places: Places,
    winograd: bool,
    /// Weights as the way forward and the way back want them.
    packed: Buffer,
    packed_filters: Buffer,
    bias: Vec<f32>,
    /// For each pooled number of the batch, its place in its window.
    pooled_from: Vec<u8>,
    chunks: Vec<Chunk>,
}

/// What one chunk of the batch adds up.
#[derive(Debug, Default)]
struct Chunk {
    sums: Buffer,
    bias: Buffer,
    /// If there is a pool.
    entries: Option<Entries>,
}

impl ConvolutionStage {
    /// `shape.input` has the border: `border` rows above and columns left of `input`.
    pub(super) fn new(
        input: Picture,
        border: (usize, usize),
        shape: Convolution,
        places: Places,
    ) -> Self {
        let winograd = winograd::pays(&shape);
        let packed = match winograd {
            true => winograd::packed_len(&shape),
            false => convolution::packed_len(&shape),
        };
        Self {
            isa: Isa::Portable,
            input,
            border,
            shape,
            rectify: false,
            pool: None,
            places,
            winograd,
            packed: Buffer::zeros(packed),
            packed_filters: Buffer::zeros(shape.output.channels * shape.padded_filter()),
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
        self.pool = Some(pool);
    }

    /// Whether there is no pool yet.
    pub(super) fn is_open(&self) -> bool {
        self.pool.is_none()
    }

    fn bordered(&self) -> bool {
        self.shape.input != self.input
    }

    /// Calls `with` with `images` pictures that have their border.
    fn with_border<T>(&self, images: usize, input: &[f32], with: impl FnOnce(&[f32]) -> T) -> T {
        if !self.bordered() {
            return with(input);
        }
        let outer = self.shape.input;
        with_scratch(images * outer.len() + SLACK, |bordered| {
            bordered.fill(0.0);
            let pictures = bordered.chunks_exact_mut(outer.len());
            for (from, to) in input.chunks_exact(self.input.len()).zip(pictures) {
                layout::into_border(&self.input, &outer, self.border, from, to);
            }
            with(bordered)
        })
    }

    fn convolve(&self, images: usize, input: &[f32], rectify: bool, output: &mut [f32]) {
        let (shape, packed, bias) = (&self.shape, &self.packed, &self.bias);
        self.with_border(images, input, |input| match self.winograd {
            true => winograd::forward(
                self.isa, shape, images, input, packed, bias, rectify, output,
            ),
            false => convolution::forward(
                self.isa, shape, images, input, packed, bias, rectify, output,
            ),
        });
    }

    /// The gradients of one picture's pooled output.
    fn backward_pooled(
        &self,
        pool: &Pool,
        chunk: &mut Chunk,
        (input, output, d_output, places): (&[f32], &[f32], &[f32], &[u8]),
        d_input: Option<&mut [f32]>,
    ) {
        let shape = &self.shape;
        let Chunk {
            sums,
            bias,
            entries,
        } = chunk;
        let by_pixel = d_input.is_some();
        let entries =
            entries.get_or_insert_with(|| Entries::new(shape, pool, self.rectify, by_pixel));
        entries.build(self.isa, output, d_output, places);
        self.with_border(1, input, |input| {
            sparse::weight_gradient(self.isa, entries, input, sums, bias);
        });
        if let Some(d_input) = d_input {
            self.through_border(1, d_input, |d_input| {
                sparse::data_gradient(self.isa, entries, &self.packed_filters, d_input);
            });
        }
    }

    /// The gradients of some pictures' output.
    fn backward_dense(
        &self,
        images: usize,
        chunk: &mut Chunk,
        (input, d_output): (&[f32], &[f32]),
        d_input: Option<&mut [f32]>,
    ) {
        let shape = &self.shape;
        let Chunk { sums, bias, .. } = chunk;
        self.with_border(images, input, |input| {
            convolution::weight_gradient(self.isa, shape, images, input, d_output, sums, bias);
        });
        if let Some(d_input) = d_input {
            let weights = &self.packed_filters;
            self.through_border(images, d_input, |d_input| {
                convolution::data_gradient(self.isa, shape, images, weights, d_output, d_input);
            });
        }
    }

    /// Calls `with` with zeros for `images` pictures with their border, and takes what it adds within the border.
    fn through_border(&self, images: usize, d_input: &mut [f32], with: impl FnOnce(&mut [f32])) {
        if !self.bordered() {
            d_input.fill(0.0);
            return with(d_input);
        }
        let outer = self.shape.input;
        with_scratch(images * outer.len(), |bordered| {
            bordered.fill(0.0);
            with(bordered);
            let pictures = bordered.chunks_exact(outer.len());
            for (to, from) in d_input.chunks_exact_mut(self.input.len()).zip(pictures) {
                layout::out_of_border(&self.input, &outer, self.border, from, to);
            }
        });
    }
}

impl Stage for ConvolutionStage {
    fn output(&self) -> Picture {
        self.pool.map_or(self.shape.output, |pool| pool.output)
    }

    fn prepare(&mut self, moment: &Moment<'_>, values: &[f32]) {
        self.isa = moment.isa;
        let (shape, weights) = (&self.shape, &values[self.places.weight.clone()]);
        match self.winograd {
            true => winograd::pack(self.isa, shape, weights, &mut self.packed),
            false => convolution::pack(shape, weights, &mut self.packed),
        }
        let bias = &values[self.places.bias.clone()];
        self.bias[..bias.len()].copy_from_slice(bias);
        if self.pool.is_some() {
            let pooled = moment.rows * self.output().len();
            self.pooled_from
                .resize(self.pooled_from.len().max(pooled), 0);
        }
    }

    fn forward(&mut self, moment: &Moment<'_>, _: Data<'_>, input: &[f32], output: &mut [f32]) {
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
                let input = &input[index * block * this.input.len()..];
                this.convolve(output.len() / own, input, this.rectify, output);
            }),
            Some(pool) => blocks
                .zip(pooled_from.par_chunks_mut(block * own))
                .for_each(|((index, output), places)| {
                    let images = output.len() / own;
                    let input = &input[index * block * this.input.len()..];
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
    }

    fn backward(
        &mut self,
        moment: &Moment<'_>,
        values: &[f32],
        rows: Rows<'_>,
        d_input: Option<&mut [f32]>,
        gradients: &mut [f32],
    ) {
        let filter = self.shape.padded_filter();
        let unpadded = self.places.weight.len() / self.shape.output.channels;
        if d_input.is_some() {
            values[self.places.weight.clone()]
                .par_chunks_exact(unpadded)
                .zip(self.packed_filters.par_chunks_exact_mut(filter))
                .for_each(|(weights, packed)| {
                    convolution::pack_filter(&self.shape, weights, packed);
                });
        }
        let per_chunk = chunk_rows(moment.rows);
        let count = moment.rows.div_ceil(per_chunk);
        let mut chunks = std::mem::take(&mut self.chunks);
        chunks.resize_with(count.max(chunks.len()), Chunk::default);
        let (inner, own) = (self.input.len(), self.output().len());
        let this = &*self;
        let outputs = rows.output[..moment.rows * own].par_chunks(per_chunk * own);
        let d_outputs = rows.d_output[..moment.rows * own].par_chunks_mut(per_chunk * own);
        let work = |index: usize,
                    chunk: &mut Chunk,
                    (output, d_output): (&[f32], &mut [f32]),
                    mut d_input: Option<&mut [f32]>| {
            let first = index * per_chunk;
            let input = &rows.input[first * inner..];
            chunk.clear(
                this.shape.output.channels * filter,
                this.shape.output.stride,
            );
            match &this.pool {
                None => {
                    if this.rectify {
                        activation::rectifier_gradient(this.isa, output, d_output);
                    }
                    let images = output.len() / own;
                    this.backward_dense(images, chunk, (input, d_output), d_input);
                }
                Some(pool) => {
                    for (image, output) in output.chunks_exact(own).enumerate() {
                        let d_output = &d_output[image * own..][..own];
                        let places = &this.pooled_from[(first + image) * own..][..own];
                        let input = &input[image * inner..];
                        let d_input = d_input
                            .as_deref_mut()
                            .map(|own| &mut own[image * inner..][..inner]);
                        let rows = (input, output, d_output, places);
                        this.backward_pooled(pool, chunk, rows, d_input);
                    }
                }
            }
        };
        let parts = (chunks[..count].par_iter_mut())
            .zip(outputs.zip(d_outputs))
            .enumerate();
        match d_input {
            None => parts.for_each(|(index, (chunk, rows))| work(index, chunk, rows, None)),
            Some(d_input) => parts
                .zip(d_input[..moment.rows * inner].par_chunks_mut(per_chunk * inner))
                .for_each(|((index, (chunk, rows)), d_input)| {
                    work(index, chunk, rows, Some(d_input));
                }),
        }
        let (weight, bias) = self.places.split(gradients);
        weight
            .par_chunks_exact_mut(unpadded)
            .enumerate()
            .for_each(|(index, weight)| {
                let parts = chunks[..count]
                    .iter()
                    .map(|chunk| &chunk.sums[index * filter..][..filter]);
                with_scratch(filter, |sums| {
                    sums.fill(0.0);
                    for part in parts {
                        sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
                    }
                    convolution::unpack_filter(&self.shape, sums, weight);
                });
            });
        bias.fill(0.0);
        for chunk in &chunks[..count] {
            bias.iter_mut()
                .zip(&*chunk.bias)
                .for_each(|(sum, x)| *sum += x);
        }
        self.chunks = chunks;
    }
}

impl Chunk {
    fn clear(&mut self, sums: usize, bias: usize) {
        self.sums.reserve(sums);
        self.bias.reserve(bias);
        self.sums.fill(0.0);
        self.bias.fill(0.0);
    }
}
