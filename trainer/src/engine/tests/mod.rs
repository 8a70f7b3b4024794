//! Tests: the engine against candle's tape and against an interpreter of our own, over networks of random shape.

mod differences;
mod errors;
pub(crate) mod naive;
mod ready;
mod reproducible;
mod residual;
mod reuse;
mod tape;

use candle_core::{DType, Device, Tensor};
use feedline_pipeline::Random;
use proptest::prelude::*;

use super::*;
use crate::models;
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Layer, Linear, MaxPool2d, Padding, Parameter, Relu,
    Residual, SequentialBuilder, cross_entropy,
};
use naive::Naive;

/// What a step on a batch comes to.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) totals: Totals,
    pub(crate) gradients: Vec<f32>,
    pub(crate) statistics: Vec<f32>,
}

fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(work)
}

pub(crate) const SHARE: f32 = 0.1;

/// Pictures and labels, and what they are for.
pub(crate) struct Rows {
    pub(crate) images: Vec<f32>,
    pub(crate) labels: Vec<u32>,
    pub(crate) pass: Pass,
}

impl Rows {
    /// Random numbers, or random small integers, which computers add and multiply without rounding: so that there are
    /// ties.
    pub(crate) fn new(network: &Sequential, rows: usize, ties: bool, random: &mut Random) -> Self {
        let classes = logits(network);
        let mut draw = |_| match ties {
            true => random.below(3) as f32,
            false => random.uniform(-1.0, 1.0),
        };
        let count = rows * network.input().iter().product::<usize>();
        let images = (0..count).map(&mut draw).collect();
        let labels = (0..rows).map(|row| (row % classes) as u32).collect();
        Self {
            images,
            labels,
            pass: Pass::training(7, 3, 5),
        }
    }
}

/// Gives parameters other values: those that `values` returns for as many numbers as it has.
pub(crate) fn set(network: &Sequential, mut values: impl FnMut(&Parameter) -> Option<Vec<f32>>) {
    for parameter in network.parameters() {
        if let Some(values) = values(parameter) {
            let shape = parameter.value.shape();
            let values = Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
            parameter.value.set(&values).unwrap();
        }
    }
}

fn logits(network: &Sequential) -> usize {
    Engine::new(network).unwrap().logits().channels
}

pub(crate) fn engine_step(network: &Sequential, rows: &Rows, isa: Isa, threads: usize) -> Step {
    let mut engine = Engine::new(network).unwrap().isa(isa);
    let (values, mut statistics) = Engine::read(network).unwrap();
    let mut gradients = vec![f32::NAN; values.len()];
    let batch = Batch {
        images: &rows.images,
        labels: &rows.labels,
    };
    let pass = &rows.pass;
    let totals = on_threads(threads, || {
        // Twice: what a step leaves behind must not matter to the next.
        let mut other = statistics.clone();
        engine
            .gradients(&values, &mut other, batch, 1.0, pass, &mut gradients)
            .unwrap();
        engine
            .gradients(&values, &mut statistics, batch, SHARE, pass, &mut gradients)
            .unwrap()
    });
    Step {
        totals,
        gradients,
        statistics,
    }
}

/// The same on candle's tape, in `f64`.
pub(crate) fn tape_step(network: &Sequential, rows: &Rows) -> Step {
    let network = network.to_f64();
    let mut shape = vec![rows.labels.len()];
    shape.extend(network.input());
    let images = Tensor::from_slice(&rows.images, shape, &Device::Cpu).unwrap();
    let images = images.to_dtype(DType::F64).unwrap();
    let labels = Tensor::from_slice(&rows.labels, rows.labels.len(), &Device::Cpu).unwrap();
    let logits = network.forward(&images, &rows.pass).unwrap();
    let loss = cross_entropy(&logits, &labels).unwrap().sum_all().unwrap();
    let right = logits.argmax(1).unwrap().eq(&labels).unwrap();
    let right = right.to_vec1::<u8>().unwrap();
    let store = (&loss * f64::from(SHARE)).unwrap().backward().unwrap();
    let flat = |tensor: &Tensor| {
        let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F32);
        tensor.unwrap().to_vec1::<f32>().unwrap()
    };
    let (mut gradients, mut statistics) = (vec![], vec![]);
    for own in network.parameters() {
        match own.trainable {
            true => gradients.extend(flat(store.get(&own.value).unwrap())),
            false => statistics.extend(flat(&own.value)),
        }
    }
    Step {
        totals: Totals {
            loss: loss.to_scalar().unwrap(),
            correct: right.into_iter().filter(|&own| own == 1).count(),
        },
        gradients,
        statistics,
    }
}

