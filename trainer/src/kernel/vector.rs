//! Several numbers in one register of the processor.

/// A register of `f32`s. Kernels are written once for any of them; [`Isa`](super::Isa) chooses the one that a processor
/// has.
///
/// Every method is inlined into code that was compiled for the register's instructions.
///
/// # Safety
///
/// The methods may only be called on a processor that has the instructions, which [`run`](super::run) sees to; loads
/// and stores need memory for [`LANES`](Self::LANES) numbers at the pointer, aligned as any `f32`.
pub(crate) unsafe trait Vector: Copy {
    /// Numbers in a register. Divides [`BLOCK`](super::BLOCK).
    const LANES: usize;
    /// How many registers wide the widest tile is: what the accumulators of a tile leave room for.
    const WIDEST: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `self + other`
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`
    unsafe fn sub(self, other: Self) -> Self;
    /// `self · other`
    unsafe fn mul(self, other: Self) -> Self;
    /// `self · factor + sum`, rounded once or twice.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    /// max(0, `self`); NaN stays.
    unsafe fn rectify(self) -> Self;
    /// `then` where `self` is greater than `other` or NaN, `otherwise` elsewhere.
    unsafe fn select_greater(self, other: Self, then: Self, otherwise: Self) -> Self;
    /// The sums of all lanes of each, in an order of this type's own.
    unsafe fn sums(each: [Self; 4]) -> [f32; 4];

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: as this method's.
        unsafe { Self::splat(0.0) }
    }
}

/// Eight numbers in what registers every processor has.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, with: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| {
            with(self.0[lane], other.0[lane])
        }))
    }
}

// SAFETY: every processor has them.
unsafe impl Vector for Portable {
    const LANES: usize = 8;
    const WIDEST: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        // Not `f32::mul_add`, which is a call of a function where there is no instruction for it.
        self.zip(factor, |x, y| x * y).zip(sum, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn rectify(self) -> Self {
        Self(self.0.map(|x| if x < 0.0 { 0.0 } else { x }))
    }
    #[inline(always)]
    unsafe fn select_greater(self, other: Self, then: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            let (x, y) = (self.0[lane], other.0[lane]);
            if x > y || x.is_nan() {
                then.0[lane]
            } else {
                otherwise.0[lane]
            }
        }))
    }
    #[inline(always)]
    unsafe fn sums(each: [Self; 4]) -> [f32; 4] {
        each.map(|Self([a, b, c, d, e, f, g, h])| ((a + e) + (c + g)) + ((b + f) + (d + h)))
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    /// Eight numbers in a register of AVX2 with FMA: x86-64 processors since 2013.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    /// Sixteen numbers in a register of AVX-512.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    /// The methods that are one instruction each, or nearly.
    macro_rules! instructions {
        ($($name:ident($first:tt $(: $type:ty)? $(, $more:ident)*) -> $result:ty = $value:expr;)*) => {
            $(
                #[inline(always)]
                unsafe fn $name($first $(: $type)? $(, $more: Self)*) -> $result {
                    // SAFETY: the caller's.
                    unsafe { $value }
                }
            )*
        };
    }

    /// The sums of eight numbers each.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn lane_sums([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
        let sums = _mm_add_ps(
            _mm256_castps256_ps128(pairs),
            _mm256_extractf128_ps::<1>(pairs),
        );
        // SAFETY: both are four `f32`.
        unsafe { std::mem::transmute::<__m128, [f32; 4]>(sums) }
    }

    /// The upper half added to the lower.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn halves(sixteen: __m512) -> __m256 {
        let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sixteen));
        _mm256_add_ps(_mm512_castps512_ps256(sixteen), _mm256_castpd_ps(upper))
    }

    // SAFETY: the methods use AVX2 and FMA only.
    unsafe impl Vector for Avx2 {
        const LANES: usize = 8;
        const WIDEST: usize = 2;

        instructions! {
            splat(value: f32) -> Self = Self(_mm256_set1_ps(value));
            load(from: *const f32) -> Self = Self(_mm256_loadu_ps(from));
            add(self, y) -> Self = Self(_mm256_add_ps(self.0, y.0));
            sub(self, y) -> Self = Self(_mm256_sub_ps(self.0, y.0));
            mul(self, y) -> Self = Self(_mm256_mul_ps(self.0, y.0));
            mul_add(self, factor, sum) -> Self = Self(_mm256_fmadd_ps(self.0, factor.0, sum.0));
            // Of two operands one of which is NaN, max takes the second.
            rectify(self) -> Self = Self(_mm256_max_ps(_mm256_setzero_ps(), self.0));
            select_greater(self, y, then, otherwise) -> Self = {
                let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, y.0);
                let nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm256_blendv_ps(otherwise.0, then.0, _mm256_or_ps(greater, nan)))
            };
            sums(each: [Self; 4]) -> [f32; 4] = {
                let [a, b, c, d] = each;
                lane_sums([a.0, b.0, c.0, d.0])
            };
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_ps(to, self.0) }
        }
    }

    // SAFETY: the methods use AVX-512F only.
    unsafe impl Vector for Avx512 {
        const LANES: usize = 16;
        const WIDEST: usize = 4;

        instructions! {
            splat(value: f32) -> Self = Self(_mm512_set1_ps(value));
            load(from: *const f32) -> Self = Self(_mm512_loadu_ps(from));
            add(self, y) -> Self = Self(_mm512_add_ps(self.0, y.0));
            sub(self, y) -> Self = Self(_mm512_sub_ps(self.0, y.0));
            mul(self, y) -> Self = Self(_mm512_mul_ps(self.0, y.0));
            mul_add(self, factor, sum) -> Self = Self(_mm512_fmadd_ps(self.0, factor.0, sum.0));
            // Of two operands one of which is NaN, max takes the second.
            rectify(self) -> Self = Self(_mm512_max_ps(_mm512_setzero_ps(), self.0));
            select_greater(self, y, then, otherwise) -> Self = {
                let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, y.0);
                let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
                Self(_mm512_mask_blend_ps(greater | nan, otherwise.0, then.0))
            };
            sums(each: [Self; 4]) -> [f32; 4] = {
                let [a, b, c, d] = each;
                lane_sums([halves(a.0), halves(b.0), halves(c.0), halves(d.0)])
            };
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
    }
}
