//! Stochastic gradient descent.

use std::fmt;

use rayon::prelude::*;

use super::{
    CHUNK, Optimizer, OptimizerState, Rule, begin, check_decay, check_learning_rate,
    check_weight_decay,
};
use crate::error::Result;
use crate::kernel::{Isa, Kernel, Vector, run};

/// Stochastic gradient descent with momentum, as Keras has it: `v ← μ·v − η·g; p ← p + v`, or with Nesterov's look ahead
/// `p ← p + μ·v − η·g` (Sutskever et al.: "On the importance of initialization and momentum in deep learning", 2013). With
/// [weight decay](Self::weight_decay) it is the SGDW of Loshchilov and Hutter.
#[derive(Clone)]
pub struct Sgd {
    learning_rate: f32,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
    velocities: Vec<f32>,
}

impl Sgd {
    /// With this learning rate, above 0, and no momentum.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            learning_rate,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
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

    /// Shrinks every number by its product with the learning rate and `decay`, 0 or above, at each step, apart from the
    /// gradient, as [`Adam::weight_decay`](super::Adam::weight_decay) does. A usual value is 0.0005.
    #[must_use]
    pub fn weight_decay(self, decay: f32) -> Self {
        Self {
            weight_decay: decay,
            ..self
        }
    }
}

/// The settings alone: they say whether two are the same rule.
impl fmt::Debug for Sgd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sgd")
            .field("learning_rate", &self.learning_rate)
            .field("momentum", &self.momentum)
            .field("nesterov", &self.nesterov)
            .field("weight_decay", &self.weight_decay)
            .finish_non_exhaustive()
    }
}

impl Optimizer for Sgd {
    fn check(&self) -> Result<()> {
        check_learning_rate(self.learning_rate)?;
        check_decay("momentum", self.momentum)?;
        check_weight_decay(self.weight_decay, self.learning_rate)
    }

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32], learning_rate_factor: f32) {
        self.step_with(Isa::detect(), parameters, gradients, learning_rate_factor);
    }

    fn rule(&self) -> Option<Rule> {
        // Devices have no kernel for decay.
        let known = self.velocities.is_empty() && self.weight_decay == 0.0;
        known.then_some(Rule::Sgd {
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            nesterov: self.nesterov,
        })
    }

    fn state(&self) -> Option<OptimizerState> {
        // It does not count its steps.
        let state = OptimizerState::new(0);
        Some(state.buffer("velocities", self.velocities.clone()))
    }

    fn restore(&mut self, mut state: OptimizerState, parameters: usize) -> Result<()> {
        self.velocities = state.take("velocities", &[0, parameters])?;
        state.finish()
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
                keep: 1.0 - self.learning_rate * factor * self.weight_decay,
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
    /// How much of each parameter stays.
    keep: f32,
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
            let change = if self.nesterov {
                momentum * v - rate * g
            } else {
                v
            };
            *parameter = self.keep * *parameter + change;
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
        // 1 − 0.1·0.5, − 0.2; then 0.95 times that, + 0.1.
        let sgd = Sgd::new(0.1).weight_decay(0.5);
        assert!((two_steps(sgd.clone()) - (0.75 * 0.95 + 0.1)).abs() < 1e-6);
        assert!(sgd.rule().is_none());
        assert!(sgd.check().is_ok() && sgd.weight_decay(11.0).check().is_err());
        assert!(Sgd::new(-1.0).check().is_err());
        assert!(Sgd::new(0.1).momentum(1.0).check().is_err());
    }

    #[test]
    fn a_step_has_the_same_bits_with_all_instructions() {
        let steps = |isa: Isa| {
            let mut sgd = Sgd::new(0.1).momentum(0.9).nesterov().weight_decay(0.1);
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
