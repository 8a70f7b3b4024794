//! Tests: layers that are called one by one, as a model of one's own does, against the same in `f64` by candle's own
//! operations.

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use feedline_pipeline::Random;

use super::{BatchNorm, Conv2d, Flatten, Layer, Linear, MaxPool2d, Padding, Pass, Relu};

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut random = Random::new([seed]);
    let values = (0..shape.iter().product()).map(|_| random.uniform(-1.0, 1.0));
    Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
}

fn var(shape: &[usize], seed: u64) -> Var {
    Var::from_tensor(&random(shape, seed)).unwrap()
}

fn to_f64(vars: &[Var]) -> Vec<Var> {
    let double = |own: &Var| Var::from_tensor(&own.to_dtype(DType::F64).unwrap()).unwrap();
    vars.iter().map(double).collect()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F64);
    tensor.unwrap().to_vec1().unwrap()
}

/// The output, and the gradients of a weighted sum of it.
fn pass(vars: &[Var], of: impl Fn(&[Var]) -> Result<Tensor>) -> (Tensor, GradStore) {
    let output = of(vars).unwrap();
    let weights = random(output.dims(), 99).to_dtype(output.dtype()).unwrap();
    let sum = (&output * weights).unwrap().sum_all().unwrap();
    (output, sum.backward().unwrap())
}

/// Checks outputs and gradients by all of `vars` against those in `f64`.
fn assert_as_in_f64(what: &str, vars: &[Var], of: impl Fn(&[Var]) -> Result<Tensor>) {
    let doubles = to_f64(vars);
    let (found, gradients) = pass(vars, &of);
    let (expected, expected_gradients) = pass(&doubles, &of);
    assert_close(what, &found, &expected);
    for (index, (own, double)) in vars.iter().zip(&doubles).enumerate() {
        let found = gradients.get(own).unwrap();
        assert!(found.dtype() == DType::F32 && found.dims() == own.dims());
        let expected = expected_gradients.get(double).unwrap();
        assert_close(&format!("{what}: gradient {index}"), found, expected);
    }
}

/// Differences are compared with the largest number: what cancels out keeps the rounding of what it was.
fn assert_close(what: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (flat(found), flat(expected));
    let largest = expected
        .iter()
        .fold(0f64, |largest, x| largest.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (found - expected).abs() <= 2e-5 * largest,
            "{what} at {i}: {found}, expected {expected}, where the largest is {largest}"
        );
    }
}

fn training() -> Pass {
    Pass::training(0, 0, 0)
}

/// Rows, channels, height and width; filters, kernel and stride.
type Case = ([usize; 4], [usize; 3]);

/// What kernels do in different ways: the direct one, both of Winograd's, padded and unpadded channels; several chunks
/// of a batch, and one picture; strides that leave pixels at the edge out.
const CASES: [Case; 14] = [
    ([1, 1, 1, 1], [1, 1, 1]),
    ([1, 3, 9, 13], [20, 3, 1]),
    ([21, 3, 8, 8], [5, 5, 1]),
    ([3, 5, 12, 7], [17, 3, 1]),
    ([2, 17, 10, 11], [33, 3, 1]),
    ([17, 16, 9, 9], [16, 3, 1]),
    ([2, 18, 12, 12], [16, 5, 1]),
    ([2, 20, 9, 14], [18, 3, 2]),
    ([5, 4, 11, 11], [6, 5, 3]),
    ([2, 15, 7, 8], [16, 1, 1]),
    ([2, 16, 7, 8], [24, 1, 2]),
    ([1, 2, 16, 17], [3, 7, 2]),
    ([2, 3, 7, 7], [4, 2, 3]),
    ([9, 6, 5, 6], [1, 4, 1]),
];

fn convolution(([rows, channels, height, width], [filters, kernel, _]): Case) -> Vec<Var> {
    vec![
        var(&[rows, channels, height, width], 1),
        var(&[filters, channels, kernel, kernel], 2),
        var(&[filters], 3),
    ]
}

#[test]
fn convolutions_of_all_sorts_are_those_in_f64() {
    for case in CASES {
        for padding in [Padding::Valid, Padding::Same] {
            let [filters, kernel, stride] = case.1;
            let layer = Conv2d::new(filters, kernel).stride(stride).padding(padding);
            let what = format!("{case:?} {padding:?}");
            assert_as_in_f64(&what, &convolution(case), |vars| {
                layer.forward(&vars[0], &vars[1..], &training())
            });
        }
    }
}

#[test]
fn inputs_need_not_lie_one_after_the_other() {
    let layers: [(&dyn Layer, Vec<Var>); 4] = [
        (
            &Conv2d::new(5, 3),
            convolution(([4, 2, 8, 7], [5, 3, 1]))[1..].to_vec(),
        ),
        (&MaxPool2d::new(2, 2), vec![]),
        (&Relu, vec![]),
        (&BatchNorm::new(), batch_norm(2)),
    ];
    for (layer, own) in layers {
        // Transposed, and a part of it.
        let mut vars = vec![var(&[6, 3, 7, 8], 1)];
        let trained = own.len().min(2);
        vars.extend_from_slice(&own[..trained]);
        assert_as_in_f64(layer.kind(), &vars, |vars| {
            let input = vars[0].transpose(2, 3)?.narrow(1, 1, 2)?.narrow(0, 2, 3)?;
            let mut all = vars[1..].to_vec();
            let dtype = input.dtype();
            for statistics in &own[trained..] {
                all.push(Var::from_tensor(&statistics.to_dtype(dtype)?)?);
            }
            layer.forward(&input, &all, &training())
        });
    }
}

