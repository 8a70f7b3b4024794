//! An interpreter of networks: straightforward loops in `f64`, independent of candle and of the kernels.

use super::*;

/// A network as its layers' settings.
#[derive(Debug)]
pub(crate) struct Naive {
    pub(crate) input: [usize; 3],
    pub(crate) ops: Vec<Op>,
    /// What [`numbers`] returns for those that are not trained: evaluation takes them.
    pub(crate) statistics: Vec<Vec<f64>>,
}

/// What a forward pass comes to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `SHARE` times the sum of the cross-entropies.
    pub(crate) loss: f64,
    /// Which side every rectifier was on, and which place every pool took.
    pub(crate) pattern: Vec<usize>,
    /// How far the nearest of them was from another choice.
    pub(crate) margin: f64,
}

/// A batch on its way: `[rows][channels][height][width]`.
struct Flow {
    shape: [usize; 3],
    numbers: Vec<f64>,
    pattern: Vec<usize>,
    margin: f64,
}

/// The numbers of all parameters that are trained, or of the others.
pub(crate) fn numbers(network: &Sequential, trained: bool) -> Vec<Vec<f64>> {
    let parameters = network.parameters().iter();
    let flat = parameters
        .filter(|own| own.trainable == trained)
        .map(|own| {
            let flat = own.value.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            flat.into_iter().map(f64::from).collect()
        });
    flat.collect()
}

impl Naive {
    /// Forward, with these parameters that are trained.
    pub(crate) fn run(&self, parameters: &[Vec<f64>], rows: &Rows) -> Outcome {
        let mut flow = Flow {
            shape: self.input,
            numbers: rows.images.iter().map(|&x| x.into()).collect(),
            pattern: Vec::new(),
            margin: f64::INFINITY,
        };
        let mut numbers = Numbers {
            parameters: parameters.iter(),
            statistics: self.statistics.iter(),
        };
        let place = |place| place;
        flow.run(&self.ops, &place, &mut numbers, &rows.pass);
        let loss = flow.losses(&rows.labels).iter().sum::<f64>();
        Outcome {
            loss: f64::from(SHARE) * loss,
            pattern: flow.pattern,
            margin: flow.margin,
        }
    }
}

/// What the layers that were not run yet hold.
struct Numbers<'a> {
    parameters: std::slice::Iter<'a, Vec<f64>>,
    statistics: std::slice::Iter<'a, Vec<f64>>,
}

/// How windows lie along a side.
#[derive(Clone, Copy)]
struct Windows {
    size: usize,
    stride: usize,
    same: bool,
}

fn windows(size: usize, stride: usize, same: bool) -> Windows {
    Windows { size, stride, same }
}

impl Windows {
    /// How many there are, and how far the first begins before the first pixel.
    fn along(&self, pixels: usize) -> (usize, usize) {
        let Self { size, stride, same } = *self;
        if !same {
            return ((pixels - size) / stride + 1, 0);
        }
        let count = pixels.div_ceil(stride);
        let missing = ((count - 1) * stride + size).saturating_sub(pixels);
        (count, missing / 2)
    }
}

impl Flow {
    /// Through these layers; `place_of` says where the one at a place among them is in the network.
    fn run(
        &mut self,
        ops: &[Op],
        place_of: &dyn Fn(usize) -> usize,
        numbers: &mut Numbers<'_>,
        pass: &Pass,
    ) {
        let (mut index, mut place) = (0, 0);
        while let Some(&op) = ops.get(index) {
            index += 1;
            let mut next = || numbers.parameters.next().unwrap().as_slice();
            match op {
                Op::Convolution {
                    filters,
                    kernel,
                    stride,
                    same,
                } => self.convolve(filters, windows(kernel, stride, same), next(), next()),
                Op::Relu => self.rectify(),
                Op::Pool {
                    window,
                    stride,
                    same,
                } => self.pool(windows(window, stride, same)),
                Op::Norm => {
                    let mut own = || numbers.statistics.next().unwrap();
                    let (mean, variance) = (own(), own());
                    let moments = match pass.is_training() {
                        true => self.moments(),
                        false => mean.iter().copied().zip(variance.iter().copied()).collect(),
                    };
                    self.normalize(&moments, next(), next());
                }
                Op::Dropout(_) if !pass.is_training() => {}
                Op::Dropout(rate) => self.drop(rate, &pass.in_layer(place_of(place))),
                Op::Flatten => self.shape = [self.shape.iter().product(), 1, 1],
                Op::Linear(outputs) => self.multiply(outputs, next(), next()),
                Op::Residual(count) => {
                    let around = self.numbers.clone();
                    let outer = place_of(place);
                    let inside = |inner| (outer + 1) * 65_536 + inner;
                    self.run(&ops[index..index + count], &inside, numbers, pass);
                    let sums = self.numbers.iter_mut().zip(around);
                    sums.for_each(|(x, around)| *x += around);
                    index += count;
                }
            }
            place += 1;
        }
    }

