//! Bias, rectifier, and flattening.

use half::bf16;

use super::*;
use crate::cuda::ops::shape::Picture;
use crate::cuda::ops::{activation, convert, flatten};

#[test]
fn bias_and_rectifier_are_those_of_a_naive_loop() {
    let Some(context) = context() else { return };
    proptest!(cases(32), |(channels in channels(), pixels in 1usize..40, with_bias: bool, rectify: bool, seed: u64)| {
        forward::<f32>(&context, [channels, pixels], with_bias, rectify, seed)?;
        forward::<bf16>(&context, [channels, pixels], with_bias, rectify, seed)?;
    });
}

fn forward<T: Exactness>(
    context: &Context,
    [channels, pixels]: [usize; 2],
    with_bias: bool,
    rectify: bool,
    seed: u64,
) -> Result<(), TestCaseError> {
    let mut random = Random::new([seed]);
    let values = coarse(&mut random, channels * pixels, true);
    let bias = noise::<f32>(&mut random, channels);
    let expected: Vec<f32> = values
        .iter()
        .enumerate()
        .map(|(i, &x)| {
            let y = if with_bias { x + bias[i % channels] } else { x };
            T::nearest(if rectify && y < 0.0 { 0.0 } else { y })
        })
        .collect();
    let device_bias = upload::<f32>(context, &bias);
    let device_bias = with_bias.then(|| device_bias.as_view());
    let mut input = upload::<T>(context, &values);
    let mut output = garbage::<T>(context, values.len());
    let to = &mut output.as_view_mut();
    let from = &input.as_view();
    activation::forward(context, channels, device_bias.as_ref(), rectify, from, to).unwrap();
    same("out of place", &download(context, &output), &expected)?;
    let values = &mut input.as_view_mut();
    activation::forward_in_place(context, channels, device_bias.as_ref(), rectify, values).unwrap();
    same("in place", &download(context, &input), &expected)
}

#[test]
fn gradients_pass_where_something_came_out_and_add_up_to_that_of_the_bias() {
    let Some(context) = context() else { return };
    proptest!(cases(32), |(channels in channels(), pixels in prop_oneof![1usize..50, 3000usize..4000], seed: u64)| {
        // So many pixels that a channel has several parts, and not too many numbers for a test.
        let pixels = pixels.min(40_000 / channels).max(1);
        backward::<f32>(&context, [channels, pixels], seed)?;
        backward::<bf16>(&context, [channels, pixels], seed)?;
    });
}

fn backward<T: Exactness>(
    context: &Context,
    [channels, pixels]: [usize; 2],
    seed: u64,
) -> Result<(), TestCaseError> {
    let mut random = Random::new([seed]);
    let output = coarse(&mut random, channels * pixels, true);
    let gradient = noise::<T>(&mut random, output.len());
    let passed: Vec<f32> = output
        .iter()
        .zip(&gradient)
        .map(|(&y, &g)| if y > 0.0 { g } else { 0.0 })
        .collect();
    let on_device = upload::<T>(context, &output);
    let d_output = upload::<T>(context, &gradient);
    let mut d_input = garbage::<T>(context, output.len());
    let (y, to) = (&on_device.as_view(), &mut d_input.as_view_mut());
    activation::backward(context, y, &d_output.as_view(), to).unwrap();
    same("out of place", &download(context, &d_input), &passed)?;

    let sums = |numbers: &[f32]| {
        let mut sums = vec![(0.0, 0.0); channels];
        for (i, &g) in numbers.iter().enumerate() {
            sums[i % channels].0 += f64::from(g);
            sums[i % channels].1 += f64::from(g.abs());
        }
        sums
    };
    for rectified in [None, Some(&on_device.as_view())] {
        let expected = sums(if rectified.is_some() {
            &passed
        } else {
            &gradient
        });
        let mut bits = Vec::new();
        for _ in 0..2 {
            let mut changed = upload::<T>(context, &gradient);
            let mut scratch = scratch(context, channels);
            // Somewhere in a buffer, as in that of all gradients.
            let mut buffer = garbage::<f32>(context, channels + 5);
            activation::bias_gradient(
                context,
                channels,
                rectified,
                &mut changed.as_view_mut(),
                &mut scratch.as_view_mut(),
                &mut buffer.slice_mut(3..3 + channels),
            )
            .unwrap();
            let found = download(context, &buffer);
            check::<f32>("sums", &found[3..][..channels], &expected)?;
            prop_assert!(
                [0, 1, 2, channels + 3, channels + 4]
                    .iter()
                    .all(|&i| found[i] == -777.0)
            );
            let left = if rectified.is_some() {
                &passed
            } else {
                &gradient
            };
            same("gradient", &download(context, &changed), left)?;
            bits.push(found);
        }
        prop_assert_eq!(&bits[0], &bits[1]);
    }
    Ok(())
}

#[test]
fn features_are_in_candles_order_and_come_back() {
    let Some(context) = context() else { return };
    proptest!(cases(32), |(channels in channels(), height in 1usize..9, width in 1usize..9, rows in 1usize..4)| {
        let shape = Picture::new(height, width, channels);
        // Numbers that bf16 has, too.
        let pixels: Vec<f32> = (0..rows * shape.len()).map(|i| ((i * 7) % 251) as f32).collect();
        let mut expected = vec![0.0; pixels.len()];
        for (row, pixels) in pixels.chunks(shape.len()).enumerate() {
            for (i, &x) in pixels.iter().enumerate() {
                let feature = i % channels * shape.pixels() + i / channels;
                expected[row * shape.len() + feature] = x;
            }
        }
        there_and_back::<f32>(&context, &shape, rows, &pixels, &expected)?;
        there_and_back::<bf16>(&context, &shape, rows, &pixels, &expected)?;
    });
}

fn there_and_back<T: Exactness>(
    context: &Context,
    shape: &Picture,
    rows: usize,
    pixels: &[f32],
    features: &[f32],
) -> Result<(), TestCaseError> {
    let before = upload::<T>(context, pixels);
    let mut flat = garbage::<T>(context, pixels.len());
    let mut after = garbage::<T>(context, pixels.len());
    let to = &mut flat.as_view_mut();
    flatten::to_channels(context, shape, rows, &before.as_view(), to).unwrap();
    same("features", &download(context, &flat), features)?;
    let to = &mut after.as_view_mut();
    flatten::to_pixels(context, shape, rows, &flat.as_view(), to).unwrap();
    same("pixels", &download(context, &after), pixels)
}

#[test]
fn numbers_are_rounded_to_the_nearest() {
    let Some(context) = context() else { return };
    let mut random = Random::new([3]);
    let mut numbers = noise::<f32>(&mut random, 1000);
    numbers.extend([0.0, f32::INFINITY, f32::NAN, 1e-40, 3e38]);
    let input = upload::<f32>(&context, &numbers);
    let mut output = garbage::<bf16>(&context, numbers.len());
    convert::from_f32(&context, &input.as_view(), &mut output.as_view_mut()).unwrap();
    let expected: Vec<f32> = numbers.iter().map(|&x| bf16::nearest(x)).collect();
    same("bf16", &download(&context, &output), &expected).unwrap();
}
