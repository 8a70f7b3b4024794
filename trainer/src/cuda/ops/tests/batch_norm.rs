//! Batch normalization beside naive loops in `f64`.

use std::sync::{Barrier, Mutex};

use cudarc::driver::CudaSlice;
use half::bf16;

use super::*;
use crate::cuda::ops::batch_norm::{Line, State, Sum};
use crate::nn::BatchNorm;

/// A batch, and what the layer holds.
struct Case {
    channels: usize,
    input: Vec<f32>,
    d_output: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// Mean and variance.
    running: [Vec<f32>; 2],
    rectify: bool,
    training: bool,
}

/// What comes of it.
struct Outcome {
    output: Vec<f32>,
    d_input: Vec<f32>,
    d_scale: Vec<f32>,
    d_shift: Vec<f32>,
    running: [Vec<f32>; 2],
}

fn layer() -> BatchNorm {
    BatchNorm::new().momentum(0.75).epsilon(1e-3)
}

impl Case {
    fn new<T: Exactness>([channels, pixels]: [usize; 2], offset: f32, seed: u64) -> Self {
        let mut random = Random::new([seed]);
        let mut input = noise::<T>(&mut random, channels * pixels);
        input.iter_mut().for_each(|x| *x = T::nearest(*x + offset));
        let mut running = [
            noise::<f32>(&mut random, channels),
            noise::<f32>(&mut random, channels),
        ];
        running[1].iter_mut().for_each(|x| *x = x.abs());
        Self {
            channels,
            d_output: noise::<T>(&mut random, input.len()),
            input,
            scale: noise::<f32>(&mut random, channels),
            shift: noise::<f32>(&mut random, channels),
            running,
            rectify: random.below(2) == 0,
            training: true,
        }
    }

    /// These pixels of it.
    fn part(&self, pixels: std::ops::Range<usize>) -> Self {
        let own = pixels.start * self.channels..pixels.end * self.channels;
        Self {
            channels: self.channels,
            input: self.input[own.clone()].to_vec(),
            d_output: self.d_output[own].to_vec(),
            scale: self.scale.clone(),
            shift: self.shift.clone(),
            running: self.running.clone(),
            rectify: self.rectify,
            training: self.training,
        }
    }

    fn run<T: Real>(&self, context: &Context, mut sum: Sum<'_>) -> Outcome {
        let channels = self.channels;
        let mut state = State::new(context, layer(), channels).unwrap();
        let (scale, shift) = (
            upload::<f32>(context, &self.scale),
            upload::<f32>(context, &self.shift),
        );
        let line = Line {
            scale: scale.as_view(),
            shift: shift.as_view(),
        };
        let [mut mean, mut variance] = [0, 1].map(|i| upload::<f32>(context, &self.running[i]));
        let (input, d_output) = (
            upload::<T>(context, &self.input),
            upload::<T>(context, &self.d_output),
        );
        let mut scratch = scratch(context, channels);
        let mut output = garbage::<T>(context, input.len());
        let mut d_input = garbage::<T>(context, input.len());
        let (mut d_scale, mut d_shift) = (garbage(context, channels), garbage(context, channels));
        let to = &mut output.as_view_mut();
        let from = &input.as_view();
        let scratch = &mut scratch.as_view_mut();
        if self.training {
            let (mean, variance) = (&mut mean.as_view_mut(), &mut variance.as_view_mut());
            let sum = sum.as_deref_mut();
            let sum =
                sum.map(|sum| sum as &mut dyn FnMut(&mut CudaSlice<f32>) -> crate::Result<()>);
            state.train(
                context,
                &line,
                mean,
                variance,
                self.rectify,
                from,
                to,
                scratch,
                sum,
            )
        } else {
            let (mean, variance) = (&mean.as_view(), &variance.as_view());
            state.evaluate(context, &line, mean, variance, self.rectify, from, to)
        }
        .unwrap();
        let mut d_line = Line {
            scale: d_scale.as_view_mut(),
            shift: d_shift.as_view_mut(),
        };
        let rectified = self.rectify.then(|| output.as_view());
        state
            .backward(
                context,
                &line.scale,
                from,
                rectified.as_ref(),
                &d_output.as_view(),
                &mut d_line,
                Some(&mut d_input.as_view_mut()),
                scratch,
                sum,
            )
            .unwrap();
        Outcome {
            output: download(context, &output),
            d_input: download(context, &d_input),
            d_scale: download(context, &d_scale),
            d_shift: download(context, &d_shift),
            running: [download(context, &mean), download(context, &variance)],
        }
    }

