//! Pictures with a border of zeros, in memory that the thread keeps.

use super::layout;
use super::scratch::with_scratch;
use super::shape::{Picture, SLACK};

/// A picture, and the same with a border of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Border {
    pub(crate) inner: Picture,
    pub(crate) outer: Picture,
    /// Rows above and columns left of the inner picture.
    pub(crate) corner: (usize, usize),
}

impl Border {
    fn is_none(&self) -> bool {
        self.inner == self.outer
    }

    /// Calls `with` with `images` pictures that have the border, and [`SLACK`] numbers after them. If there is no border
    /// they are those of `pictures`, which must be longer by as much.
    pub(crate) fn put<T>(
        &self,
        images: usize,
        pictures: &[f32],
        with: impl FnOnce(&[f32]) -> T,
    ) -> T {
        if self.is_none() {
            return with(pictures);
        }
        let (inner, outer) = (&self.inner, &self.outer);
        with_scratch(images * outer.len() + SLACK, |bordered| {
            bordered.fill(0.0);
            let places = bordered.chunks_exact_mut(outer.len());
            for (from, to) in pictures.chunks_exact(inner.len()).zip(places) {
                layout::into_border(inner, outer, self.corner, from, to);
            }
            with(bordered)
        })
    }

    /// Calls `with` with zeros for `images` pictures that have the border, and writes what it makes of them, without the
    /// border, to `pictures`.
    pub(crate) fn take(&self, images: usize, pictures: &mut [f32], with: impl FnOnce(&mut [f32])) {
        if self.is_none() {
            pictures.fill(0.0);
            return with(pictures);
        }
        let (inner, outer) = (&self.inner, &self.outer);
        with_scratch(images * outer.len(), |bordered| {
            bordered.fill(0.0);
            with(bordered);
            let places = pictures.chunks_exact_mut(inner.len());
            for (to, from) in places.zip(bordered.chunks_exact(outer.len())) {
                layout::out_of_border(inner, outer, self.corner, from, to);
            }
        });
    }
}
