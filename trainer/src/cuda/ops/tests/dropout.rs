//! Dropout beside the layer on candle's tape.

use candle_core::{Device, Tensor};
use half::bf16;

use super::*;
use crate::cuda::ops::dropout;
use crate::cuda::ops::shape::Picture;
use crate::nn::{Dropout, Layer, Pass};

#[test]
fn masks_are_the_cpus() {
    let Some(context) = context() else { return };
    proptest!(cases(24), |(
        (height, width, channels) in (1usize..6, 1usize..6, channels()),
        (rows, first_row, rate) in (1usize..4, 0usize..100, 0f32..0.9),
        (step, layer, seed) in any::<(u64, u8, u64)>(),
    )| {
        let shape = Picture::new(height, width, channels);
        let pass = Pass::training(seed, step, first_row).in_layer(layer.into());
        let (area, count) = (shape.pixels(), rows * shape.len());
        let values = noise::<bf16>(&mut Random::new([seed]), count);
        // The layer has channels first.
        let planes = Tensor::from_slice(&values, (rows, area, channels), &Device::Cpu).unwrap();
        let planes = planes.transpose(1, 2).unwrap().contiguous().unwrap();
        let dropped = Dropout::new(rate).forward(&planes, &[], &pass).unwrap();
        let dropped = dropped.transpose(1, 2).unwrap().flatten_all().unwrap();
        let expected = dropped.to_vec1::<f32>().unwrap();
        let rounded: Vec<f32> = expected.iter().map(|&x| bf16::nearest(x)).collect();
        same("f32", &dropped_on::<f32>(&context, &shape, rows, rate, &pass, &values), &expected)?;
        same("bf16", &dropped_on::<bf16>(&context, &shape, rows, rate, &pass, &values), &rounded)?;
        let evaluation = Pass::evaluation();
        same("copy", &dropped_on::<bf16>(&context, &shape, rows, rate, &evaluation, &values), &values)?;
    });
}

fn dropped_on<T: Exactness>(
    context: &Context,
    shape: &Picture,
    rows: usize,
    rate: f32,
    pass: &Pass,
    values: &[f32],
) -> Vec<f32> {
    let input = upload::<T>(context, values);
    let mut output = garbage::<T>(context, values.len());
    let to = &mut output.as_view_mut();
    dropout::apply(context, shape, rows, rate, pass, &input.as_view(), to).unwrap();
    download(context, &output)
}
