//! Bringing bytes closer to the processor before they are read.

/// Half of a small first-level cache.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const MOST: usize = 16 << 10;

/// Asks for `bytes`, and does not wait for them.
///
/// Samples in random order lie where no processor expects them, so that each would begin with a wait for memory. To ask
/// for the next one while this one is converted takes a quarter off the time of copying CIFAR-10's pictures. Of a large
/// sample only the beginning is asked for: all of it would not stay in the fastest cache until it is read, and the
/// processor itself fetches what comes behind when somebody reads on.
#[inline]
pub(super) fn prefetch(bytes: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in bytes[..bytes.len().min(MOST)].chunks(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that changes nothing, and the address is that of a byte that is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    let _ = bytes;
}
