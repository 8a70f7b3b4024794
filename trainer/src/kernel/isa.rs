//! Which instructions kernels are run with.

use super::Vector;
use super::vector::Portable;
#[cfg(target_arch = "x86_64")]
use super::vector::{Avx2, Avx512};

/// A set of instructions that the operations on the CPU are compiled for. The fastest that the processor has is taken
/// at run time.
///
/// Results of different sets differ by rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What every processor of the target has.
    Portable,
    /// AVX2 with FMA, of x86-64 processors since 2013.
    Avx2,
    /// AVX-512F.
    Avx512,
}

impl Isa {
    /// Those that this processor has, the fastest last.
    ///
    /// ```
    /// use feedline_trainer::engine::Isa;
    ///
    /// assert!(Isa::available().contains(&Isa::Portable));
    /// assert_eq!(Isa::available().last(), Some(&Isa::detect()));
    /// ```
    pub fn available() -> Vec<Self> {
        let all = [Self::Portable, Self::Avx2, Self::Avx512];
        all.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The fastest that this processor has.
    pub fn detect() -> Self {
        let fastest_first = [Self::Avx512, Self::Avx2];
        let found = fastest_first.into_iter().find(|isa| isa.is_available());
        found.unwrap_or(Self::Portable)
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            // Kernels are compiled for all of them.
            Self::Avx512 => is_x86_feature_detected!("avx512f") && Self::Avx2.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }
}

/// Code for any [`Vector`], with its arguments.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;

    /// Runs with registers `V`. Must be `#[inline(always)]`, so that it is compiled for their instructions.
    ///
    /// # Safety
    ///
    /// The processor has the instructions.
    unsafe fn run<V: Vector>(self) -> Self::Output;
}

/// Runs `kernel` with the registers of `isa`, or with portable ones if the processor does not have them.
pub(crate) fn run<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked.
        Isa::Avx512 if isa.is_available() => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor was asked.
        Isa::Avx2 if isa.is_available() => unsafe { run_avx2(kernel) },
        // SAFETY: every processor has what it needs.
        _ => unsafe { kernel.run::<Portable>() },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's.
    unsafe { kernel.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller's.
    unsafe { kernel.run::<Avx2>() }
}