#[test]
fn weights_need_not_lie_one_after_the_other() {
    let [input, weight, bias] = &convolution(([2, 3, 5, 5], [4, 3, 1]))[..] else {
        unreachable!()
    };
    let layer = Conv2d::new(4, 3);
    let transposed = Var::from_tensor(&weight.transpose(2, 3).unwrap()).unwrap();
    let vars = [input.clone(), transposed, bias.clone()];
    assert_as_in_f64("transposed weights", &vars, |vars| {
        layer.forward(&vars[0], &vars[1..], &training())
    });
}

/// Scale, shift, and running mean and variance.
fn batch_norm(channels: usize) -> Vec<Var> {
    let constant = |value: f32| {
        let tensor = Tensor::full(value, channels, &Device::Cpu).unwrap();
        Var::from_tensor(&tensor).unwrap()
    };
    let (scale, shift) = (var(&[channels], 11), var(&[channels], 12));
    vec![scale, shift, constant(0.1), constant(0.8)]
}

#[test]
fn pictures_need_no_gradient() {
    let case = ([9, 3, 6, 6], [4, 3, 1]);
    let vars = convolution(case);
    let layer = Conv2d::new(4, 3);
    let (_, with) = pass(&vars, |vars| {
        layer.forward(&vars[0], &vars[1..], &training())
    });
    let pictures = vars[0].as_detached_tensor();
    let (_, without) = pass(&vars, |vars| {
        layer.forward(&pictures, &vars[1..], &training())
    });
    assert!(without.get(&vars[0]).is_none() && without.get(&pictures).is_none());
    for own in &vars[1..] {
        assert_eq!(
            flat(with.get(own).unwrap()),
            flat(without.get(own).unwrap())
        );
    }
}

#[test]
fn an_empty_batch_stays_empty() {
    let vars = convolution(([1, 3, 6, 6], [4, 3, 1]));
    let none = vars[0].narrow(0, 0, 0).unwrap();
    let output = Conv2d::new(4, 3).forward(&none, &vars[1..], &training());
    // candle's own says that it can't.
    assert!(output.is_err() || output.unwrap().dims() == [0, 4, 4, 4]);
}

/// A network with a branch: what goes into the block is added to what comes out.
fn residual(vars: &[Var]) -> Result<Tensor> {
    let [input, parameters @ ..] = vars else {
        unreachable!()
    };
    let dtype = input.dtype();
    let statistics = |value: f64| {
        let tensor = Tensor::full(value, 18, &Device::Cpu)?.to_dtype(dtype)?;
        Var::from_tensor(&tensor)
    };
    let same = |stride| Conv2d::new(18, 3).stride(stride).padding(Padding::Same);
    let pass = training();
    let features = same(1).forward(input, &parameters[..2], &pass)?;
    let features = Relu.forward(&features, &[], &pass)?;
    let mut branch = same(1).forward(&features, &parameters[2..4], &pass)?;
    for own in [&parameters[4..6], &parameters[8..10]] {
        let own = [
            own[0].clone(),
            own[1].clone(),
            statistics(0.0)?,
            statistics(1.0)?,
        ];
        // A bias right before a normalization would have no gradient.
        branch = Relu.forward(&branch, &[], &pass)?;
        branch = BatchNorm::new().forward(&branch, &own, &pass)?;
        branch = same(1).forward(&branch, &parameters[6..8], &pass)?;
    }
    let sum = Relu.forward(&(features + branch)?, &[], &pass)?;
    let pooled = MaxPool2d::new(2, 2).forward(&sum, &[], &pass)?;
    let flat = Flatten.forward(&pooled, &[], &pass)?;
    Linear::new(3).forward(&flat, &parameters[10..12], &pass)
}

fn residual_vars() -> Vec<Var> {
    let shapes: [&[usize]; 13] = [
        &[10, 3, 8, 8],
        &[18, 3, 3, 3],
        &[18],
        &[18, 18, 3, 3],
        &[18],
        &[18],
        &[18],
        &[18, 18, 3, 3],
        &[18],
        &[18],
        &[18],
        &[18 * 4 * 4, 3],
        &[3],
    ];
    let vars = shapes.iter().enumerate();
    vars.map(|(seed, shape)| var(shape, seed as u64)).collect()
}

#[test]
fn a_residual_network_of_ones_own_is_that_in_f64() {
    assert_as_in_f64("residual network", &residual_vars(), residual);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let vars = residual_vars();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let (output, gradients) = pass(&vars, residual);
            let gradients = vars.iter().map(|own| flat(gradients.get(own).unwrap()));
            let mut all: Vec<_> = gradients.collect();
            all.push(flat(&output));
            all
        })
    };
    let one = on(1);
    for threads in [2, 3] {
        assert_eq!(one, on(threads));
    }
}
