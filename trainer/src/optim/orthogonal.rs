//! The nearest matrix, nearly, whose singular values are all 1.

use rayon::prelude::*;

use crate::kernel::linear::{self, Linear};
use crate::kernel::{Isa, padded};

/// Rows of a result that a thread computes at once.
const ROWS: usize = 48;

/// The polynomial `aσ + bσ³ + cσ⁵`, five times, brings singular values between about 10⁻³ and 1 near 1, to 0.7 to 1.2 (Jordan
/// et al., 2024).
const POLYNOMIAL: [f32; 3] = [3.4445, -4.7750, 2.0315];
const STEPS: usize = 5;

/// Makes matrices orthogonal, in memory that it keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct Orthogonalizer {
    /// The matrix, upright, with columns padded by zeros.
    matrix: Vec<f32>,
    result: Vec<f32>,
    /// The products of all pairs of columns.
    gram: Vec<f32>,
    /// The polynomial of that, and all polynomials so far.
    polynomial: Vec<f32>,
    product: Vec<f32>,
    /// A square in between.
    between: Vec<f32>,
    zeros: Vec<f32>,
}

impl Orthogonalizer {
    /// Changes a matrix of `rows` rows. One of zeros stays as it is.
    pub(super) fn run(&mut self, isa: Isa, numbers: &mut [f32], rows: usize) {
        let columns = numbers.len() / rows.max(1);
        assert_eq!(rows * columns, numbers.len(), "numbers of a matrix");
        let norm = numbers
            .iter()
            .map(|own| f64::from(*own).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm == 0.0 {
            return;
        }
        // Upright, so that the squares are small: of a wide one the transposed.
        let (long, short) = (rows.max(columns), rows.min(columns));
        let steps = if rows >= columns {
            [columns, 1]
        } else {
            [1, columns]
        };
        let side = padded(short);
        self.resize(long, side);
        for (row, own) in self.matrix.chunks_exact_mut(side).enumerate() {
            for (column, own) in own[..short].iter_mut().enumerate() {
                *own = (f64::from(numbers[row * steps[0] + column * steps[1]]) / norm) as f32;
            }
        }
        self.iterate(isa, long, side);
        for (row, own) in self.result.chunks_exact(side).enumerate() {
            for (column, own) in own[..short].iter().enumerate() {
                numbers[row * steps[0] + column * steps[1]] = *own;
            }
        }
    }

    fn resize(&mut self, long: usize, side: usize) {
        // What pads the matrix must be 0; all others are written before they are read.
        self.matrix.clear();
        self.matrix.resize(long * side, 0.0);
        self.result.resize(long * side, 0.0);
        self.zeros.resize(side, 0.0);
        let squares = [
            &mut self.gram,
            &mut self.polynomial,
            &mut self.product,
            &mut self.between,
        ];
        for own in squares {
            own.resize(side * side, 0.0);
        }
    }

    /// `X ← X·(aI + bG + cG²)` with `G = XᵀX`, five times. As all these polynomials commute, the long matrix is needed at the
    /// beginning and at the end only: `G ← P·G·P`.
    fn iterate(&mut self, isa: Isa, long: usize, side: usize) {
        let [a, b, c] = POLYNOMIAL;
        let shape = Linear {
            inputs: side,
            input_stride: side,
            outputs: side,
            output_stride: side,
        };
        let zeros = &self.zeros;
        let multiply = |left: &[f32], right: &[f32], to: &mut [f32]| {
            let parts = to
                .par_chunks_mut(ROWS * side)
                .zip(left.par_chunks(ROWS * side));
            parts.for_each(|(to, left)| {
                linear::forward(
                    isa,
                    &shape,
                    left.len() / side,
                    left,
                    right,
                    zeros,
                    false,
                    to,
                );
            });
        };
        let parts = self.gram.par_chunks_mut(ROWS * side).enumerate();
        parts.for_each(|(part, to)| {
            let matrix = &self.matrix;
            linear::weight_gradient(isa, &shape, long, part * ROWS, matrix, matrix, to);
        });
        for step in 0..STEPS {
            multiply(&self.gram, &self.gram, &mut self.polynomial);
            for (square, own) in self.polynomial.iter_mut().zip(&self.gram) {
                *square = c * *square + b * own;
            }
            for own in self.polynomial.iter_mut().step_by(side + 1) {
                *own += a;
            }
            if step == 0 {
                self.product.copy_from_slice(&self.polynomial);
            } else {
                multiply(&self.product, &self.polynomial, &mut self.between);
                std::mem::swap(&mut self.product, &mut self.between);
            }
            if step + 1 < STEPS {
                multiply(&self.polynomial, &self.gram, &mut self.between);
                multiply(&self.between, &self.polynomial, &mut self.gram);
            }
        }
        multiply(&self.matrix, &self.product, &mut self.result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use feedline_pipeline::Random;
    use proptest::prelude::*;

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut random = Random::new([seed]);
        let number = || random.uniform(-1.0, 1.0);
        std::iter::repeat_with(number).take(count).collect()
    }

    /// The iteration as it is written in the article, in `f64`.
    fn naive(numbers: &[f32], rows: usize) -> Vec<f64> {
        let columns = numbers.len() / rows;
        let norm = numbers
            .iter()
            .map(|own| f64::from(*own).powi(2))
            .sum::<f64>()
            .sqrt();
        let mut x: Vec<_> = numbers.iter().map(|own| f64::from(*own) / norm).collect();
        let multiply = |a: &dyn Fn(usize, usize) -> f64,
                        b: &dyn Fn(usize, usize) -> f64,
                        [m, k, n]: [usize; 3]| {
            let number = |i, j| (0..k).map(|l| a(i, l) * b(l, j)).sum::<f64>();
            (0..m * n)
                .map(|at| number(at / n, at % n))
                .collect::<Vec<f64>>()
        };
        let [a, b, c] = POLYNOMIAL.map(f64::from);
        for _ in 0..STEPS {
            let of_x = |i: usize, j: usize| x[i * columns + j];
            let gram = multiply(&of_x, &|i, j| of_x(j, i), [rows, columns, rows]);
            let of_gram = |i: usize, j: usize| gram[i * rows + j];
            let square = multiply(&of_gram, &of_gram, [rows; 3]);
            let polynomial = |i: usize, j: usize| b * gram[i * rows + j] + c * square[i * rows + j];
            let change = multiply(&polynomial, &of_x, [rows, rows, columns]);
            x = x
                .iter()
                .zip(change)
                .map(|(own, change)| a * own + change)
                .collect();
        }
        x
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_is_the_iteration_of_newton_and_schulz(rows in 1usize..70, columns in 1usize..70, seed: u64) {
            let numbers = noise(seed, rows * columns);
            let expected = naive(&numbers, rows);
            for isa in Isa::available() {
                let mut found = numbers.clone();
                let mut own = Orthogonalizer::default();
                // Memory that another matrix was in.
                own.run(isa, &mut noise(1, 80 * 75), 80);
                own.run(isa, &mut found, rows);
                for (found, expected) in found.iter().zip(&expected) {
                    prop_assert!((f64::from(*found) - expected).abs() < 2e-3, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn all_directions_become_about_as_long() {
        // A diagonal has its singular values in plain sight.
        let mut numbers = vec![0.0; 20 * 30];
        for index in 0..20 {
            numbers[index * 31] = 100.0 / (index + 1) as f32;
        }
        Orthogonalizer::default().run(Isa::detect(), &mut numbers, 20);
        for (place, own) in numbers.into_iter().enumerate() {
            match place % 31 {
                0 if place < 20 * 31 => assert!((0.6..1.3).contains(&own), "{own}"),
                _ => assert!(own.abs() < 1e-4, "{own}"),
            }
        }
        let mut zeros = [0.0; 6];
        Orthogonalizer::default().run(Isa::detect(), &mut zeros, 2);
        assert_eq!(zeros, [0.0; 6]);
    }
}
