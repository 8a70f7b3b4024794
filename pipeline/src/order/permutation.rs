//! A shuffle in O(1) memory: a keyed permutation of `0..len`.
//!
//! A Feistel network (Luby and Rackoff: "How to construct pseudorandom permutations from pseudorandom
//! functions", SIAM J. Comput. 1988) permutes the numbers of `bits` bits; a result that is not below `len` is
//! permuted again until it is ("cycle walking", Black and Rogaway: "Ciphers with arbitrary finite domains",
//! CT-RSA 2002). At least half of the numbers of `bits` bits are below `len`, so that takes two rounds of the
//! network on average at the worst.

use crate::random::{Random, mix};

/// Enough for small lengths, too: with fewer rounds, permutations of a few dozen numbers are visibly skewed.
const ROUNDS: usize = 8;

/// A pseudo-random bijection of `0..len` that takes a few dozen bytes whatever the length.
///
/// ```
/// use feedline_pipeline::order::Permutation;
///
/// let permutation = Permutation::new(1_000_000_000_000, 42);
/// assert!(permutation.apply(0) < 1_000_000_000_000);
/// assert_ne!(permutation.apply(0), permutation.apply(1));
/// ```
#[derive(Debug, Clone)]
pub struct Permutation {
    len: u64,
    low_bits: u32,
    low_mask: u64,
    high_mask: u64,
    round_keys: [u64; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..len` that belongs to `key`.
    pub fn new(len: u64, key: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let low_bits = bits / 2;
        let mut random = Random::new([key, len]);
        Self {
            len,
            low_bits,
            low_mask: (1 << low_bits) - 1,
            high_mask: (1 << (bits - low_bits)) - 1,
            round_keys: std::array::from_fn(|_| random.next_u64()),
        }
    }

    /// Where `position` goes.
    ///
    /// # Panics
    ///
    /// Panics if `position` is not below the length.
    pub fn apply(&self, position: u64) -> u64 {
        assert!(
            position < self.len,
            "position {position} of a permutation of {}",
            self.len
        );
        let mut value = self.network(position);
        while value >= self.len {
            value = self.network(value);
        }
        value
    }

    /// Each round changes one half by a function of the other, which is what makes it a bijection.
    fn network(&self, value: u64) -> u64 {
        let mut low = value & self.low_mask;
        let mut high = value >> self.low_bits;
        for keys in self.round_keys.chunks_exact(2) {
            high ^= mix(low ^ keys[0]) & self.high_mask;
            low ^= mix(high ^ keys[1]) & self.low_mask;
        }
        high << self.low_bits | low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(len: u64, key: u64) -> Vec<u64> {
        let permutation = Permutation::new(len, key);
        (0..len)
            .map(|position| permutation.apply(position))
            .collect()
    }

    proptest! {
        #[test]
        fn a_permutation_is_a_bijection_for_any_length(len in 0u64..5000, key: u64) {
            let mut seen = all(len, key);
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..len));
        }

        #[test]
        fn huge_lengths_stay_in_range(len in 1u64.., key: u64, position: u64) {
            prop_assert!(Permutation::new(len, key).apply(position % len) < len);
        }
    }

    #[test]
    fn lengths_around_powers_of_two_are_bijections() {
        for len in [0, 1, 2, 3, 4, 5, 255, 256, 257, 65_535, 65_536, 65_537] {
            let mut seen = all(len, 3);
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..len), "{len}");
        }
    }

    #[test]
    fn every_sample_reaches_every_position_equally_often() {
        // 10 samples, 20,000 keys: each (sample, position) pair is expected 2,000 times.
        let (len, keys) = (10u64, 20_000u64);
        let mut counts = vec![0u32; (len * len) as usize];
        for key in 0..keys {
            for (position, index) in all(len, key).into_iter().enumerate() {
                counts[position * len as usize + index as usize] += 1;
            }
        }
        let expected = (keys / len) as f64;
        let chi: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - expected).powi(2) / expected)
            .sum();
        // 81 degrees of freedom: above 150 with a probability of 1e-5.
        assert!(chi < 150.0, "chi-square {chi}");
    }

    #[test]
    fn all_orders_of_four_samples_are_equally_likely() {
        let mut counts = std::collections::HashMap::new();
        for key in 0..24_000 {
            *counts.entry(all(4, key)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let chi: f64 = counts
            .values()
            .map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0)
            .sum();
        // 23 degrees of freedom: above 63 with a probability of 1e-5.
        assert!(chi < 63.0, "chi-square {chi}");
    }

    #[test]
    fn samples_travel_as_far_as_in_a_perfect_shuffle() {
        let len = 50_000u64;
        let moved: f64 = all(len, 42)
            .into_iter()
            .enumerate()
            .map(|(position, index)| (position as f64 - index as f64).abs())
            .sum::<f64>()
            / len as f64;
        // A uniform shuffle moves a sample by a third of the length; the standard error is about 50.
        assert!(
            (moved - len as f64 / 3.0).abs() < 300.0,
            "mean displacement {moved}"
        );
        let neighbours = all(len, 42)
            .windows(2)
            .filter(|pair| pair[0].abs_diff(pair[1]) == 1)
            .count();
        assert!(
            neighbours < 12,
            "{neighbours} neighbours stayed together, 2 are expected"
        );
    }
}
