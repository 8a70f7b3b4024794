//! An average of the weights over the last steps.

use rayon::prelude::*;

use crate::optim::CHUNK;

/// An exponential moving average of what is trained. It is the same on every replica, as the weights are.
#[derive(Debug)]
pub(super) struct Averaging {
    decay: f32,
    /// All there is to it besides the number of steps.
    pub(super) values: Vec<f32>,
}

impl Averaging {
    /// Begins with these weights.
    pub(super) fn new(decay: f32, values: &[f32]) -> Self {
        Self {
            decay,
            values: values.to_vec(),
        }
    }

    /// Takes in the weights after step `step`, counted from 0 over all epochs.
    pub(super) fn take_in(&mut self, step: u64, weights: &[f32]) {
        let own = 1.0 - self.kept(step);
        let chunks = self.values.par_chunks_mut(CHUNK);
        chunks
            .zip(weights.par_chunks(CHUNK))
            .for_each(|(averages, weights)| {
                for (average, weight) in averages.iter_mut().zip(weights) {
                    *average += own * (weight - *average);
                }
            });
    }

    /// How much of the average stays in a step: less in the first ones, so that it forgets where training began.
    fn kept(&self, step: u64) -> f32 {
        let step = step as f64;
        self.decay.min(((1.0 + step) / (10.0 + step)) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_the_weighted_sum_of_all_weights_seen() {
        let mut averaging = Averaging::new(0.6, &[5.0]);
        let weights = [
            1.0f32, -2.0, 4.0, 0.5, 3.0, 8.0, -1.0, 2.0, 7.0, 6.0, 1.5, 2.5,
        ];
        let mut expected = 5.0f64;
        for (step, weight) in weights.into_iter().enumerate() {
            averaging.take_in(step as u64, &[weight]);
            let kept = 0.6f64.min((1.0 + step as f64) / (10.0 + step as f64));
            expected = kept * expected + (1.0 - kept) * f64::from(weight);
            assert!((f64::from(averaging.values[0]) - expected).abs() < 1e-5);
        }
        // Warm-up is over after 12.5 steps.
        assert!(averaging.kept(12) < 0.6 && averaging.kept(13) == 0.6);
    }
}
