//! Memory that begins with a line of the cache.

use std::ops::{Deref, DerefMut};

use super::BLOCK;

/// Numbers that begin with a line of the cache, so that no register straddles two. It only grows.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    numbers: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// Zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(length);
        buffer
    }

    /// Makes it at least this long. What it holds is zeros then; if it is long enough, it stays as it is.
    pub(crate) fn reserve(&mut self, length: usize) {
        if self.length < length {
            self.numbers = vec![0.0; length + BLOCK];
            let alignment = BLOCK * size_of::<f32>();
            self.start = self.numbers.as_ptr().align_offset(alignment).min(BLOCK);
            self.length = length;
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.numbers[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.numbers[self.start..][..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_keep_what_fits() {
        for length in [1, 17, 4000] {
            let mut buffer = Buffer::zeros(length);
            assert_eq!(buffer.as_ptr().addr() % 64, 0);
            buffer[length - 1] = 1.0;
            buffer.reserve(length);
            assert_eq!(buffer[length - 1], 1.0);
            buffer.reserve(3 * length + 100);
            assert_eq!(buffer.as_ptr().addr() % 64, 0);
            assert!(buffer.iter().all(|&x| x == 0.0));
        }
    }
}
