//! Max-pooling beside the CPU's kernel.

use half::bf16;

use super::*;
use crate::cuda::ops::{pool, shape};
use crate::kernel::{Isa, pool as cpu, shape as cpu_shape};
use crate::nn::geometry::{Padding, Side};
use crate::nn::pooling;

#[test]
fn values_places_and_gradients_are_the_cpus() {
    let Some(context) = context() else { return };
    proptest!(cases(48), |(
        (height, width, channels) in (1usize..12, 1usize..12, channels()),
        (window, step) in (prop_oneof![1usize..5, Just(16)], 1usize..4),
        (same, with_bias, rectify, nan) in any::<(bool, bool, bool, bool)>(),
        (rows, seed) in (1usize..4, any::<u64>()),
    )| {
        prop_assume!(same || window <= height.min(width));
        let padding = if same { Padding::Same } else { Padding::Valid };
        let sides = [height, width].map(|size| Side::new(size, window, step, padding));
        let case = Case { channels, rows, sides, with_bias, rectify, nan, seed };
        case.run::<f32>(&context)?;
        case.run::<bf16>(&context)?;
    });
}

struct Case {
    channels: usize,
    rows: usize,
    sides: [Side; 2],
    with_bias: bool,
    rectify: bool,
    nan: bool,
    seed: u64,
}

impl Case {
    fn run<T: Exactness>(&self, context: &Context) -> Result<(), TestCaseError> {
        let &Self {
            channels,
            rows,
            rectify,
            ..
        } = self;
        let [height, width] = self.sides.map(|side| side.size);
        let input = shape::Picture::new(height, width, channels);
        let shape = shape::Pool::new(input, &self.sides).unwrap();
        let (inner, outer) = (shape.input.len(), shape.output.len());
        let mut random = Random::new([self.seed]);
        let values = coarse(&mut random, rows * inner, self.nan);
        let mut bias = noise::<f32>(&mut random, channels);
        // So large that different numbers become equal.
        bias[0] = 1e8;
        let d_output = noise::<T>(&mut random, rows * outer);

        // The CPU's kernel has a row at a time, and channels that are padded.
        let padded = cpu_shape::Picture::new(height, width, channels);
        let cpu_pool = pooling::shape(padded, &self.sides).unwrap();
        let pad = |numbers: &[f32], picture: &cpu_shape::Picture| {
            let mut padded = vec![0.0; picture.len()];
            let pixels = padded.chunks_exact_mut(picture.stride);
            let pixels = pixels.zip(numbers.chunks_exact(channels));
            pixels.for_each(|(to, from)| to[..channels].copy_from_slice(from));
            padded
        };
        let (mut output, mut places, mut d_input) = (vec![], vec![], vec![]);
        for row in 0..rows {
            let mut own = values[row * inner..][..inner].to_vec();
            if self.with_bias {
                own.iter_mut()
                    .enumerate()
                    .for_each(|(i, x)| *x += bias[i % channels]);
            }
            let own = pad(&own, &cpu_pool.input);
            let mut to = vec![0.0; cpu_pool.output.len()];
            let mut at = vec![0; cpu_pool.output.len()];
            cpu::forward(Isa::Portable, &cpu_pool, rectify, &own, &mut to, &mut at);
            // As the device keeps it, which the way back looks at.
            to.iter_mut().for_each(|x| *x = T::nearest(*x));
            let gradient = pad(&d_output[row * outer..][..outer], &cpu_pool.output);
            let mut back = vec![0.0; cpu_pool.input.len()];
            let rectified = rectify.then_some(&*to);
            cpu::backward(
                Isa::Portable,
                &cpu_pool,
                rectified,
                &at,
                &gradient,
                &mut back,
            );
            let stride = padded.stride;
            output.extend(
                to.chunks_exact(stride)
                    .flat_map(|pixel| &pixel[..channels])
                    .copied(),
            );
            places.extend(
                at.chunks_exact(stride)
                    .flat_map(|pixel| &pixel[..channels])
                    .map(|&place| u16::from(place)),
            );
            let back = back
                .chunks_exact(stride)
                .flat_map(|pixel| pixel[..channels].to_vec());
            d_input.extend(back.map(T::nearest));
        }

        let device_bias = upload::<f32>(context, &bias);
        let device_bias = self.with_bias.then(|| device_bias.as_view());
        let input = upload::<T>(context, &values);
        let mut to = garbage::<T>(context, rows * outer);
        let mut at = send(context, &vec![77u16; rows * outer]);
        pool::forward(
            context,
            &shape,
            rows,
            device_bias.as_ref(),
            rectify,
            &input.as_view(),
            &mut to.as_view_mut(),
            &mut at.as_view_mut(),
        )
        .unwrap();
        same("output", &download(context, &to), &output)?;
        prop_assert_eq!(context.gpu.stream().clone_dtoh(&at).unwrap(), places);
        let d_output = upload::<T>(context, &d_output);
        let mut back = garbage::<T>(context, rows * inner);
        let rectified = rectify.then(|| to.as_view());
        pool::backward(
            context,
            &shape,
            rows,
            rectified.as_ref(),
            &at.as_view(),
            &d_output.as_view(),
            &mut back.as_view_mut(),
        )
        .unwrap();
        same("gradient", &download(context, &back), &d_input)
    }
}

#[test]
fn windows_that_a_place_does_not_count_are_refused() {
    let side = Side::new(300, 257, 1, Padding::Valid);
    let picture = shape::Picture::new(300, 300, 3);
    assert!(shape::Pool::new(picture, &[side; 2]).is_err());
    let side = Side::new(299, 3, 1, Padding::Valid);
    assert!(shape::Pool::new(picture, &[side; 2]).is_err());
}
