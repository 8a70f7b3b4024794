//! Stochastic gradient descent.

use super::{Optimizer, check_decay, check_learning_rate};
use crate::error::Result;

/// Stochastic gradient descent with momentum, as Keras has it: `v ← μ·v − η·g; p ← p + v`, or with Nesterov's look ahead
/// `p ← p + μ·v − η·g` (Sutskever et al.: "On the importance of initialization and momentum in deep learning", 2013).
#[derive(Debug, Clone)]
pub struct Sgd {
    learning_rate: f32,
    momentum: f32,
    nesterov: bool,
    velocities: Vec<f32>,
}

impl Sgd {
    /// With this learning rate, above 0, and no momentum.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            learning_rate,
            momentum: 0.0,
            nesterov: false,
            velocities: Vec::new(),
        }
    }

    /// How much of the last step goes into the next, from 0 to below 1.
    #[must_use]
    pub fn momentum(self, momentum: f32) -> Self {
        Self { momentum, ..self }
    }

    /// With Nesterov's look ahead.
    #[must_use]
    pub fn nesterov(self) -> Self {
        Self {
            nesterov: true,
            ..self
        }
    }
}

impl Optimizer for Sgd {
    fn check(&self) -> Result<()> {
        check_learning_rate(self.learning_rate)?;
        check_decay("momentum", self.momentum)
    }

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32]) {
        self.velocities.resize(parameters.len(), 0.0);
        let (rate, momentum) = (self.learning_rate, self.momentum);
        let rows = parameters
            .iter_mut()
            .zip(gradients)
            .zip(&mut self.velocities);
        for ((parameter, g), velocity) in rows {
            *velocity = momentum * *velocity - rate * g;
            *parameter += if self.nesterov {
                momentum * *velocity - rate * g
            } else {
                *velocity
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_steps(mut sgd: Sgd) -> f32 {
        let mut parameters = [1.0];
        sgd.step(&mut parameters, &[2.0]);
        sgd.step(&mut parameters, &[-1.0]);
        parameters[0]
    }

    #[test]
    fn steps_are_those_worked_out_by_hand() {
        let sgd = Sgd::new(0.1);
        assert!((two_steps(sgd.clone()) - 0.9).abs() < 1e-6);
        // v: −0.2, then 0.5·−0.2 + 0.1 = 0.
        let sgd = sgd.momentum(0.5);
        assert!((two_steps(sgd.clone()) - 0.8).abs() < 1e-6);
        // 1 − 0.1 − 0.2, then + 0 + 0.1.
        assert!((two_steps(sgd.nesterov()) - 0.8).abs() < 1e-6);
        assert!(Sgd::new(-1.0).check().is_err());
        assert!(Sgd::new(0.1).momentum(1.0).check().is_err());
    }
}
