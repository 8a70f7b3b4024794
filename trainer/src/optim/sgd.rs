//! Stochastic gradient descent.

use rayon::prelude::*;

use super::{CHUNK, Optimizer, Rule, begin, check_decay, check_learning_rate};
use crate::error::Result;
use crate::kernel::{Isa, Kernel, Vector, run};

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

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32], learning_rate_factor: f32) {
        self.step_with(Isa::detect(), parameters, gradients, learning_rate_factor);
    }

    fn rule(&self) -> Option<Rule> {
        self.velocities.is_empty().then_some(Rule::Sgd {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            nesterov: self.nesterov,
        })
    }
}

impl Sgd {
    fn step_with(&mut self, isa: Isa, parameters: &mut [f32], gradients: &[f32], factor: f32) {
        begin(&mut self.velocities, parameters, gradients);
        let rows = parameters.par_chunks_mut(CHUNK);
        let rows = rows.zip(gradients.par_chunks(CHUNK));
        let rows = rows.zip(self.velocities.par_chunks_mut(CHUNK));
        rows.for_each(|((parameters, gradients), velocities)| {
            let update = Update {
                rate: self.learning_rate * factor,
                momentum: self.momentum,
                nesterov: self.nesterov,
                parameters,
                gradients,
                velocities,
            };
            run(isa, update);
        });
    }
}

/// A step of some of the parameters.
struct Update<'a> {
    rate: f32,
    momentum: f32,
    nesterov: bool,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    velocities: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();

    /// A plain loop, as Adam's.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (rate, momentum) = (self.rate, self.momentum);
        let rows = self.parameters.iter_mut().zip(self.gradients);
        for ((parameter, g), velocity) in rows.zip(self.velocities) {
            let v = momentum * *velocity - rate * g;
            *parameter += if self.nesterov {
                momentum * v - rate * g
            } else {
                v
            };
            *velocity = v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_steps(mut sgd: Sgd) -> f32 {
        let mut parameters = [1.0];
        sgd.step(&mut parameters, &[2.0], 1.0);
        sgd.step(&mut parameters, &[-1.0], 1.0);
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

    #[test]
    fn a_step_has_the_same_bits_with_all_instructions() {
        let steps = |isa: Isa| {
            let mut sgd = Sgd::new(0.1).momentum(0.9).nesterov();
            let mut parameters: Vec<f32> = (0..101).map(|i| i as f32 / 7.0).collect();
            for step in 1..4 {
                let own = |&p: &f32| (p * step as f32).sin();
                let gradients: Vec<f32> = parameters.iter().map(own).collect();
                sgd.step_with(isa, &mut parameters, &gradients, 0.7);
            }
            parameters.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for isa in Isa::available() {
            assert_eq!(steps(isa), steps(Isa::Portable), "{isa:?}");
        }
    }
}
