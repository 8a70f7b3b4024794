//! What is done to gradients between the backward pass and the step.

use rayon::prelude::*;

/// How many numbers are summed as one: it decides how sums are rounded, and so must not depend on the number of threads.
const CHUNK: usize = 16 << 10;

/// Adds up what several batches give.
#[derive(Debug)]
pub(super) struct Accumulation {
    /// How many make a step.
    pub(super) batches: usize,
    sums: Vec<f32>,
}

impl Accumulation {
    /// Of this many batches for each step.
    pub(super) fn new(batches: usize) -> Self {
        Self {
            batches,
            sums: Vec::new(),
        }
    }

    /// Adds what batch `index` of a step gave, and makes the last one's `own` the sum of all.
    pub(super) fn add(&mut self, index: usize, own: &mut [f32]) {
        if index == 0 {
            self.sums.clear();
            self.sums.extend_from_slice(own);
            return;
        }
        for (sum, own) in self.sums.iter_mut().zip(&mut *own) {
            *sum += *own;
        }
        if index + 1 == self.batches {
            own.copy_from_slice(&self.sums);
        }
    }
}

/// Shortens gradients that are too long.
#[derive(Debug)]
pub(super) struct Clipping {
    largest_norm: f32,
    /// The sums of squares of the chunks.
    squares: Vec<f64>,
}

impl Clipping {
    /// To this length, all gradients as one vector.
    pub(super) fn new(largest_norm: f32) -> Self {
        Self {
            largest_norm,
            squares: Vec::new(),
        }
    }

    /// Shortens these, if they are longer. What is no number stays so.
    pub(super) fn clip(&mut self, gradients: &mut [f32]) {
        let squares = |chunk: &[f32]| chunk.iter().map(|&own| f64::from(own).powi(2)).sum();
        let chunks = gradients.par_chunks(CHUNK);
        chunks.map(squares).collect_into_vec(&mut self.squares);
        let norm = self.squares.iter().sum::<f64>().sqrt();
        let largest = f64::from(self.largest_norm);
        if norm > largest {
            let factor = (largest / norm) as f32;
            let chunks = gradients.par_chunks_mut(CHUNK);
            chunks.for_each(|chunk| chunk.iter_mut().for_each(|own| *own *= factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use feedline_pipeline::Random;
    use rayon::ThreadPoolBuilder;

    #[test]
    fn gradients_that_are_too_long_keep_their_direction_and_others_all() {
        let mut gradients = [3.0, -4.0];
        Clipping::new(5.0).clip(&mut gradients);
        assert_eq!(gradients, [3.0, -4.0]);
        Clipping::new(2.5).clip(&mut gradients);
        assert_eq!(gradients, [1.5, -2.0]);
    }

    #[test]
    fn clipping_gives_the_same_bits_on_any_number_of_threads() {
        let mut random = Random::new([1]);
        let gradients: Vec<f32> = (0..3 * CHUNK + 5)
            .map(|_| random.uniform(-1.0, 1.0))
            .collect();
        let clipped = |threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            let mut own = gradients.clone();
            pool.unwrap().install(|| Clipping::new(0.7).clip(&mut own));
            own
        };
        let one = clipped(1);
        let norm = one
            .iter()
            .map(|&own| f64::from(own).powi(2))
            .sum::<f64>()
            .sqrt();
        assert!((norm - 0.7).abs() < 1e-6, "{norm}");
        assert!(one == clipped(3));
    }
}
