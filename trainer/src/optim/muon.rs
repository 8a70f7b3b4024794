//! Muon.

use std::fmt;
use std::ops::Range;

use super::orthogonal::Orthogonalizer;
use super::{Adam, Optimizer, OptimizerState, check_decay};
use crate::error::Result;
use crate::kernel::Isa;

/// Muon: steps of weight matrices that go equally far in all directions (Jordan et al.: "Muon: An optimizer for hidden
/// layers in neural networks", 2024, <https://kellerjordan.github.io/posts/muon/>).
///
/// The momentum of the gradients, `v ← μ·v + g`, with Nesterov's look ahead, `u = g + μ·v`, is a matrix for each layer, that
/// of a convolution with a row for each filter. Five steps of the iteration of Newton and Schulz bring its singular values
/// to about 1. Then `p ← p − η·(0.2·√max(rows, columns)·u + λ·p)`: a step about as long as one of Adam's (Liu et al.: "Muon
/// is Scalable for LLM Training", 2025, [arXiv:2502.16982](https://arxiv.org/abs/2502.16982)).
///
/// What is no matrix (biases, and what [`BatchNorm`](crate::nn::BatchNorm) scales with), and the last matrix, which gives
/// the answers, is left to [`Adam`] with the same learning rate and decay; so is everything if it was not told the
/// [`shapes`](Optimizer::shapes), which a [`Trainer`](crate::Trainer) does.
///
/// It is for runs of few epochs: what it reached with [`cifar_cnn`](crate::models::cifar_cnn) in 20 stands in
/// `benches/results`. A step takes longer than Adam's, and every replica makes it as a whole. GPUs have no kernel for it: there
/// a model trains on candle's tape.
///
/// ```
/// use feedline_trainer::optim::{Muon, Optimizer};
///
/// let mut muon = Muon::new(0.01);
/// // The weights of two layers.
/// muon.shapes(&[vec![2, 2], vec![2, 1]]);
/// let mut parameters = [0.0; 6];
/// muon.step(&mut parameters, &[3.0, 0.0, 0.0, 0.1, 1.0, 1.0], 1.0);
/// // A large gradient and a small one, and nearly the same step.
/// assert!((parameters[0] / parameters[3] - 1.0).abs() < 0.5);
/// ```
#[derive(Clone)]
pub struct Muon {
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    matrices: Vec<Matrix>,
    /// Of the matrices, one after the other.
    velocities: Vec<f32>,
    /// For all other numbers, gathered.
    adam: Adam,
    others: [Vec<f32>; 2],
    direction: Vec<f32>,
    orthogonalizer: Orthogonalizer,
}

/// A layer's weights among all numbers.
#[derive(Debug, Clone)]
struct Matrix {
    place: Range<usize>,
    rows: usize,
}

impl Muon {
    /// With this learning rate, above 0, and momentum 0.95.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            learning_rate,
            momentum: 0.95,
            weight_decay: 0.0,
            matrices: Vec::new(),
            velocities: Vec::new(),
            adam: Adam::new(learning_rate),
            others: Default::default(),
            direction: Vec::new(),
            orthogonalizer: Orthogonalizer::default(),
        }
    }

    /// How much of the last gradients stays in a step, from 0 to below 1.
    #[must_use]
    pub fn momentum(self, momentum: f32) -> Self {
        Self { momentum, ..self }
    }

    /// Shrinks every number that is trained by its product with the learning rate and `decay`, 0 or above, at each step,
    /// as [`Adam::weight_decay`] does.
    #[must_use]
    pub fn weight_decay(self, decay: f32) -> Self {
        Self {
            weight_decay: decay,
            adam: self.adam.weight_decay(decay),
            ..self
        }
    }
}

/// The settings alone: they say whether two are the same rule.
impl fmt::Debug for Muon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Muon")
            .field("learning_rate", &self.learning_rate)
            .field("momentum", &self.momentum)
            .field("weight_decay", &self.weight_decay)
            .finish_non_exhaustive()
    }
}

