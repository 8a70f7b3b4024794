//! Random brightness and contrast.

use crate::random::Random;

/// Adds one random number from `-max_delta..max_delta` to all values.
pub(super) fn brightness(values: &mut [f32], max_delta: f32, random: &mut Random) {
    let delta = random.uniform(-max_delta, max_delta);
    values.iter_mut().for_each(|value| *value += delta);
}

/// Moves the values of each channel away from their mean by one random factor from `low..high`.
pub(super) fn contrast(
    values: &mut [f32],
    channels: usize,
    low: f32,
    high: f32,
    random: &mut Random,
) {
    let factor = random.uniform(low, high);
    for plane in values.chunks_exact_mut(values.len() / channels) {
        let mean = plane.iter().sum::<f32>() / plane.len() as f32;
        plane
            .iter_mut()
            .for_each(|value| *value = (*value - mean) * factor + mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_moves_all_values_by_the_same_amount_within_its_limit() {
        for key in 0..100 {
            let mut values = [0.0, 0.25, 0.5];
            brightness(&mut values, 0.2, &mut Random::new([key]));
            let delta = values[0];
            assert!(delta.abs() <= 0.2);
            assert!((values[2] - 0.5 - delta).abs() < 1e-6);
        }
    }

    #[test]
    fn contrast_keeps_the_mean_of_every_channel() {
        let original = [0.0f32, 0.5, 1.0, 0.25, 0.25, 0.75];
        let mut values = original;
        contrast(&mut values, 2, 0.2, 1.8, &mut Random::new([3]));
        let factor = (values[2] - values[0]) / 1.0;
        assert!((0.2..1.8).contains(&factor), "{factor}");
        for (before, after) in original.chunks(3).zip(values.chunks(3)) {
            let mean = |values: &[f32]| values.iter().sum::<f32>() / 3.0;
            assert!((mean(before) - mean(after)).abs() < 1e-6);
            assert!((after[2] - after[0] - factor * (before[2] - before[0])).abs() < 1e-6);
        }
    }
}
