//! Random numbers that are a pure function of what they are for.
//!
//! A worker has no generator of its own: a choice is keyed by (seed, epoch, sample, operation), so it is the
//! same whichever thread makes it, after a resume, and on any number of replicas. The numbers come from
//! SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), whose
//! output function is also what mixes the key.

/// The increment of SplitMix64: the golden ratio in 64 bits.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64: a bijection in which every input bit moves every output bit.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stream of random numbers that belongs to one key.
///
/// ```
/// use feedline_pipeline::Random;
///
/// let mut a = Random::new([42, 0, 7]);
/// let mut b = Random::new([42, 0, 7]);
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert_ne!(Random::new([42, 0, 8]).next_u64(), Random::new([42, 0, 7]).next_u64());
/// ```
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `key`. Keys of different length or order have unrelated streams.
    pub fn new<const N: usize>(key: [u64; N]) -> Self {
        let mut state = mix(N as u64 + GOLDEN);
        for part in key {
            state = mix(state.wrapping_add(GOLDEN) ^ mix(part.wrapping_add(GOLDEN)));
        }
        Self { state }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number in `0..bound`, without the bias of a remainder beyond 2⁻⁶⁴ · `bound`.
    ///
    /// # Panics
    ///
    /// Panics if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        // The high half of a 128-bit product maps 0..2⁶⁴ onto 0..bound evenly (Lemire 2019).
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`, a multiple of 2⁻²⁴.
    pub fn unit(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 * (1.0 / (1u32 << 24) as f32)
    }

    /// A number in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_key_never_changes() {
        // Golden: a change here changes everybody's augmentation.
        let mut random = Random::new([42, 1, 2, 3]);
        let first: Vec<u64> = (0..3).map(|_| random.next_u64()).collect();
        let expected = [
            12904894890987700373,
            9015169807691358588,
            10829748165799947862,
        ];
        assert_eq!(first, expected);
    }

    #[test]
    fn uniform_numbers_fill_their_range_evenly() {
        let mut random = Random::new([7]);
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[random.below(10) as usize] += 1;
            let x = random.uniform(-1.0, 1.0);
            assert!((-1.0..1.0).contains(&x));
        }
        // Nine degrees of freedom: chi-square above 40 has a probability of 1e-5.
        let chi: f64 = counts
            .iter()
            .map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(chi < 40.0, "{counts:?}");
    }

    #[test]
    fn neighbouring_keys_are_unrelated() {
        // Ones in the difference of two neighbours' first numbers: 32 of 64 on average.
        let ones: u32 = (0..1000u64)
            .map(|k| {
                (Random::new([1, k]).next_u64() ^ Random::new([1, k + 1]).next_u64()).count_ones()
            })
            .sum();
        assert!((31_000..33_000).contains(&ones), "{ones}");
    }
}
