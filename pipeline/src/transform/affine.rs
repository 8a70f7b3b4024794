//! Scale and normalize: one multiplication and one addition per value.

/// `value · factor + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Affine {
    pub(super) factor: f32,
    pub(super) offset: f32,
}

impl Affine {
    pub(super) const IDENTITY: Self = Self {
        factor: 1.0,
        offset: 0.0,
    };
    pub(super) const SCALE: Self = Self {
        factor: 1.0 / 255.0,
        offset: 0.0,
    };

    /// `(value - mean) / std`.
    pub(super) fn normalize(mean: f32, std: f32) -> Self {
        Self {
            factor: 1.0 / std,
            offset: -mean / std,
        }
    }

    /// First this one, then `next`.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            factor: self.factor * next.factor,
            offset: self.offset * next.factor + next.offset,
        }
    }

    #[inline]
    pub(super) fn apply(self, value: f32) -> f32 {
        value * self.factor + self.offset
    }

    pub(super) fn apply_to(self, values: &mut [f32]) {
        values
            .iter_mut()
            .for_each(|value| *value = self.apply(*value));
    }
}
