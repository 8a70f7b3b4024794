//! Batch normalization as one operation on candle's tape.
//!
//! Numbers stay in candle's order, so it has loops of its own: nothing here but reading and writing memory takes time.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::storage::{slice, with_slice};
use crate::kernel::batch::chunk_rows;

/// How a batch of `f32` on the CPU lies in memory: `[rows, channels, the rest]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Planes {
    pub(super) rows: usize,
    pub(super) channels: usize,
    /// Numbers of a channel of a row, which lie one after the other.
    pub(super) area: usize,
}

impl Planes {
    /// Each channel's mean and biased variance.
    pub(super) fn moments(&self, input: &[f32]) -> Vec<[f64; 2]> {
        let count = (self.rows * self.area) as f64;
        let sums = self.sums(input, input, |_, plane, _| [sum(plane, plane, |x, _| x)]);
        let means: Vec<f64> = sums.into_iter().map(|[sum]| sum / count).collect();
        let squares = self.sums(input, input, |channel, plane, _| {
            let mean = means[channel] as f32;
            [sum(plane, plane, |x, _| (x - mean) * (x - mean))]
        });
        let moments = means.iter().zip(squares);
        moments.map(|(&mean, [sum])| [mean, sum / count]).collect()
    }

    /// Adds up what `of` makes of every channel's planes in `a` and `b`. Chunks of the batch follow from the number of its
    /// rows alone, so the sums are the same to the bit for any number of threads.
    fn sums<const N: usize>(
        &self,
        a: &[f32],
        b: &[f32],
        of: impl Fn(usize, &[f32], &[f32]) -> [f64; N] + Sync,
    ) -> Vec<[f64; N]> {
        let chunk = chunk_rows(self.rows) * self.channels * self.area;
        let chunks = a.par_chunks(chunk).zip(b.par_chunks(chunk));
        let chunks = chunks.map(|(a, b)| {
            let mut sums = vec![[0.0; N]; self.channels];
            let planes = a.chunks_exact(self.area).zip(b.chunks_exact(self.area));
            for (index, (a, b)) in planes.enumerate() {
                let channel = index % self.channels;
                add(&mut sums[channel], of(channel, a, b));
            }
            sums
        });
        let chunks: Vec<_> = chunks.collect();
        let mut sums = vec![[0.0; N]; self.channels];
        for chunk in chunks {
            let pairs = sums.iter_mut().zip(chunk);
            pairs.for_each(|(sum, own)| add(sum, own));
        }
        sums
    }

    /// Makes numbers of every channel's planes in `a` and `b`.
    fn map(&self, a: &[f32], b: &[f32], of: impl Fn(usize, f32, f32) -> f32 + Sync) -> Vec<f32> {
        let mut output = vec![0.0; a.len()];
        let row = self.channels * self.area;
        output
            .par_chunks_mut(row)
            .zip(a.par_chunks(row).zip(b.par_chunks(row)))
            .for_each(|(output, (a, b))| {
                let planes = a.chunks_exact(self.area).zip(b.chunks_exact(self.area));
                let planes = output.chunks_exact_mut(self.area).zip(planes);
                for (channel, (output, (a, b))) in planes.enumerate() {
                    let pairs = output.iter_mut().zip(a.iter().zip(b));
                    pairs.for_each(|(y, (&a, &b))| *y = of(channel, a, b));
                }
            });
        output
    }
}

fn add<const N: usize>(sums: &mut [f64; N], own: [f64; N]) {
    sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
}

/// Adds up in lanes, of which compilers make vector code, and not too much at a time, which keeps the sum exact enough.
fn sum(a: &[f32], b: &[f32], of: impl Fn(f32, f32) -> f32) -> f64 {
    const LANES: usize = 16;
    let chunks = a.chunks(64 * LANES).zip(b.chunks(64 * LANES));
    let chunks = chunks.map(|(a, b)| {
        let mut lanes = [0.0; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            let pairs = lanes.iter_mut().zip(a.iter().zip(b));
            pairs.for_each(|(lane, (&a, &b))| *lane += of(a, b));
        }
        lanes.into_iter().map(f64::from).sum::<f64>()
    });
    chunks.sum()
}

/// `(input − mean) · inverse deviation · scale + shift` per channel.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) planes: Planes,
    pub(super) mean: Vec<f32>,
    /// 1 / √(variance + ε)
    pub(super) inverse: Vec<f32>,
    /// Whether mean and variance are those of the batch, so that they have gradients.
    pub(super) of_batch: bool,
}

impl Operation {
    /// The gradients of scale, shift and input.
    fn backward(&self, input: &[f32], scale: &[f32], d_output: &[f32]) -> [Vec<f32>; 3] {
        let (planes, mean, inverse) = (&self.planes, &self.mean, &self.inverse);
        let sums = planes.sums(input, d_output, |channel, input, d_output| {
            let mean = mean[channel];
            let products = sum(input, d_output, |x, g| (x - mean) * g);
            [sum(d_output, d_output, |g, _| g), products]
        });
        let count = (planes.rows * planes.area) as f64;
        // The gradient of the input is a line in the gradient and in x − mean, for each channel.
        let lines: Vec<[f32; 3]> = sums
            .iter()
            .enumerate()
            .map(|(channel, [sum, products])| {
                let factor = inverse[channel] * scale[channel];
                if !self.of_batch {
                    return [factor, 0.0, 0.0];
                }
                let square = f64::from(inverse[channel]).powi(2);
                let [slope, offset] = [products * square, *sum];
                let part = |sum: f64| (-f64::from(factor) * sum / count) as f32;
                [factor, part(slope), part(offset)]
            })
            .collect();
        let d_input = planes.map(input, d_output, |channel, x, g| {
            let [factor, slope, offset] = lines[channel];
            g * factor + (x - mean[channel]) * slope + offset
        });
        let products = sums.iter().zip(inverse);
        let d_scale = products.map(|([_, sum], &inverse)| (sum * f64::from(inverse)) as f32);
        let d_shift = sums.iter().map(|&[sum, _]| sum as f32);
        [d_scale.collect(), d_shift.collect(), d_input]
    }
}

impl CustomOp3 for Operation {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        input: &CpuStorage,
        layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let input = slice::<f32>(input, layout)?;
        let scale = slice::<f32>(scale, scale_layout)?;
        let shift = slice::<f32>(shift, shift_layout)?;
        let factors: Vec<f32> = scale
            .iter()
            .zip(&self.inverse)
            .map(|(a, b)| a * b)
            .collect();
        let output = self.planes.map(input, input, |channel, x, _| {
            (x - self.mean[channel]) * factors[channel] + shift[channel]
        });
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(
        &self,
        input: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [d_scale, d_shift, d_input] = with_slice(input, |input| {
            with_slice(scale, |scale| {
                with_slice(gradient, |d_output| {
                    Ok(self.backward(input, scale, d_output))
                })
            })
        })?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((
            Some(tensor(d_input, input)?),
            Some(tensor(d_scale, scale)?),
            Some(tensor(d_shift, shift)?),
        ))
    }
}
