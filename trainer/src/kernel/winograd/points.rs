//! The points that polynomials are multiplied at.

/// The points, as many as a tile of the input has rows and columns: 0, pairs of a number and its negative, and infinity.
pub(super) struct Points<const POINTS: usize>;

impl<const POINTS: usize> Points<POINTS> {
    pub(super) const PAIRS: usize = POINTS / 2 - 1;

    /// The positive ones: those of the textbooks. 1 is the first, which makes the bias easy.
    pub(super) const POSITIVE: [f32; 3] = [1.0, 2.0, 0.5];

    /// The polynomial of x² that is zero at all pairs: its coefficients, the lowest degree first. The highest is 1.
    pub(super) const ALL: [f32; 4] = Self::zero_at_pairs_but(usize::MAX);

    /// That which is zero at all pairs but this one.
    pub(super) const OTHERS: [[f32; 4]; 3] = [
        Self::zero_at_pairs_but(0),
        Self::zero_at_pairs_but(1),
        Self::zero_at_pairs_but(2),
    ];

    /// The inverse of the product of the differences between this positive point and the others.
    pub(super) const SCALES: [f32; 3] = [Self::scale(0), Self::scale(1), Self::scale(2)];

    const fn square(pair: usize) -> f32 {
        Self::POSITIVE[pair] * Self::POSITIVE[pair]
    }

    const fn zero_at_pairs_but(except: usize) -> [f32; 4] {
        let mut coefficients = [1.0, 0.0, 0.0, 0.0];
        let mut pair = 0;
        while pair < Self::PAIRS {
            if pair != except {
                let mut degree = 3;
                while degree > 0 {
                    let lower = coefficients[degree - 1];
                    coefficients[degree] = lower - Self::square(pair) * coefficients[degree];
                    degree -= 1;
                }
                coefficients[0] *= -Self::square(pair);
            }
            pair += 1;
        }
        coefficients
    }

    const fn scale(pair: usize) -> f32 {
        let mut product = 2.0 * Self::square(pair);
        let mut other = 0;
        while other < Self::PAIRS {
            if other != pair {
                product *= Self::square(pair) - Self::square(other);
            }
            other += 1;
        }
        1.0 / product
    }
}
