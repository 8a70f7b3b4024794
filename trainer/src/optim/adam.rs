//! Adam.

use std::fmt;

use rayon::prelude::*;

use super::{
    CHUNK, Optimizer, OptimizerState, Rule, begin, check_decay, check_learning_rate,
    check_weight_decay,
};
use crate::error::{Result, invalid};
use crate::kernel::{Isa, Kernel, Vector, run};

/// Adam with Keras' defaults: learning rate 0.001, β₁ 0.9, β₂ 0.999, ε 10⁻⁷ (Kingma, Ba: "Adam: A Method for Stochastic
/// Optimization", 2014, [arXiv:1412.6980](https://arxiv.org/abs/1412.6980), the form at the end of its section 2).
#[derive(Clone)]
pub struct Adam {
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    weight_decay: f32,
    steps: i32,
    means: Vec<f32>,
    squares: Vec<f32>,
}

impl Adam {
    /// With this learning rate, above 0.
    pub fn new(learning_rate: f32) -> Self {
        Self {
            learning_rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-7,
            weight_decay: 0.0,
            steps: 0,
            means: Vec::new(),
            squares: Vec::new(),
        }
    }

    /// How much of the running means of gradients and of their squares stays in a step, each from 0 to below 1.
    #[must_use]
    pub fn betas(self, beta1: f32, beta2: f32) -> Self {
        Self {
            beta1,
            beta2,
            ..self
        }
    }

    /// What is added to the denominator, above 0.
    #[must_use]
    pub fn epsilon(self, epsilon: f32) -> Self {
        Self { epsilon, ..self }
    }

    /// Shrinks every number that is trained by its product with the learning rate and `decay`, 0 or above, at each step,
    /// biases and what [`BatchNorm`](crate::nn::BatchNorm) scales with included: the AdamW of Loshchilov, Hutter:
    /// "Decoupled Weight Decay Regularization", 2017, [arXiv:1711.05101](https://arxiv.org/abs/1711.05101). It keeps the
    /// weights small, which makes a network rely on many of them rather than on few. A usual value is 0.01. GPUs have no
    /// kernel for it: there a model then trains on candle's tape.
    #[must_use]
    pub fn weight_decay(self, decay: f32) -> Self {
        Self {
            weight_decay: decay,
            ..self
        }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self::new(1e-3)
    }
}

/// The settings alone: they say whether two are the same rule.
impl fmt::Debug for Adam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adam")
            .field("learning_rate", &self.learning_rate)
            .field("beta1", &self.beta1)
            .field("beta2", &self.beta2)
            .field("epsilon", &self.epsilon)
            .field("weight_decay", &self.weight_decay)
            .finish_non_exhaustive()
    }
}

impl Optimizer for Adam {
    fn check(&self) -> Result<()> {
        check_learning_rate(self.learning_rate)?;
        check_decay("beta1", self.beta1)?;
        check_decay("beta2", self.beta2)?;
        check_weight_decay(self.weight_decay, self.learning_rate)?;
        if self.epsilon > 0.0 && self.epsilon.is_finite() {
            return Ok(());
        }
        Err(invalid("epsilon", self.epsilon, "a number above 0"))
    }

    fn step(&mut self, parameters: &mut [f32], gradients: &[f32], learning_rate_factor: f32) {
        self.step_with(Isa::detect(), parameters, gradients, learning_rate_factor);
    }

    fn rule(&self) -> Option<Rule> {
        // Devices have no kernel for decay.
        let known = self.steps == 0 && self.weight_decay == 0.0;
        known.then_some(Rule::Adam {
            learning_rate: self.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
        })
    }

    fn state(&self) -> Option<OptimizerState> {
        let state = OptimizerState::new(self.steps.unsigned_abs().into());
        let state = state.buffer("means", self.means.clone());
        Some(state.buffer("squares", self.squares.clone()))
    }

    fn restore(&mut self, mut state: OptimizerState, parameters: usize) -> Result<()> {
        let steps = i32::try_from(state.steps());
        let steps =
            steps.map_err(|_| invalid("steps of Adam", state.steps(), "at most 2^31 - 1"))?;
        let lengths: &[usize] = match steps {
            0 => &[0],
            _ => &[parameters],
        };
        self.means = state.take("means", lengths)?;
        self.squares = state.take("squares", lengths)?;
        self.steps = steps;
        state.finish()
    }
}

