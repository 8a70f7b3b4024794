//! What the kernels' tests share.

use feedline_pipeline::Random;
use proptest::prelude::*;

use super::shape::Picture;

/// Numbers from -1 to 1.
pub(super) fn noise(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| random.uniform(-1.0, 1.0)).collect()
}

/// Pictures of numbers from -1 to 1, one after the other; what pads their channels is 0.
pub(super) fn pictures(random: &mut Random, shape: &Picture, count: usize) -> Vec<f32> {
    rows(random, count * shape.pixels(), shape.channels, shape.stride)
}

/// Rows of `length` numbers from -1 to 1, and zeros up to `stride`.
pub(super) fn rows(random: &mut Random, count: usize, length: usize, stride: usize) -> Vec<f32> {
    let mut numbers = vec![0.0; count * stride];
    for row in numbers.chunks_exact_mut(stride) {
        row[..length].fill_with(|| random.uniform(-1.0, 1.0));
    }
    numbers
}

/// A sum of products in `f64`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) value: f64,
    /// The sum of the products' magnitudes, which is what rounding follows.
    magnitude: f64,
}

impl Sum {
    pub(super) fn of(value: f32) -> Self {
        let mut sum = Self::default();
        sum.add(value, 1.0);
        sum
    }

    pub(super) fn add(&mut self, x: f32, y: f32) {
        let product = f64::from(x) * f64::from(y);
        self.value += product;
        self.magnitude += product.abs();
    }

    pub(super) fn rectified(self, rectify: bool) -> Self {
        let value = if rectify {
            self.value.max(0.0)
        } else {
            self.value
        };
        Self { value, ..self }
    }
}

/// Fails unless every number is the expected one, but for rounding.
pub(super) fn check(
    what: impl std::fmt::Debug,
    found: &[f32],
    expected: &[Sum],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected.value).abs();
        prop_assert!(
            error <= 2e-6 * expected.magnitude,
            "{what:?}, number {index}: {found}, expected {expected:?}"
        );
    }
    Ok(())
}

/// How many cases a property is tried with: few where an interpreter runs the code.
pub(super) fn cases(count: u32) -> ProptestConfig {
    if cfg!(miri) {
        // Miri has neither files nor time.
        let config = ProptestConfig::with_cases(count.div_ceil(32));
        return ProptestConfig {
            failure_persistence: None,
            ..config
        };
    }
    ProptestConfig::with_cases(count)
}

/// The largest size of something: small where an interpreter runs the code.
pub(super) const fn most(size: usize, under_miri: usize) -> usize {
    if cfg!(miri) { under_miri } else { size }
}
