//! Eight pixels at once, in vector registers where the processor has them.
//!
//! Rows of a crop are short, and compilers make little of short loops; eight pixels are a step that suits every row.
//! All implementations give the same bits: nothing is fused, and nothing is added up in another order.

use super::affine::Affine;

/// A way of computing with eight values; a proof that the processor has it.
pub trait Simd: Copy {
    /// Each byte as a value on the line `affine`.
    fn affine(self, bytes: [u8; 8], affine: Affine) -> [f32; 8];
}

/// What every processor has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    #[inline(always)]
    fn affine(self, bytes: [u8; 8], affine: Affine) -> [f32; 8] {
        bytes.map(|byte| affine.apply(f32::from(byte)))
    }
}

/// AVX2, of x86-64 processors since 2013.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// The proof, if the processor has it.
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Simd for Avx2 {
    #[inline(always)]
    fn affine(self, bytes: [u8; 8], affine: Affine) -> [f32; 8] {
        // SAFETY: whoever has `self` has asked the processor.
        unsafe { affine_avx2(bytes, affine) }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn affine_avx2(bytes: [u8; 8], affine: Affine) -> [f32; 8] {
    use std::arch::x86_64::{
        _mm_cvtsi64_si128, _mm256_add_ps, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_mul_ps,
        _mm256_set1_ps,
    };
    let bytes = _mm_cvtsi64_si128(i64::from_le_bytes(bytes));
    let values = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    let scaled = _mm256_mul_ps(values, _mm256_set1_ps(affine.factor));
    let moved = _mm256_add_ps(scaled, _mm256_set1_ps(affine.offset));
    // SAFETY: both are eight `f32`, the first one first.
    unsafe { std::mem::transmute(moved) }
}

#[cfg(test)]
mod tests {
    use super::super::affine::Line;
    use super::*;

    #[test]
    fn vectors_give_the_same_bits_as_the_plain_formula() {
        let line = Line {
            factor: 1.0 / 51.3,
            offset: -1.99,
        };
        for first in (0..=255).step_by(if cfg!(miri) { 85 } else { 1 }) {
            let bytes = std::array::from_fn(|i| (first + 31 * i) as u8);
            let expected = bytes.map(|byte| line.rounded().apply(f32::from(byte)).to_bits());
            let portable = Portable.affine(bytes, line.rounded());
            assert_eq!(portable.map(f32::to_bits), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = Avx2::detect() {
                assert_eq!(
                    simd.affine(bytes, line.rounded()).map(f32::to_bits),
                    expected
                );
            }
        }
    }
}
