//! Mean and variance of a channel, from which contrast and standardization follow.

/// Of all values of one channel of one sample.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Moments {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

/// The sum and the sum of squares of some bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ByteSums {
    sum: u64,
    squares: u64,
}

impl ByteSums {
    #[inline(always)]
    pub(super) fn add(&mut self, bytes: &[u8]) {
        // In chunks whose sums fit into 32 bits.
        for chunk in bytes.chunks(1 << 15) {
            let (mut sum, mut squares) = (0u32, 0u32);
            for &byte in chunk {
                let byte = u32::from(byte);
                sum += byte;
                squares += byte * byte;
            }
            self.sum += u64::from(sum);
            self.squares += u64::from(squares);
        }
    }
}

impl Moments {
    /// Of `count` bytes, those that are not among `sums` being 0. Exact but for one rounding each.
    pub(super) fn of_bytes(sums: ByteSums, count: usize) -> Self {
        let (sum, squares, count) = (
            u128::from(sums.sum),
            u128::from(sums.squares),
            count as u128,
        );
        // Not the difference of two roundings: in integers, even pictures have a variance of exactly 0.
        let spread = count * squares - sum * sum;
        Self {
            mean: sum as f64 / count as f64,
            variance: spread as f64 / (count * count) as f64,
        }
    }

    pub(super) fn of_values(values: &[f32]) -> Self {
        let count = values.len() as f64;
        let mean = sum(values, |value| value) / count;
        let variance = sum(values, |value| (value - mean) * (value - mean)) / count;
        Self { mean, variance }
    }
}

/// The sum of `of` each value, in eight lanes: an order of additions that is fast and always the same.
fn sum(values: &[f32], of: impl Fn(f64) -> f64) -> f64 {
    let (eights, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for eight in eights {
        for (lane, &value) in lanes.iter_mut().zip(eight) {
            *lane += of(f64::from(value));
        }
    }
    let rest = rest.iter().map(|&value| of(f64::from(value)));
    lanes.into_iter().chain(rest).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn moments_of_bytes_and_of_the_same_values_agree(
            bytes in prop::collection::vec(any::<u8>(), 1..100), padding in 0usize..20,
        ) {
            let mut sums = ByteSums::default();
            let (first, second) = bytes.split_at(bytes.len() / 2);
            sums.add(first);
            sums.add(second);
            let exact = Moments::of_bytes(sums, bytes.len() + padding);
            let values: Vec<f32> =
                bytes.iter().map(|&byte| f32::from(byte)).chain(vec![0.0; padding]).collect();
            let found = Moments::of_values(&values);
            prop_assert!((exact.mean - found.mean).abs() < 1e-9);
            prop_assert!((exact.variance - found.variance).abs() < 1e-7);
        }
    }

    #[test]
    fn even_channels_have_no_variance() {
        let mut sums = ByteSums::default();
        sums.add(&[255; 100_000]);
        let expected = Moments {
            mean: 255.0,
            variance: 0.0,
        };
        assert_eq!(Moments::of_bytes(sums, 100_000), expected);
        assert_eq!(Moments::of_values(&[255.0; 1001]), expected);
    }
}
