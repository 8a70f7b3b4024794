use super::*;
use proptest::prelude::*;

const SHAPE: Shape = Shape::new(3, 4, 5);

fn pixels() -> Vec<u8> {
    (0..SHAPE.elements())
        .map(|i| (i * 37 % 256) as u8)
        .collect()
}

fn apply(transform: &Transform, index: usize) -> Result<Vec<f32>> {
    let program = Program::<f32>::new(transform, SHAPE)?;
    let mut output = vec![f32::NAN; program.output_shape().elements()];
    let key = SampleKey {
        seed: 1,
        epoch: 2,
        index,
        repeat: 0,
    };
    program.apply(
        Sample {
            pixels: &pixels(),
            label: 0,
        },
        key,
        &mut program.scratch(),
        &mut output,
    )?;
    Ok(output)
}

#[test]
fn no_operation_gives_the_stored_bytes() {
    let expected: Vec<f32> = pixels().into_iter().map(f32::from).collect();
    assert_eq!(apply(&Transform::new(), 0).unwrap(), expected);
}

#[test]
fn normalize_agrees_with_its_formula_fused_or_not() {
    let (mean, std) = ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3]);
    let fused = apply(&Transform::new().scale().normalize(mean, std), 0).unwrap();
    let apart = Transform::new()
        .map(|_| Ok(()))
        .scale()
        .normalize(mean, std);
    let apart = apply(&apart, 0).unwrap();
    for (i, byte) in pixels().into_iter().enumerate() {
        let channel = i / 20;
        let expected = (f32::from(byte) / 255.0 - mean[channel]) / std[channel];
        assert!(
            (fused[i] - expected).abs() < 1e-5,
            "{} {expected}",
            fused[i]
        );
        assert!(
            (apart[i] - expected).abs() < 1e-5,
            "{} {expected}",
            apart[i]
        );
    }
}

