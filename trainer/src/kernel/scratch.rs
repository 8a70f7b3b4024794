//! Memory for what a kernel needs on its way.

use std::cell::RefCell;

use super::buffer::Buffer;

thread_local! {
    /// Buffers of this thread that are not in use, the outermost last.
    static FREE: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Calls `f` with `len` numbers of unspecified contents, which begin with a line of the cache. Calls may be nested.
///
/// Every thread keeps its buffers and they only grow, so nothing is allocated once they are large enough.
pub(crate) fn with_scratch<T>(len: usize, f: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(len);
    let result = f(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_calls_have_memory_of_their_own_and_keep_it() {
        let nest = || {
            with_scratch(100, |outer| {
                outer.fill(1.0);
                let inner = with_scratch(1000, |inner| {
                    inner.fill(2.0);
                    (inner.len(), inner.as_ptr())
                });
                assert_eq!(outer, [1.0; 100]);
                (outer.as_ptr(), inner)
            })
        };
        let first = nest();
        assert_eq!(first.1.0, 1000);
        assert_eq!(nest(), first);
    }
}