impl Optimizer for Muon {
    fn check(&self) -> Result<()> {
        check_decay("momentum", self.momentum)?;
        self.adam.check()
    }

    fn shapes(&mut self, shapes: &[Vec<usize>]) {
        let last = shapes.iter().rposition(|own| own.len() > 1);
        self.matrices.clear();
        let mut first = 0;
        for (index, shape) in shapes.iter().enumerate() {
            let place = first..first + shape.iter().product::<usize>();
            first = place.end;
            if shape.len() > 1 && Some(index) != last && !place.is_empty() {
                let rows = shape[0];
                self.matrices.push(Matrix { place, rows });
            }
        }
    }

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32], learning_rate_factor: f32) {
        self.step_with(Isa::detect(), parameters, gradients, learning_rate_factor);
    }

    fn state(&self) -> Option<OptimizerState> {
        let state = self.adam.state()?;
        Some(state.buffer(VELOCITIES, self.velocities.clone()))
    }

    fn restore(&mut self, mut state: OptimizerState, parameters: usize) -> Result<()> {
        let in_matrices = self.in_matrices();
        self.velocities = state.take(VELOCITIES, &[0, in_matrices])?;
        self.adam
            .restore(state, parameters.saturating_sub(in_matrices))
    }
}

/// What the matrices' momentum is called in a state.
const VELOCITIES: &str = "velocities";

impl Muon {
    fn in_matrices(&self) -> usize {
        self.matrices.iter().map(|own| own.place.len()).sum()
    }

    /// Gathers what is in no matrix.
    fn others(&self, numbers: &[f32], mut others: Vec<f32>) -> Vec<f32> {
        others.clear();
        let mut first = 0;
        for Matrix { place, .. } in &self.matrices {
            others.extend_from_slice(&numbers[first..place.start]);
            first = place.end;
        }
        others.extend_from_slice(&numbers[first..]);
        others
    }

