//! How gradients change parameters, and how far at which step.

mod adam;
mod muon;
mod orthogonal;
mod rule;
mod schedule;
mod sgd;
mod state;

pub use adam::Adam;
pub use muon::Muon;
pub use rule::Rule;
pub use schedule::Schedule;
pub use sgd::Sgd;
pub use state::OptimizerState;

use std::fmt::Debug;

use crate::error::{Result, invalid};

/// How many numbers a thread changes at a time: few enough that they and what belongs to them stay near the processor,
/// and so many that handing them out costs nothing.
pub(crate) const CHUNK: usize = 16 << 10;

/// A rule that changes parameters by their gradients. Both are one flat buffer, so that an update is one pass.
///
/// A clone of a rule that has not made a step is a rule for another replica.
///
/// ```
/// use feedline_trainer::optim::{Optimizer, Sgd};
///
/// let mut sgd = Sgd::new(0.5);
/// let mut parameters = [1.0, 2.0];
/// sgd.step(&mut parameters, &[1.0, -1.0], 1.0);
/// assert_eq!(parameters, [0.5, 2.5]);
/// sgd.step(&mut parameters, &[1.0, -1.0], 0.5); // a schedule lowers the learning rate
/// assert_eq!(parameters, [0.25, 2.75]);
/// ```
pub trait Optimizer: Debug + Clone + Send + Sync + 'static {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) names the setting that can't work.
    fn check(&self) -> Result<()>;

    /// Says of which shapes the parameters are that follow each other in [`step`](Self::step), for rules that treat a matrix
    /// as one. A [`Trainer`](crate::Trainer) calls it before the first step and before [`restore`](Self::restore). Does
    /// nothing, unless it is overridden.
    fn shapes(&mut self, shapes: &[Vec<usize>]) {
        let _ = shapes;
    }

    /// Makes one step. `parameters` and `gradients` have the same length and order at every call. The learning rate of
    /// this step is the rule's own times `learning_rate_factor`, which is a [`Schedule`]'s; 1 if there is none.
    ///
    /// # Panics
    ///
    /// If there are more or fewer gradients than parameters, or of either than at the step before.
    fn step(&mut self, parameters: &mut [f32], gradients: &[f32], learning_rate_factor: f32);

    /// The same rule for a device that has kernels for it, if it is one of those and has not made a step: what it keeps
    /// for each parameter is there then, and begins as zeros. `None`, unless it is overridden.
    fn rule(&self) -> Option<Rule> {
        None
    }

    /// What the steps so far have left behind, for a [checkpoint](crate::checkpoint). `None`, unless it is overridden: then
    /// training with this rule can't be saved.
    fn state(&self) -> Option<OptimizerState> {
        None
    }

    /// Goes on from a [`state`](Self::state) of a rule with the same settings, in a model of this many trained numbers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the state is not one of this rule, or does not fit the
    /// model; and unless it is overridden.
    fn restore(&mut self, state: OptimizerState, parameters: usize) -> Result<()> {
        let _ = (state, parameters);
        Err(invalid(
            "optimizer",
            "without a state",
            "one that overrides `Optimizer::state` and `Optimizer::restore`",
        ))
    }
}

/// Makes what a rule keeps for each parameter at the first step, and compares lengths at all.
fn begin(kept: &mut Vec<f32>, parameters: &[f32], gradients: &[f32]) {
    if kept.is_empty() {
        kept.resize(parameters.len(), 0.0);
    }
    assert_eq!(
        parameters.len(),
        gradients.len(),
        "parameters and gradients"
    );
    assert_eq!(parameters.len(), kept.len(), "parameters, and those before");
}

fn check_learning_rate(rate: f32) -> Result<()> {
    if rate > 0.0 && rate.is_finite() {
        return Ok(());
    }
    Err(invalid("learning rate", rate, "a number above 0"))
}

fn check_decay(name: &'static str, value: f32) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(invalid(name, value, "from 0 to below 1"))
}

/// One step at the whole learning rate must leave something of a parameter.
fn check_weight_decay(decay: f32, learning_rate: f32) -> Result<()> {
    if decay >= 0.0 && decay * learning_rate < 1.0 {
        return Ok(());
    }
    let expected = format!("from 0 to below {}, 1 / learning rate", 1.0 / learning_rate);
    Err(invalid("weight decay", decay, expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use feedline_pipeline::Random;
    use rayon::ThreadPoolBuilder;

    /// Noise from -1 to 1.
    fn noise(seed: u64, length: usize) -> Vec<f32> {
        let mut random = Random::new([seed]);
        let number = || random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
        std::iter::repeat_with(number).take(length).collect()
    }

    /// Parameters after three steps on a pool of these many threads, so many that each has work and one is cut short.
    fn after_steps(mut rule: impl Optimizer, threads: usize) -> Vec<u32> {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build();
        pool.unwrap().install(|| {
            let mut parameters = noise(0, 3 * CHUNK + 5);
            for step in 1..4 {
                let gradients = noise(step, parameters.len());
                rule.step(&mut parameters, &gradients, 0.7);
            }
            parameters.into_iter().map(f32::to_bits).collect()
        })
    }

    #[test]
    fn a_step_has_the_same_bits_on_any_number_of_threads() {
        let sgd = Sgd::new(0.1).momentum(0.9).nesterov();
        let mut muon = Muon::new(0.1);
        muon.shapes(&[vec![128, 3 * CHUNK / 128 - 1], vec![128, 1], vec![5]]);
        for threads in [2, 3] {
            let adam = Adam::default();
            assert!(after_steps(adam.clone(), 1) == after_steps(adam, threads));
            assert!(after_steps(muon.clone(), 1) == after_steps(muon.clone(), threads));
            assert!(after_steps(sgd.clone(), 1) == after_steps(sgd.clone(), threads));
        }
    }

    #[test]
    fn a_factor_changes_the_learning_rate_of_its_step_only() {
        let run = |mut rule: Sgd, factors: [f32; 2]| {
            let mut parameters = [1.0];
            for factor in factors {
                rule.step(&mut parameters, &[2.0], factor);
            }
            parameters[0]
        };
        assert_eq!(run(Sgd::new(0.25), [1.0, 0.5]), 1.0 - 0.5 - 0.25);
        let (halved, half) = (Adam::new(0.5), Adam::new(0.25));
        let (mut one, mut other) = ([1.0], [1.0]);
        halved.clone().step(&mut one, &[2.0], 0.5);
        half.clone().step(&mut other, &[2.0], 1.0);
        assert_eq!(one, other);
    }
}