/// The largest difference of each parameter's gradients, as a share of the largest of them; or of `floor` times the
/// largest of the network, as there are gradients that are nothing but the rounding of what cancels out.
pub(crate) fn worst(
    network: &Sequential,
    found: &[f32],
    expected: &[f32],
    floor: f32,
) -> (f64, String) {
    let (mut worst, mut start) = ((0.0, String::new()), 0);
    let largest = |own: &[f32]| own.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let floor = floor * largest(expected).max(SHARE);
    for own in network.parameters().iter().filter(|own| own.trainable) {
        let end = start + own.value.elem_count();
        let (found, expected) = (&found[start..end], &expected[start..end]);
        let scale = largest(expected).max(floor);
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = f64::from((found - expected).abs() / scale);
            if error.is_nan() || error > worst.0 {
                worst = (
                    error,
                    format!("{} at {i}: {found}, expected {expected}", own.name),
                );
            }
        }
        start = end;
    }
    worst
}

/// Compares every set of instructions with the tape, and two threads with one: what is wrong, if something is.
fn difference(
    network: &Sequential,
    rows: &Rows,
    (tolerance, floor): (f64, f32),
) -> Result<(), String> {
    let expected = tape_step(network, rows);
    let near =
        |found: f64, expected: f64| (found - expected).abs() <= 1e-5 * (1.0 + expected.abs());
    for isa in Isa::available() {
        let step = engine_step(network, rows, isa, 1);
        if step != engine_step(network, rows, isa, 2) {
            return Err(format!("{isa:?}: two threads are not one"));
        }
        let (error, place) = worst(network, &step.gradients, &expected.gradients, floor);
        if error.is_nan() || error > tolerance {
            return Err(format!("{isa:?}: {error:e}: {place}"));
        }
        let statistics = step.statistics.iter().zip(&expected.statistics);
        let mut statistics = statistics.map(|(&found, &expected)| (found.into(), expected.into()));
        if step.totals.correct != expected.totals.correct
            || !near(step.totals.loss, expected.totals.loss)
            || !statistics.all(|(found, expected)| near(found, expected))
        {
            return Err(format!("{isa:?}: {step:?}, expected {expected:?}"));
        }
    }
    Ok(())
}

/// As [`difference`], over a network of these layers. Where something is at the edge of a rectifier, or two numbers of a
/// pool are nearly the same, rounding decides where gradients go.
fn assert_agrees(input: [usize; 3], ops: Vec<Op>, network: &Sequential, rows: &Rows) {
    if let Err(difference) = difference(network, rows, (1e-4, 0.1)) {
        let statistics = naive::numbers(network, false);
        let naive = Naive {
            input,
            ops,
            statistics,
        };
        let outcome = naive.run(&naive::numbers(network, true), rows);
        assert!(outcome.margin < 1e-5, "{difference}");
    }
}

/// One convolution and what may stand behind it.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) norm_before: bool,
    pub(crate) filters: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) same: bool,
    pub(crate) relu: usize,
    pub(crate) pool: Option<(usize, usize, bool)>,
    pub(crate) norm: bool,
    pub(crate) dropout: bool,
}