    fn step_with(&mut self, isa: Isa, parameters: &mut [f32], gradients: &[f32], factor: f32) {
        assert_eq!(
            parameters.len(),
            gradients.len(),
            "parameters and gradients"
        );
        let end = self.matrices.last().map_or(0, |own| own.place.end);
        assert!(
            end <= parameters.len(),
            "parameters, and the shapes that were told"
        );
        let [others, slopes] = std::mem::take(&mut self.others);
        let mut gathered = self.others(parameters, others);
        let slopes = self.others(gradients, slopes);
        self.adam.step(&mut gathered, &slopes, factor);

        self.velocities.resize(self.in_matrices(), 0.0);
        let rate = self.learning_rate * factor;
        let keep = 1.0 - rate * self.weight_decay;
        let mut velocities = self.velocities.as_mut_slice();
        let (mut others, mut first) = (gathered.as_slice(), 0);
        for Matrix { place, rows } in &self.matrices {
            let (own, behind) = velocities.split_at_mut(place.len());
            velocities = behind;
            self.direction.clear();
            let ahead = own.iter_mut().zip(&gradients[place.clone()]);
            self.direction.extend(ahead.map(|(velocity, gradient)| {
                *velocity = self.momentum * *velocity + gradient;
                gradient + self.momentum * *velocity
            }));
            self.orthogonalizer.run(isa, &mut self.direction, *rows);
            let longer = (*rows).max(place.len() / rows);
            let length = rate * 0.2 * (longer as f32).sqrt();
            let changed = parameters[place.clone()].iter_mut().zip(&self.direction);
            for (parameter, direction) in changed {
                *parameter = keep * *parameter - length * direction;
            }

            let (before, after) = others.split_at(place.start - first);
            parameters[first..place.start].copy_from_slice(before);
            (others, first) = (after, place.end);
        }
        parameters[first..].copy_from_slice(others);
        self.others = [gathered, slopes];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Schedule;

    /// A vector, a matrix of 3×4, a vector, a convolution of 2 filters, and the answers.
    fn shapes() -> Vec<Vec<usize>> {
        vec![vec![5], vec![3, 4], vec![2], vec![2, 3, 2, 2], vec![4, 2]]
    }

    const LENGTH: usize = 5 + 12 + 2 + 24 + 8;

    fn gradients(step: usize) -> Vec<f32> {
        let number = |place| ((place * 7 + step * 13) as f32).sin();
        (0..LENGTH).map(number).collect()
    }

    fn trained(muon: &mut Muon, parameters: &mut [f32], steps: std::ops::Range<usize>) {
        for step in steps {
            let factor = Schedule::cosine(0.5).factor(step as u64, 10);
            muon.step(parameters, &gradients(step), factor);
        }
    }

    #[test]
    fn matrices_but_the_last_go_equally_far_in_all_directions_and_the_rest_is_adams() {
        let mut muon = Muon::new(0.1).weight_decay(0.5);
        muon.shapes(&shapes());
        let mut adam = Adam::new(0.1).weight_decay(0.5);
        let (mut own, mut adams) = ([1.0; LENGTH], [1.0; LENGTH]);
        let mut expected = own;
        let mut velocities = [0.0; LENGTH];
        for step in 0..3 {
            let gradients = gradients(step);
            muon.step(&mut own, &gradients, 1.0);
            adam.step(&mut adams, &gradients, 1.0);
            for (place, rows, longer) in [(5..17, 3, 4.0f32), (19..43, 2, 12.0)] {
                let mut direction = Vec::new();
                for at in place.clone() {
                    velocities[at] = 0.95 * velocities[at] + gradients[at];
                    direction.push(gradients[at] + 0.95 * velocities[at]);
                }
                Orthogonalizer::default().run(Isa::detect(), &mut direction, rows);
                for (at, direction) in place.zip(direction) {
                    expected[at] -= 0.1 * (0.2 * longer.sqrt() * direction + 0.5 * expected[at]);
                }
            }
        }
        for at in 0..LENGTH {
            match at {
                5..17 | 19..43 => assert!((own[at] - expected[at]).abs() < 1e-5, "{at}"),
                _ => assert_eq!(own[at], adams[at], "{at}"),
            }
        }
    }

    #[test]
    fn without_shapes_it_is_adam() {
        let (mut own, mut adams) = ([1.0; LENGTH], [1.0; LENGTH]);
        trained(&mut Muon::new(0.1), &mut own, 0..3);
        let mut adam = Adam::new(0.1);
        for step in 0..3 {
            adam.step(
                &mut adams,
                &gradients(step),
                Schedule::cosine(0.5).factor(step as u64, 10),
            );
        }
        assert_eq!(own, adams);
    }

    #[test]
    fn a_restored_one_goes_on_to_the_bit() {
        let new = || {
            let mut muon = Muon::new(0.1).momentum(0.9);
            muon.shapes(&shapes());
            muon
        };
        let mut whole = [1.0; LENGTH];
        trained(&mut new(), &mut whole, 0..5);
        let (mut first, mut parts) = (new(), [1.0; LENGTH]);
        trained(&mut first, &mut parts, 0..2);
        let (state, mut second) = (first.state().unwrap(), new());
        second.restore(state.clone(), LENGTH).unwrap();
        trained(&mut second, &mut parts, 2..5);
        assert_eq!(parts.map(f32::to_bits), whole.map(f32::to_bits));
        assert!(new().restore(state.clone(), LENGTH + 1).is_err());
        // Of a model without matrices.
        assert!(Muon::new(0.1).restore(state, LENGTH).is_err());
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(Muon::new(0.02).check().is_ok());
        assert!(Muon::new(0.0).check().is_err());
        assert!(Muon::new(0.1).momentum(1.0).check().is_err());
        assert!(Muon::new(0.1).weight_decay(11.0).check().is_err());
    }
}
