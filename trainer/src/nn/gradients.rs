//! Tests: what layers and the loss compute, and their gradients, against naive loops in `f64` and their central
//! differences.

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use feedline_pipeline::Random;
use proptest::prelude::*;

use super::{BatchNorm, Conv2d, Layer, Linear, Padding, Pass, cross_entropy};

/// Checks `tape`'s output and its gradients by every number of its inputs, which have these shapes and random values:
/// the output must be that of `naive`, the gradients the slopes of `naive`'s output; in `f32`, by operations of ours, and
/// in `f64`, by candle's.
fn assert_agree(
    shapes: &[&[usize]],
    random: &mut Random,
    tape: impl Fn(&[Var]) -> Result<Tensor>,
    naive: impl Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let mut draw = |count: usize| -> Vec<f32> {
        let values = (0..count).map(|_| random.uniform(-1.0, 1.0));
        values.collect()
    };
    let values: Vec<Vec<f32>> = shapes
        .iter()
        .map(|dims| draw(dims.iter().product()))
        .collect();
    let mut inputs: Vec<Vec<f64>> = values
        .iter()
        .map(|own| own.iter().map(|&x| x.into()).collect())
        .collect();
    let expected = naive(&inputs);
    // The gradients of a weighted sum of the outputs.
    let weights = draw(expected.len());
    let loss = |inputs: &[Vec<f64>]| -> f64 {
        let products = naive(inputs).into_iter().zip(&weights);
        products.map(|(y, &weight)| y * f64::from(weight)).sum()
    };
    const STEP: f64 = 1e-5;
    let slopes: Vec<Vec<f64>> = (0..inputs.len())
        .map(|input| {
            let slope = |i: usize| {
                let here = inputs[input][i];
                let mut at = |x| {
                    inputs[input][i] = x;
                    loss(&inputs)
                };
                let slope = (at(here + STEP) - at(here - STEP)) / (2.0 * STEP);
                at(here);
                slope
            };
            (0..values[input].len()).map(slope).collect()
        })
        .collect();

    for dtype in [DType::F32, DType::F64] {
        let tensor = |values: &[f32], shape: &Shape| {
            let tensor = Tensor::from_slice(values, shape, &Device::Cpu).unwrap();
            tensor.to_dtype(dtype).unwrap()
        };
        let vars = values.iter().zip(shapes);
        let vars: Vec<Var> = vars
            .map(|(values, &dims)| Var::from_tensor(&tensor(values, &dims.into())).unwrap())
            .collect();
        let output = tape(&vars).unwrap();
        assert_close(&format!("output in {dtype:?}"), &flat(&output), &expected);
        let weighted = (&output * tensor(&weights, output.shape())).unwrap();
        let gradients = weighted.sum_all().unwrap().backward().unwrap();
        for (input, (var, slopes)) in vars.iter().zip(&slopes).enumerate() {
            let what = format!("gradient by input {input} in {dtype:?}");
            assert_close(&what, &flat(gradients.get(var).unwrap()), slopes);
        }
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F64);
    tensor.unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(
            difference < 1e-3 * (1.0 + expected.abs()),
            "{what} at {i}: {found}, expected {expected}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_convolution_is_that_of_a_naive_loop(
        (rows, channels, filters) in (1usize..3, 1usize..4, 1usize..4),
        (kernel, stride, height, width) in (1usize..4, 1usize..4, 3usize..7, 3usize..7),
        (same, seed) in (any::<bool>(), any::<u64>()),
    ) {
        let layer = Conv2d::new(filters, kernel)
            .stride(stride)
            .padding(if same { Padding::Same } else { Padding::Valid });
        // The windows along a side, and the border before it.
        let side = |size: usize| {
            if !same {
                return ((size - kernel) / stride + 1, 0);
            }
            let windows = size.div_ceil(stride);
            let reach = (windows - 1) * stride + kernel;
            (windows, reach.saturating_sub(size) / 2)
        };
        let ((out_height, top), (out_width, left)) = (side(height), side(width));
        let naive = |inputs: &[Vec<f64>]| {
            let [pixels, weight, bias] = inputs else { unreachable!() };
            let mut output = vec![];
            for row in 0..rows {
                for filter in 0..filters {
                    for place in 0..out_height * out_width {
                        let (y, x) = (place / out_width, place % out_width);
                        let mut sum = bias[filter];
                        for tap in 0..channels * kernel * kernel {
                            let channel = tap / (kernel * kernel);
                            // Places in the picture with its border.
                            let v = y * stride + tap / kernel % kernel;
                            let u = x * stride + tap % kernel;
                            if v < top || u < left || v >= height + top || u >= width + left {
                                continue;
                            }
                            let line = (row * channels + channel) * height + v - top;
                            sum += pixels[line * width + u - left]
                                * weight[filter * channels * kernel * kernel + tap];
                        }
                        output.push(sum);
                    }
                }
            }
            output
        };
        let shapes: [&[usize]; 3] = [
            &[rows, channels, height, width],
            &[filters, channels, kernel, kernel],
            &[filters],
        ];
        let tape = |vars: &[Var]| layer.forward(&vars[0], &vars[1..], &Pass::training(0, 0, 0));
        assert_agree(&shapes, &mut Random::new([seed]), tape, naive);
    }

    #[test]
    fn a_linear_layer_is_that_of_a_naive_loop(
        (rows, inputs, outputs) in (1usize..6, 1usize..20, 1usize..20),
        seed in any::<u64>(),
    ) {
        let naive = |values: &[Vec<f64>]| {
            let [features, weight, bias] = values else { unreachable!() };
            let cell = |i: usize| {
                let (row, output) = (i / outputs, i % outputs);
                let product = |k: usize| features[row * inputs + k] * weight[k * outputs + output];
                bias[output] + (0..inputs).map(product).sum::<f64>()
            };
            (0..rows * outputs).map(cell).collect()
        };
        let layer = Linear::new(outputs);
        let tape = |vars: &[Var]| layer.forward(&vars[0], &vars[1..], &Pass::training(0, 0, 0));
        let shapes: [&[usize]; 3] = [&[rows, inputs], &[inputs, outputs], &[outputs]];
        assert_agree(&shapes, &mut Random::new([seed]), tape, naive);
    }

    #[test]
    fn batch_normalization_is_that_of_a_naive_loop(
        (rows, channels, area) in (1usize..5, 1usize..4, 1usize..6),
        (training, seed) in (any::<bool>(), any::<u64>()),
    ) {
        let (running_mean, running_variance) = (0.25f32, 0.5f32);
        let naive = |values: &[Vec<f64>]| {
            let [input, scale, shift] = values else { unreachable!() };
            let count = (rows * area) as f64;
            let cell = |i: usize| {
                let channel = i / area % channels;
                let own = || (0..input.len()).filter(|j| j / area % channels == channel);
                let (mean, variance) = if training {
                    let mean = own().map(|j| input[j]).sum::<f64>() / count;
                    (mean, own().map(|j| (input[j] - mean).powi(2)).sum::<f64>() / count)
                } else {
                    (running_mean.into(), running_variance.into())
                };
                (input[i] - mean) / (variance + 0.01).sqrt() * scale[channel] + shift[channel]
            };
            (0..input.len()).map(cell).collect()
        };
        let layer = BatchNorm::new().epsilon(0.01);
        let pass = if training { Pass::training(0, 0, 0) } else { Pass::evaluation() };
        let tape = |vars: &[Var]| {
            let running = |value: f32| {
                let value = Tensor::full(value, channels, &Device::Cpu)?.to_dtype(vars[0].dtype())?;
                Var::from_tensor(&value)
            };
            let (scale, shift) = (vars[1].clone(), vars[2].clone());
            let own = [scale, shift, running(running_mean)?, running(running_variance)?];
            layer.forward(&vars[0], &own, &pass)
        };
        let shapes: [&[usize]; 3] = [&[rows, channels, area], &[channels], &[channels]];
        assert_agree(&shapes, &mut Random::new([seed]), tape, naive);
    }

    #[test]
    fn cross_entropy_is_that_of_a_naive_loop(
        (rows, classes) in (1usize..6, 1usize..12),
        seed in any::<u64>(),
    ) {
        let mut random = Random::new([seed]);
        let labels: Vec<u32> = (0..rows).map(|_| random.below(classes as u64) as u32).collect();
        let naive = |values: &[Vec<f64>]| {
            let row = |(row, &label): (&[f64], &u32)| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                -(row[label as usize].exp() / sum).ln()
            };
            values[0].chunks(classes).zip(&labels).map(row).collect()
        };
        let targets = Tensor::from_slice(&labels, rows, &Device::Cpu).unwrap();
        let tape = |vars: &[Var]| cross_entropy(&vars[0], &targets);
        assert_agree(&[&[rows, classes]], &mut random, tape, naive);
    }
}
