//! How many floating-point operations the machine can do at most: multiply-adds of `f32` in registers, and nothing
//! else.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

use feedline_trainer::engine::Isa;

/// Sums that don't wait for each other: more than any processor has multiply-adds under way.
const CHAINS: usize = 16;
const STEPS: usize = 1 << 20;
/// Of which the fastest counts: it is the one that nothing else on the machine has slowed down.
const TRIES: usize = 20;

/// Operations per second of `threads` threads together, in 10⁹.
pub(crate) fn gigaflops(threads: usize) -> f64 {
    let isa = Isa::detect();
    let together = Barrier::new(threads);
    let rate = || {
        together.wait();
        let start = Instant::now();
        let lanes = multiply_add(isa, STEPS);
        let operations = (2 * lanes * CHAINS * STEPS) as f64;
        operations / start.elapsed().as_secs_f64() / 1e9
    };
    (0..TRIES)
        .map(|_| {
            std::thread::scope(|scope| {
                let own: Vec<_> = (0..threads).map(|_| scope.spawn(rate)).collect();
                own.into_iter()
                    .map(|thread| thread.join().unwrap_or_default())
                    .sum::<f64>()
            })
        })
        .fold(0.0, f64::max)
}

/// Makes steps of every chain with the fastest instructions, and returns how many numbers one of them is for.
fn multiply_add(isa: Isa, steps: usize) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked by `Isa::detect`.
        Isa::Avx512 => unsafe { avx512(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked by `Isa::detect`.
        Isa::Avx2 => unsafe { avx2(steps) },
        _ => portable(steps),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(steps: usize) -> usize {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (factor, offset) = numbers();
    let (factor, offset) = (_mm512_set1_ps(factor), _mm512_set1_ps(offset));
    let mut sums = [_mm512_set1_ps(1.0); CHAINS];
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, factor, offset);
        }
    }
    black_box(sums);
    16
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: usize) -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (factor, offset) = numbers();
    let (factor, offset) = (_mm256_set1_ps(factor), _mm256_set1_ps(offset));
    // Twelve, with the two constants, are what the 16 registers hold.
    const OWN: usize = 12;
    let mut sums = [_mm256_set1_ps(1.0); OWN];
    for _ in 0..steps * CHAINS / OWN {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, offset);
        }
    }
    black_box(sums);
    8
}

/// For the compiler to make of it what the target has for certain.
fn portable(steps: usize) -> usize {
    const LANES: usize = 4;
    let (factor, offset) = numbers();
    let mut sums = [[1.0f32; LANES]; CHAINS];
    for _ in 0..steps {
        for sum in sums.as_flattened_mut() {
            // Without an instruction for it, `mul_add` would be a function call.
            *sum = if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                sum.mul_add(factor, offset)
            } else {
                *sum * factor + offset
            };
        }
    }
    black_box(sums);
    LANES
}

/// With them a sum of 1 stays near 1. The compiler does not know them.
fn numbers() -> (f32, f32) {
    black_box((0.999, 0.001))
}