impl Adam {
    /// How far the step of this number, from 1, goes: the running means begin as zeros, which is made up for here.
    pub(crate) fn rate(learning_rate: f32, factor: f32, betas: [f32; 2], step: i32) -> f32 {
        let [unbiased1, unbiased2] = betas.map(|beta| 1.0 - f64::from(beta).powi(step));
        let rate = f64::from(learning_rate) * f64::from(factor);
        (rate * unbiased2.sqrt() / unbiased1) as f32
    }

    fn step_with(&mut self, isa: Isa, parameters: &mut [f32], gradients: &[f32], factor: f32) {
        begin(&mut self.means, parameters, gradients);
        begin(&mut self.squares, parameters, gradients);
        self.steps = self.steps.saturating_add(1);
        let betas = [self.beta1, self.beta2];
        let rate = Self::rate(self.learning_rate, factor, betas, self.steps);
        let rows = parameters.par_chunks_mut(CHUNK);
        let rows = rows.zip(gradients.par_chunks(CHUNK));
        let rows = rows.zip(self.means.par_chunks_mut(CHUNK));
        let rows = rows.zip(self.squares.par_chunks_mut(CHUNK));
        rows.for_each(|(((parameters, gradients), means), squares)| {
            let update = Update {
                rate,
                keep: 1.0 - self.learning_rate * factor * self.weight_decay,
                beta1: self.beta1,
                beta2: self.beta2,
                epsilon: self.epsilon,
                parameters,
                gradients,
                means,
                squares,
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
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    parameters: &'a mut [f32],
    gradients: &'a [f32],
    means: &'a mut [f32],
    squares: &'a mut [f32],
}

impl Kernel for Update<'_> {
    type Output = ();

    /// A plain loop, of which the compiler makes vector code for each set of instructions, and never a fused
    /// multiply-add: so the results are the same bits with all of them.
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self {
            rate,
            keep,
            beta1,
            beta2,
            epsilon,
            ..
        } = self;
        let moments = self.means.iter_mut().zip(self.squares);
        let rows = self.parameters.iter_mut().zip(self.gradients).zip(moments);
        for ((parameter, &g), (mean, square)) in rows {
            // Not read again from where they were just written, which takes thrice as long.
            let m = *mean + (1.0 - beta1) * (g - *mean);
            let v = *square + (1.0 - beta2) * (g * g - *square);
            *parameter = keep * *parameter - rate * m / (v.sqrt() + epsilon);
            (*mean, *square) = (m, v);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_those_of_the_paper() {
        let gradients = [[0.5f32, -2.0], [0.1, 0.0], [-0.3, 4.0]];
        let mut parameters = [1.0f32, -1.0];
        let mut adam = Adam::new(0.1).weight_decay(0.2);
        for gradient in &gradients {
            adam.step(&mut parameters, gradient, 1.0);
        }
        // A naive loop in f64.
        for i in 0..2 {
            let (mut p, mut m, mut v) = ([1.0f64, -1.0][i], 0.0, 0.0);
            for (t, gradient) in gradients.iter().enumerate() {
                let g = f64::from(gradient[i]);
                m = 0.9 * m + 0.1 * g;
                v = 0.999 * v + 0.001 * g * g;
                let power = t as i32 + 1;
                let corrected = (1.0 - 0.999f64.powi(power)).sqrt() / (1.0 - 0.9f64.powi(power));
                p -= 0.1 * 0.2 * p;
                p -= 0.1 * corrected * m / (v.sqrt() + 1e-7);
            }
            assert!(
                (f64::from(parameters[i]) - p).abs() < 1e-5,
                "{parameters:?}"
            );
        }
    }

    #[test]
    fn a_step_has_the_same_bits_with_all_instructions() {
        let steps = |isa: Isa| {
            let mut adam = Adam::default().weight_decay(0.1);
            let mut parameters: Vec<f32> = (0..101).map(|i| i as f32 / 7.0).collect();
            for step in 1..4 {
                let own = |&p: &f32| (p * step as f32).sin();
                let gradients: Vec<f32> = parameters.iter().map(own).collect();
                adam.step_with(isa, &mut parameters, &gradients, 0.7);
            }
            parameters.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for isa in Isa::available() {
            assert_eq!(steps(isa), steps(Isa::Portable), "{isa:?}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(Adam::default().check().is_ok());
        assert!(Adam::new(0.0).check().is_err());
        assert!(Adam::new(f32::NAN).check().is_err());
        assert!(Adam::default().betas(1.0, 0.5).check().is_err());
        assert!(Adam::default().epsilon(0.0).check().is_err());
        assert!(Adam::default().weight_decay(-0.1).check().is_err());
    }
}
