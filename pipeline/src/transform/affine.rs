//! One multiplication and one addition per value: what all built-in operations on values come down to.

/// `value · factor + offset`, as it is folded together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) factor: f64,
    pub(super) offset: f64,
}

impl Line {
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
        let (mean, std) = (f64::from(mean), f64::from(std));
        Self {
            factor: 1.0 / std,
            offset: -mean / std,
        }
    }

    /// `(value - center) · factor + target`.
    pub(super) fn around(center: f64, factor: f64, target: f64) -> Self {
        Self {
            factor,
            offset: target - center * factor,
        }
    }

    /// First this one, then `next`.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            factor: self.factor * next.factor,
            offset: self.offset * next.factor + next.offset,
        }
    }

    pub(super) fn apply(self, value: f64) -> f64 {
        value * self.factor + self.offset
    }

    /// The same, in the precision in which values are computed.
    pub(super) fn rounded(self) -> Affine {
        Affine {
            factor: self.factor as f32,
            offset: self.offset as f32,
        }
    }
}

/// `value · factor + offset`, as it is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    pub(super) factor: f32,
    pub(super) offset: f32,
}

impl Affine {
    pub(super) const IDENTITY: Self = Self {
        factor: 1.0,
        offset: 0.0,
    };

    #[inline(always)]
    pub(super) fn apply(self, value: f32) -> f32 {
        // Never fused into one rounding, so that the bits are the same on every machine.
        value * self.factor + self.offset
    }
}
