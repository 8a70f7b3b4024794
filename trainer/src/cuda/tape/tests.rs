//! Layers and the loss on a GPU, beside the same on the CPU.

use std::slice::from_ref;

use candle_core::{Device, Result, Tensor, Var};
use feedline_pipeline::Random;

use crate::cuda::tests::gpus;
use crate::nn::{BatchNorm, Flatten, Layer, MaxPool2d, Padding, Pass, Relu, cross_entropy};

/// candle's device, unless there is no GPU.
fn device() -> Option<Device> {
    gpus().then(|| Device::new_cuda_with_stream(0).unwrap())
}

/// Few different numbers from -2 to 2, so that there are ties and zeros.
fn coarse(shape: &[usize], seed: u64) -> Tensor {
    let mut random = Random::new([seed]);
    let number = |_| random.below(9) as f32 / 2.0 - 2.0;
    let numbers: Vec<f32> = (0..shape.iter().product()).map(number).collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu).unwrap()
}

/// Outputs and the gradients of a weighted sum of them, by what is trained: not by running statistics, behind the third.
fn pass(
    device: &Device,
    inputs: &[Tensor],
    of: &dyn Fn(&[Var]) -> Result<Tensor>,
) -> Result<Vec<Vec<f32>>> {
    let vars = inputs
        .iter()
        .map(|own| Var::from_tensor(&own.to_device(device)?));
    let vars = vars.collect::<Result<Vec<_>>>()?;
    let output = of(&vars)?;
    let weights = coarse(output.dims(), 99).to_device(device)?;
    let gradients = (&output * weights)?.sum_all()?.backward()?;
    let mut found = vec![output];
    for own in vars.iter().take(3) {
        if let Some(gradient) = gradients.get(own) {
            found.push(gradient.clone());
        }
    }
    found
        .iter()
        .map(|own| own.flatten_all()?.to_vec1())
        .collect()
}

/// Fails unless both devices find the same, but for rounding.
fn compare(what: &str, device: &Device, inputs: &[Tensor], of: &dyn Fn(&[Var]) -> Result<Tensor>) {
    let found = pass(device, inputs, of).unwrap();
    let expected = pass(&Device::Cpu, inputs, of).unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (place, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}");
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(
                error <= 2e-5 * (1.0 + expected.abs()),
                "{what} {place}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn layers_compute_what_they_do_on_the_cpu() {
    let Some(device) = device() else { return };
    let training = Pass::training(0, 0, 0);
    let input = coarse(&[3, 5, 9, 8], 1);
    compare("relu", &device, from_ref(&input), &|vars| {
        Relu.forward(&vars[0], &[], &training)
    });
    for (window, stride) in [(2, 2), (3, 2), (3, 1), (2, 3)] {
        for padding in [Padding::Valid, Padding::Same] {
            let layer = MaxPool2d::new(window, stride).padding(padding);
            let what = format!("{layer:?}");
            compare(&what, &device, from_ref(&input), &|vars| {
                layer.forward(&vars[0], &[], &training)
            });
        }
    }
    // Places that are no byte.
    let wide = coarse(&[2, 1, 19, 20], 6);
    compare("wide windows", &device, from_ref(&wide), &|vars| {
        MaxPool2d::new(18, 1).forward(&vars[0], &[], &training)
    });
    // A picture that is not contiguous.
    compare("transposed", &device, from_ref(&input), &|vars| {
        let input = vars[0].transpose(2, 3)?;
        let rectified = Relu.forward(&input, &[], &training)?;
        MaxPool2d::new(2, 1).forward(&rectified, &[], &training)
    });
    let line = [
        coarse(&[5], 2),
        coarse(&[5], 3),
        coarse(&[5], 4),
        coarse(&[5], 5).abs().unwrap(),
    ];
    let inputs = [from_ref(&input), &line].concat();
    for pass in [training, Pass::evaluation()] {
        compare("batch_norm", &device, &inputs, &|vars| {
            BatchNorm::new().forward(&vars[0], &vars[1..], &pass)
        });
    }
    let labels = Tensor::new(&[3u32, 359, 0], &Device::Cpu).unwrap();
    compare("cross_entropy", &device, &[input], &|vars| {
        let logits = Flatten.forward(&vars[0], &[], &training)?;
        cross_entropy(&logits, &labels.to_device(logits.device())?)
    });
}

#[test]
fn a_diverged_network_is_not_hidden() {
    let Some(device) = device() else { return };
    let input = Tensor::new(&[[[[f32::NAN, 1.0], [2.0, -3.0]]]], &device).unwrap();
    let pass = Pass::evaluation();
    let numbers = |own: Tensor| own.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(numbers(Relu.forward(&input, &[], &pass).unwrap())[0].is_nan());
    assert!(numbers(MaxPool2d::new(2, 2).forward(&input, &[], &pass).unwrap())[0].is_nan());
}