    /// A naive loop over the numbers of each channel, which looks for rectified outputs in those that were found.
    fn check<T: Exactness>(&self, found: &Outcome) -> Result<(), TestCaseError> {
        let channels = self.channels;
        let count = (self.input.len() / channels) as f64;
        for channel in 0..channels {
            let own = |numbers: &[f32]| -> Vec<f64> {
                let own = numbers.iter().skip(channel).step_by(channels);
                own.map(|&x| f64::from(x)).collect()
            };
            let (x, mut g, y) = (own(&self.input), own(&self.d_output), own(&found.output));
            if self.rectify {
                g.iter_mut()
                    .zip(&y)
                    .for_each(|(g, &y)| *g = if y > 0.0 { *g } else { 0.0 });
            }
            let [mut mean, mut variance] = [0, 1].map(|i| f64::from(self.running[i][channel]));
            let kept = [mean, variance];
            let mut follow = kept;
            if self.training {
                mean = x.iter().sum::<f64>() / count;
                let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                variance = squares / count;
                let unbiased = squares / (count.max(2.0) - 1.0);
                follow = [(mean, kept[0]), (unbiased, kept[1])]
                    .map(|(new, old)| 0.75 * old + 0.25 * new);
            }
            let inverse = (variance + 1e-3).sqrt().recip();
            let [scale, shift] = [&self.scale, &self.shift].map(|own| f64::from(own[channel]));
            let normalized: Vec<f64> = x.iter().map(|x| (x - mean) * inverse).collect();
            // How far rounding the mean, which may be large, moves a number.
            let size = 1.0 + mean.abs() * inverse * 0.05;
            let expected = normalized.iter().map(|n| {
                let y = n * scale + shift;
                (
                    if self.rectify { y.max(0.0) } else { y },
                    size * (1.0 + n.abs()),
                )
            });
            check::<T>("output", &to_f32(&y), &expected.collect::<Vec<_>>())?;
            let d_shift: f64 = g.iter().sum();
            let d_scale: f64 = g.iter().zip(&normalized).map(|(g, n)| g * n).sum();
            let sizes: f64 = g
                .iter()
                .zip(&normalized)
                .map(|(g, n)| g.abs() * (1.0 + n.abs()))
                .sum();
            check::<f32>("d_shift", &[found.d_shift[channel]], &[(d_shift, sizes)])?;
            check::<f32>(
                "d_scale",
                &[found.d_scale[channel]],
                &[(d_scale, size * sizes)],
            )?;
            let of_batch = if self.training { 1.0 / count } else { 0.0 };
            let expected = g.iter().zip(&normalized).map(|(g, n)| {
                let d = scale * inverse * (g - of_batch * (d_shift + n * d_scale));
                (d, size * inverse * (1.0 + n * n))
            });
            check::<T>(
                "d_input",
                &to_f32(&own(&found.d_input)),
                &expected.collect::<Vec<_>>(),
            )?;
            let running = [0, 1].map(|i| found.running[i][channel]);
            let sizes = [1.0 + mean.abs(), 1.0 + variance];
            check::<f32>(
                "running",
                &running,
                &[(follow[0], sizes[0]), (follow[1], sizes[1])],
            )?;
        }
        Ok(())
    }
}

fn to_f32(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&x| x as f32).collect()
}