    /// The pixels of each window, as far as they are in the picture: `(place in the window, place in the picture)`, for
    /// each output pixel. Also the shape of the output.
    fn windows(&self, windows: Windows) -> ([usize; 2], Vec<Vec<(usize, usize)>>) {
        let [_, height, width] = self.shape;
        let ((down, top), (across, left)) = (windows.along(height), windows.along(width));
        let mut all = Vec::new();
        for y in 0..down {
            for x in 0..across {
                let mut own = Vec::new();
                for row in 0..windows.size {
                    for column in 0..windows.size {
                        let v = (y * windows.stride + row).wrapping_sub(top);
                        let u = (x * windows.stride + column).wrapping_sub(left);
                        if v < height && u < width {
                            own.push((row * windows.size + column, v * width + u));
                        }
                    }
                }
                all.push(own);
            }
        }
        ([down, across], all)
    }

    fn convolve(&mut self, filters: usize, windows: Windows, weights: &[f64], bias: &[f64]) {
        let [channels, height, width] = self.shape;
        let (area, taps) = (height * width, windows.size * windows.size);
        let ([down, across], all) = self.windows(windows);
        let mut output = Vec::new();
        for row in self.numbers.chunks_exact(channels * area) {
            for filter in 0..filters {
                for window in &all {
                    let mut sum = bias[filter];
                    for channel in 0..channels {
                        for &(tap, pixel) in window {
                            let weight = weights[(filter * channels + channel) * taps + tap];
                            sum += weight * row[channel * area + pixel];
                        }
                    }
                    output.push(sum);
                }
            }
        }
        (self.shape, self.numbers) = ([filters, down, across], output);
    }

    fn multiply(&mut self, outputs: usize, weights: &[f64], bias: &[f64]) {
        let inputs = self.shape[0];
        let mut output = Vec::new();
        for row in self.numbers.chunks_exact(inputs) {
            for to in 0..outputs {
                let products = (0..inputs).map(|from| row[from] * weights[from * outputs + to]);
                output.push(bias[to] + products.sum::<f64>());
            }
        }
        (self.shape, self.numbers) = ([outputs, 1, 1], output);
    }

    fn rectify(&mut self) {
        for x in &mut self.numbers {
            self.pattern.push(usize::from(*x > 0.0));
            // What is exactly 0 was set to it and stays.
            if *x != 0.0 {
                self.margin = self.margin.min(x.abs());
            }
            *x = x.max(0.0);
        }
    }

    fn pool(&mut self, windows: Windows) {
        let [channels, height, width] = self.shape;
        let ([down, across], all) = self.windows(windows);
        let mut output = Vec::new();
        for plane in self.numbers.chunks_exact(height * width) {
            for window in &all {
                let values = window.iter().map(|&(_, pixel)| plane[pixel]);
                let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
                let first = values.clone().position(|x| x == largest).unwrap();
                self.pattern.push(first);
                let others = values.filter(|&x| x != largest);
                let second = others.fold(f64::NEG_INFINITY, f64::max);
                self.margin = self.margin.min(largest - second);
                output.push(largest);
            }
        }
        (self.shape, self.numbers) = ([channels, down, across], output);
    }

    /// Which channel each number is of.
    fn channels(&self) -> impl Fn(usize) -> usize + use<> {
        let [channels, height, width] = self.shape;
        move |index| index / (height * width) % channels
    }

    /// Mean and variance of each channel.
    fn moments(&self) -> Vec<(f64, f64)> {
        let channel_of = self.channels();
        let moments = |channel| {
            let own = self.numbers.iter().enumerate();
            let own = own.filter(|&(index, _)| channel_of(index) == channel);
            let own: Vec<f64> = own.map(|(_, &x)| x).collect();
            let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
            let center = mean(&own);
            let squares: Vec<_> = own.iter().map(|x| (x - center).powi(2)).collect();
            (center, mean(&squares))
        };
        (0..self.shape[0]).map(moments).collect()
    }

    fn normalize(&mut self, moments: &[(f64, f64)], scale: &[f64], shift: &[f64]) {
        let channel_of = self.channels();
        for (index, x) in self.numbers.iter_mut().enumerate() {
            let channel = channel_of(index);
            let (mean, variance) = moments[channel];
            *x = (*x - mean) / (variance + 1e-3).sqrt() * scale[channel] + shift[channel];
        }
    }

    fn drop(&mut self, rate: f32, pass: &Pass) {
        let features = self.shape.iter().product();
        for (row, numbers) in self.numbers.chunks_exact_mut(features).enumerate() {
            let mut random = Random::new(pass.key(row));
            for x in numbers {
                *x *= match random.unit() < rate {
                    true => 0.0,
                    false => 1.0 / (1.0 - f64::from(rate)),
                };
            }
        }
    }

    fn losses(&self, labels: &[u32]) -> Vec<f64> {
        let rows = self.numbers.chunks_exact(self.shape[0]).zip(labels);
        let loss = |(logits, &label): (&[f64], &u32)| {
            let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = logits.iter().map(|x| (x - largest).exp()).sum();
            sum.ln() + largest - logits[label as usize]
        };
        rows.map(loss).collect()
    }
}