pub(crate) fn block() -> impl Strategy<Value = Block> {
    let kernel = (1usize..40, 1usize..6, 1usize..3, any::<bool>());
    let pool = prop::option::of((1usize..4, 1usize..4, any::<bool>()));
    let rest = (0usize..3, pool, any::<bool>(), any::<bool>(), any::<bool>());
    (kernel, rest).prop_map(|((filters, kernel, stride, same), rest)| {
        let (relu, pool, norm, dropout, norm_before) = rest;
        Block {
            norm_before: norm_before && norm,
            filters,
            kernel,
            stride,
            same,
            relu,
            pool,
            norm,
            dropout,
        }
    })
}

fn padding(same: bool) -> Padding {
    if same { Padding::Same } else { Padding::Valid }
}

/// A layer of a network, for whoever builds it or computes it by loops of their own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Convolution {
        filters: usize,
        kernel: usize,
        stride: usize,
        same: bool,
    },
    Relu,
    Pool {
        window: usize,
        stride: usize,
        same: bool,
    },
    Norm,
    Dropout(f32),
    Flatten,
    Linear(usize),
    /// Around this many of the following layers.
    Residual(usize),
}

/// The layers of these blocks, and two fully connected ones behind them.
pub(crate) fn ops(blocks: &[Block], hidden: usize) -> Vec<Op> {
    let mut ops = Vec::new();
    for block in blocks {
        let &Block {
            filters,
            kernel,
            stride,
            same,
            ..
        } = block;
        ops.extend(block.norm_before.then_some(Op::Norm));
        ops.push(Op::Convolution {
            filters,
            kernel,
            stride,
            same,
        });
        ops.extend((block.relu == 1).then_some(Op::Relu));
        ops.extend(block.pool.map(|(window, stride, same)| Op::Pool {
            window,
            stride,
            same,
        }));
        ops.extend((block.relu == 2).then_some(Op::Relu));
        ops.extend(block.norm.then_some(Op::Norm));
        ops.extend(block.dropout.then_some(Op::Dropout(0.3)));
    }
    ops.extend([Op::Flatten, Op::Linear(hidden), Op::Relu, Op::Linear(3)]);
    ops
}

/// What layers can be added to.
trait Layers: Sized {
    fn put(self, layer: impl Layer + 'static) -> Self;

    /// Puts these layers at the end.
    fn put_all(mut self, mut ops: &[Op]) -> Self {
        while let Some((&op, rest)) = ops.split_first() {
            ops = rest;
            self = match op {
                Op::Convolution {
                    filters,
                    kernel,
                    stride,
                    same,
                } => {
                    let convolution = Conv2d::new(filters, kernel).stride(stride);
                    self.put(convolution.padding(padding(same)))
                }
                Op::Relu => self.put(Relu),
                Op::Pool {
                    window,
                    stride,
                    same,
                } => self.put(MaxPool2d::new(window, stride).padding(padding(same))),
                Op::Norm => self.put(BatchNorm::new()),
                Op::Dropout(rate) => self.put(Dropout::new(rate)),
                Op::Flatten => self.put(Flatten),
                Op::Linear(outputs) => self.put(Linear::new(outputs)),
                Op::Residual(count) => {
                    let (inside, behind) = rest.split_at(count);
                    ops = behind;
                    self.put(Residual::new().put_all(inside))
                }
            };
        }
        self
    }
}

impl Layers for SequentialBuilder {
    fn put(self, layer: impl Layer + 'static) -> Self {
        self.add(layer)
    }
}

impl Layers for Residual {
    fn put(self, layer: impl Layer + 'static) -> Self {
        self.add(layer)
    }
}

/// A network of these layers, if they fit each other.
pub(crate) fn network(input: [usize; 3], ops: &[Op], seed: u64) -> Option<Sequential> {
    let builder = Sequential::builder(input).put_all(ops);
    builder.build(seed, &Device::Cpu).ok()
}