#[test]
fn both_ways_are_those_of_naive_loops() {
    let Some(context) = context() else { return };
    let pixels = prop_oneof![1usize..40, 2000usize..3000];
    proptest!(cases(32), |(channels in channels(), pixels in pixels, training: bool, seed: u64)| {
        let pixels = pixels.min(30_000 / channels).max(1);
        // Far from 0, where sums of squares would cancel.
        for offset in [0.0, 50.0] {
            let case = Case { training, ..Case::new::<f32>([channels, pixels], offset, seed) };
            case.check::<f32>(&case.run::<f32>(&context, None))?;
        }
        let case = Case { training, ..Case::new::<bf16>([channels, pixels], 0.0, seed) };
        case.check::<bf16>(&case.run::<bf16>(&context, None))?;
    });
}

#[test]
fn results_repeat_to_the_bit() {
    let Some(context) = context() else { return };
    let case = Case::new::<f32>([37, 900], 1.0, 5);
    let [one, other] = [(); 2].map(|()| case.run::<f32>(&context, None));
    assert!(one.output == other.output && one.d_input == other.d_input);
    assert!(one.d_scale == other.d_scale && one.running == other.running);
}

#[test]
fn ranks_that_sum_normalize_as_one() {
    let Some(context) = context() else { return };
    proptest!(cases(12), |(channels in channels(), pixels in 3usize..60, at in 1usize..60, seed: u64)| {
        let at = at.min(pixels - 1);
        let whole = Case::new::<f32>([channels, pixels], 3.0, seed);
        let expected = whole.run::<f32>(&context, None);
        let (meeting, held) = (Barrier::new(2), Mutex::new([const { Vec::new() }; 2]));
        let (meeting, held) = (&meeting, &held);
        let parts = [whole.part(0..at), whole.part(at..pixels)];
        let found = std::thread::scope(|scope| {
            let ranks = parts.iter().enumerate().map(|(rank, part)| scope.spawn(move || {
                let context = Context::new(&Gpu::new(0).unwrap()).unwrap();
                let stream = context.gpu.stream().clone();
                let mut sum = |buffer: &mut CudaSlice<f32>| {
                    held.lock().unwrap()[rank] = stream.clone_dtoh(buffer).unwrap();
                    meeting.wait();
                    let sums: Vec<f32> = {
                        let held = held.lock().unwrap();
                        held[0].iter().zip(&held[1]).map(|(a, b)| a + b).collect()
                    };
                    meeting.wait();
                    stream.memcpy_htod(&sums, buffer).unwrap();
                    Ok(())
                };
                part.run::<f32>(&context, Some(&mut sum))
            }));
            let ranks: Vec<_> = ranks.collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect::<Vec<_>>()
        });
        let near = |what: &str, found: &[f32], expected: &[f32], size: f64| {
            let expected: Vec<_> = expected.iter().map(|&x| (f64::from(x), size)).collect();
            check::<f32>(what, found, &expected)
        };
        let both = |of: fn(&Outcome) -> &Vec<f32>| [of(&found[0]).as_slice(), of(&found[1])].concat();
        near("output", &both(|own| &own.output), &expected.output, 10.0)?;
        near("d_input", &both(|own| &own.d_input), &expected.d_input, 200.0)?;
        for own in &found {
            near("mean", &own.running[0], &expected.running[0], 5.0)?;
            near("variance", &own.running[1], &expected.running[1], 5.0)?;
        }
        // Gradients of parameters are each rank's own, and are summed with all others.
        let sum = |of: fn(&Outcome) -> &Vec<f32>| -> Vec<f32> {
            of(&found[0]).iter().zip(of(&found[1])).map(|(a, b)| a + b).collect()
        };
        near("d_scale", &sum(|own| &own.d_scale), &expected.d_scale, 100.0)?;
        near("d_shift", &sum(|own| &own.d_shift), &expected.d_shift, 100.0)?;
    });
}
