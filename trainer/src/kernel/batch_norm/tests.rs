//! Tests: against naive loops in `f64`.

use feedline_pipeline::Random;
use proptest::prelude::*;

use super::*;
use crate::kernel::BLOCK;
use crate::kernel::testing::{Sum, cases, check, most, noise};

/// `Σ x · y` as the kernels have it: `x` is rounded to `f32` before it is multiplied, as in `input − center`.
fn line(terms: &[(f32, f32)]) -> Sum {
    let mut sum = Sum::default();
    for &(x, y) in terms {
        sum.add(x, y);
    }
    sum
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn sums_and_lines_are_those_of_naive_loops(
        (pixels, blocks, seed) in (0..most(40, 5), 1..most(8, 5), any::<u64>()),
        square in any::<bool>(),
    ) {
        let channels = blocks * BLOCK;
        let random = &mut Random::new([seed]);
        let [input, gradients] = [0; 2].map(|_| noise(random, pixels * channels));
        let [center, factor, offset, slope] = [0; 4].map(|_| noise(random, channels));
        let [before, more] = [0; 2].map(|_| noise(random, channels));
        let begin = |own: &[f32]| own.iter().map(|&x| Sum::of(x)).collect::<Vec<_>>();
        let distance = |index: usize| input[index] - center[index % channels];
        for isa in Isa::available() {
            let (mut sums, mut expected) = (before.clone(), begin(&before));
            for index in 0..input.len() {
                let by = if square { distance(index) } else { 1.0 };
                expected[index % channels].add(distance(index), by);
            }
            sum(isa, square, &input, &center, &mut sums);
            check((isa, "sum"), &sums, &expected)?;

            let mut output = vec![f32::NAN; input.len()];
            normalize(isa, &input, (&center, &factor, &offset), &mut output);
            let expected: Vec<_> = (0..input.len()).map(|index| {
                let channel = index % channels;
                line(&[(distance(index), factor[channel]), (offset[channel], 1.0)])
            }).collect();
            check((isa, "normalize"), &output, &expected)?;

            let (mut sums, mut products) = (before.clone(), more.clone());
            let (mut of_sums, mut of_products) = (begin(&before), begin(&more));
            for (index, &gradient) in gradients.iter().enumerate() {
                of_sums[index % channels].add(gradient, 1.0);
                of_products[index % channels].add(gradient, distance(index));
            }
            gradient_sums(isa, &input, &center, &gradients, (&mut sums, &mut products));
            check((isa, "gradient sums"), &sums, &of_sums)?;
            check((isa, "gradient products"), &products, &of_products)?;

            let lines = GradientLines {
                center: &center,
                factor: &factor,
                slope: &slope,
                offset: &offset,
            };
            let mut d_input = vec![f32::NAN; input.len()];
            gradient(isa, &input, &lines, &gradients, &mut d_input);
            let expected: Vec<_> = (0..input.len()).map(|index| {
                let channel = index % channels;
                line(&[
                    (gradients[index], factor[channel]),
                    (distance(index), slope[channel]),
                    (offset[channel], 1.0),
                ])
            }).collect();
            check((isa, "gradient"), &d_input, &expected)?;
        }
    }
}

#[test]
fn nan_stays_in_its_channel() {
    let mut input = vec![1.0; 3 * BLOCK];
    input[BLOCK + 2] = f32::NAN;
    for isa in Isa::available() {
        let mut sums = vec![0.0; BLOCK];
        sum(isa, true, &input, &[0.5; BLOCK], &mut sums);
        assert!(
            sums.iter()
                .enumerate()
                .all(|(channel, x)| x.is_nan() == (channel == 2))
        );
    }
}