#[test]
fn random_crops_reach_every_place_and_flips_both_sides() {
    let transform = Transform::new().random_crop(3, 3, 1).random_flip();
    let program = Program::<f32>::new(&transform, Shape::new(1, 4, 4)).unwrap();
    let pixels: Vec<u8> = (1..=16).collect();
    let mut seen = std::collections::HashSet::new();
    for index in 0..2000 {
        let mut output = vec![0.0; 9];
        let key = SampleKey {
            seed: 0,
            epoch: 0,
            index,
            repeat: 0,
        };
        program
            .apply(
                Sample {
                    pixels: &pixels,
                    label: 0,
                },
                key,
                &mut program.scratch(),
                &mut output,
            )
            .unwrap();
        seen.insert(
            output
                .into_iter()
                .map(|value| value as u8)
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(seen.len(), 4 * 4 * 2);
}

#[test]
fn random_choices_differ_between_samples_epochs_and_operations() {
    let transform = Transform::new()
        .random_brightness(1.0)
        .random_brightness(1.0);
    let program = Program::<f32>::new(&transform, Shape::new(1, 1, 1)).unwrap();
    let drawn = |seed, epoch, index, repeat| {
        let mut output = [0.0];
        let sample = Sample {
            pixels: &[0],
            label: 0,
        };
        let key = SampleKey {
            seed,
            epoch,
            index,
            repeat,
        };
        program
            .apply(sample, key, &mut program.scratch(), &mut output)
            .unwrap();
        output[0]
    };
    let value = |seed, epoch, index| drawn(seed, epoch, index, 0);
    assert_ne!(value(1, 2, 3), drawn(1, 2, 3, 1));
    assert_eq!(value(1, 2, 3).to_bits(), value(1, 2, 3).to_bits());
    for other in [value(9, 2, 3), value(1, 9, 3), value(1, 2, 9)] {
        assert_ne!(value(1, 2, 3), other);
    }
    let one = Program::<f32>::new(
        &Transform::new().random_brightness(1.0),
        Shape::new(1, 1, 1),
    )
    .unwrap();
    let mut single = [0.0];
    let key = SampleKey {
        seed: 1,
        epoch: 2,
        index: 3,
        repeat: 0,
    };
    one.apply(
        Sample {
            pixels: &[0],
            label: 0,
        },
        key,
        &mut program.scratch(),
        &mut single,
    )
    .unwrap();
    assert!(
        (value(1, 2, 3) - 2.0 * single[0]).abs() > 1e-6,
        "both operations drew alike"
    );
}

#[test]
fn operations_that_cannot_work_are_refused_before_any_sample() {
    let new = Transform::new;
    for (transform, expected) in [
        (
            new().random_crop(7, 5, 1),
            "crop is 7x5, expected between 1x1 and the padded picture, 6x7",
        ),
        (new().random_crop(0, 5, 0), "crop is 0x5"),
        (new().center_crop(5, 5), "crop is 5x5"),
        (new().random_crop(usize::MAX, 1, 0), "crop is"),
        (new().random_crop(4, 4, usize::MAX), "crop padding is"),
        (new().random_crop(2, 2, 0).center_crop(1, 1), "two crops"),
        (new().scale().random_flip(), "random_flip behind scale"),
        (
            new().normalize([0.0; 3], [1.0, 0.0, 1.0]),
            "standard deviation is 0, expected a number above 0",
        ),
        (
            new().normalize([0.0; 3], [1.0, f32::NAN, 1.0]),
            "standard deviation is NaN",
        ),
        (
            new().normalize([0.0], [1.0]),
            "mean is 1 values, expected one for each of the 3 channels",
        ),
        (new().normalize([f32::INFINITY; 3], [1.0; 3]), "mean is inf"),
        (new().random_brightness(-1.0), "brightness delta is -1"),
        (new().random_contrast(2.0, 1.0), "contrast range is 2..1"),
    ] {
        let error = apply(&transform, 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} does not say {expected}");
    }
}

#[test]
fn a_failing_map_names_the_sample() {
    let transform = Transform::new().map(|_| Err("no thanks".into()));
    let error = apply(&transform, 17).unwrap_err().to_string();
    assert_eq!(error, "sample 17 failed in map: no thanks");
}

/// One operation of the naive reference, on all values of a sample, in `f64`.
#[derive(Debug, Clone)]
enum Naive {
    Scale,
    Normalize(Vec<f32>, Vec<f32>),
    Brightness(f32),
    Contrast(f32, f32),
    Standardize,
    Square,
}

impl Naive {
    fn add_to(&self, transform: Transform) -> Transform {
        match self.clone() {
            Self::Scale => transform.scale(),
            Self::Normalize(mean, std) => transform.normalize(mean, std),
            Self::Brightness(delta) => transform.random_brightness(delta),
            Self::Contrast(low, high) => transform.random_contrast(low, high),
            Self::Standardize => transform.standardize(),
            Self::Square => transform.map(|sample| {
                // Small enough to stay finite, however many there are.
                sample
                    .pixels
                    .iter_mut()
                    .for_each(|value| *value = *value * *value / 1000.0);
                Ok(())
            }),
        }
    }

    fn apply(&self, values: &mut [f64], channels: usize, mut random: Random) {
        let plane = values.len() / channels;
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        match self {
            Self::Scale => values.iter_mut().for_each(|value| *value /= 255.0),
            Self::Normalize(means, stds) => {
                for (i, value) in values.iter_mut().enumerate() {
                    let channel = i / plane;
                    *value = (*value - f64::from(means[channel])) / f64::from(stds[channel]);
                }
            }
            Self::Brightness(delta) => {
                let delta = f64::from(random.uniform(-delta, *delta));
                values.iter_mut().for_each(|value| *value += delta);
            }
            Self::Contrast(low, high) => {
                let factor = f64::from(random.uniform(*low, *high));
                for plane in values.chunks_mut(plane) {
                    let mean = mean(plane);
                    plane
                        .iter_mut()
                        .for_each(|value| *value = (*value - mean) * factor + mean);
                }
            }
            Self::Standardize => {
                let mean = mean(values);
                let count = values.len() as f64;
                let variance = values
                    .iter()
                    .map(|value| (value - mean).powi(2))
                    .sum::<f64>()
                    / count;
                let deviation = variance.sqrt().max(1.0 / count.sqrt());
                values
                    .iter_mut()
                    .for_each(|value| *value = (*value - mean) / deviation);
            }
            Self::Square => values
                .iter_mut()
                .for_each(|value| *value = *value * *value / 1000.0),
        }
    }
}

fn operations() -> impl Strategy<Value = Vec<Naive>> {
    let three = |range: std::ops::Range<f32>| prop::collection::vec(range, 3);
    let operation = prop_oneof![
        Just(Naive::Scale),
        (three(-1.0..1.0), three(0.2..2.0)).prop_map(|(mean, std)| Naive::Normalize(mean, std)),
        (0.0f32..50.0).prop_map(Naive::Brightness),
        (0.0f32..1.0, 1.0f32..2.0).prop_map(|(low, high)| Naive::Contrast(low, high)),
        Just(Naive::Standardize),
        Just(Naive::Square),
    ];
    prop::collection::vec(operation, 0..6)
}

proptest! {
    /// However operations are folded together, they do what each of them says, one after the other.
    #[test]
    fn any_list_of_operations_agrees_with_a_naive_loop(
        operations in operations(),
        crop in any::<bool>(),
        index in 0usize..1000,
        brightest in 1u32..256,
    ) {
        let pixels: Vec<u8> =
            (0..SHAPE.elements() as u32).map(|i| (i * 37 % brightest) as u8).collect();
        let start = if crop { Transform::new().random_crop(3, 5, 2).random_flip() } else { Transform::new() };
        let first = if crop { 2 } else { 0 };
        let key = SampleKey { seed: 1, epoch: 2, index, repeat: 0 };
        let sample = Sample { pixels: &pixels, label: 0 };
        let run = |transform: &Transform| {
            let program = Program::<f32>::new(transform, SHAPE).unwrap();
            let mut output = vec![f32::NAN; program.output_shape().elements()];
            program.apply(sample, key, &mut program.scratch(), &mut output).unwrap();
            output
        };
        let mut expected: Vec<f64> = run(&start).into_iter().map(f64::from).collect();
        let mut largest = 1.0f64;
        let mut transform = start;
        for (place, operation) in operations.iter().enumerate() {
            operation.apply(&mut expected, 3, key.random(first + place));
            transform = operation.add_to(transform);
            largest = expected.iter().fold(largest, |largest, value| largest.max(value.abs()));
        }
        for (found, expected) in run(&transform).into_iter().zip(expected) {
            // Values are rounded to f32 before and after each map: what cancels later stays.
            prop_assert!((f64::from(found) - expected).abs() <= 2e-5 * largest, "{found} {expected} of {largest}");
        }
    }
}

#[test]
fn shapes_of_more_values_than_memory_has_are_refused() {
    let half = usize::MAX / 2;
    for shape in [
        Shape::new(2, half, 2),
        Shape::new(usize::MAX, usize::MAX, usize::MAX),
        Shape::new(1, half, 1),
        Shape::new(half, 0, half),
    ] {
        let error = Program::<u8>::new(&Transform::new(), shape).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    // Each side of the crop is allowed, and all of it is too much.
    let (long, wide) = (Shape::new(4, 1 << 29, 1 << 29), 3 << 29);
    let crop = Transform::new().random_crop(wide, wide, 1 << 29);
    assert!(Program::<u8>::new(&Transform::new(), long).is_ok());
    let error = Program::<u8>::new(&crop, long).unwrap_err().to_string();
    assert!(error.contains("shape of a crop is 4x"), "{error}");
}
