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

#[cfg(test)]
mod tests {
    use super::super::{BLOCK, Isa, Kernel, run};
    use super::*;

    /// Runs every operation on all lanes of three rows of numbers.
    struct Operations([[f32; BLOCK]; 3]);

    impl Kernel for Operations {
        type Output = Vec<(&'static str, [f32; BLOCK])>;

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> Self::Output {
            let mut results = Vec::new();
            let mut all = |name, with: &dyn Fn([V; 3]) -> V| {
                let mut result = [f32::NAN; BLOCK];
                for lane in (0..BLOCK).step_by(V::LANES) {
                    // SAFETY: the caller's; whole registers are read and written.
                    unsafe {
                        let own = self.0.each_ref().map(|row| V::load(row.as_ptr().add(lane)));
                        with(own).store(result.as_mut_ptr().add(lane));
                    }
                }
                results.push((name, result));
            };
            // SAFETY: the caller's.
            unsafe {
                all("add", &|[x, y, _]| x.add(y));
                all("sub", &|[x, y, _]| x.sub(y));
                all("mul", &|[x, y, _]| x.mul(y));
                all("mul_add", &|[x, y, z]| x.mul_add(y, z));
                all("rectify", &|[x, _, _]| x.rectify());
                all("select_greater", &|[x, y, z]| x.select_greater(y, z, y));
                all("splat", &|_| V::splat(2.5));
                all("zero", &|_| V::zero());
            }
            results
        }
    }

    fn expected(name: &str, [x, y, z]: [f32; 3]) -> f32 {
        match name {
            "add" => x + y,
            "sub" => x - y,
            "mul" => x * y,
            "mul_add" => x * y + z,
            "rectify" if x.is_nan() => x,
            "rectify" => x.max(0.0),
            "select_greater" if x > y || x.is_nan() => z,
            "select_greater" => y,
            "splat" => 2.5,
            _ => 0.0,
        }
    }

    #[test]
    fn operations_are_those_of_numbers_with_all_instructions() {
        // Small integers, which are not rounded.
        let mut rows = [[0.0f32; BLOCK]; 3];
        for (index, x) in rows.as_flattened_mut().iter_mut().enumerate() {
            *x = ((index * index + 7 * index) % 11) as f32 - 5.0;
        }
        (rows[0][1], rows[1][2], rows[2][3]) = (f32::NAN, f32::NAN, f32::NAN);
        (rows[0][4], rows[1][4], rows[2][4]) = (3.0, 3.0, 1.0);
        rows[0][5] = f32::INFINITY;
        for isa in Isa::available() {
            for (name, found) in run(isa, Operations(rows)) {
                for (lane, found) in found.into_iter().enumerate() {
                    let expected = expected(name, rows.map(|row| row[lane]));
                    let same = found == expected || found.is_nan() && expected.is_nan();
                    assert!(
                        same,
                        "{isa:?}, {name}, lane {lane}: {found}, not {expected}"
                    );
                }
            }
        }
    }

    /// The sums of four registers.
    struct Sums(f32);

    impl Kernel for Sums {
        type Output = (usize, [f32; 4]);

        #[inline(always)]
        unsafe fn run<V: Vector>(self) -> Self::Output {
            let lanes: [f32; BLOCK] = std::array::from_fn(|lane| self.0 + lane as f32);
            // SAFETY: the caller's; a register has at most as many lanes.
            unsafe {
                let own = V::load(lanes.as_ptr());
                let all = [own, own.add(own), V::zero(), V::splat(1.0)];
                (V::LANES, V::sums(all))
            }
        }
    }

    #[test]
    fn sums_are_those_of_all_lanes() {
        for isa in Isa::available() {
            let (lanes, found) = run(isa, Sums(0.5));
            let lanes = lanes as f32;
            let sum = 0.5 * lanes + lanes * (lanes - 1.0) / 2.0;
            assert_eq!(found, [sum, 2.0 * sum, 0.0, lanes], "{isa:?}");
        }
    }
}
