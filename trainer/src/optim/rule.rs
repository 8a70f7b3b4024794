//! Rules that devices know.

/// The settings of a rule that GPUs have a kernel for: the numbers of [`Adam`](super::Adam) or [`Sgd`](super::Sgd).
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Rule {
    /// [`Adam`](super::Adam).
    Adam {
        /// Before the schedule's factor.
        learning_rate: f32,
        /// How much of the running mean of gradients stays in a step.
        beta1: f32,
        /// How much of the running mean of their squares stays in a step.
        beta2: f32,
        /// What is added to the denominator.
        epsilon: f32,
    },
    /// [`Sgd`](super::Sgd).
    Sgd {
        /// Before the schedule's factor.
        learning_rate: f32,
        /// How much of the last step goes into the next.
        momentum: f32,
        /// With Nesterov's look ahead.
        nesterov: bool,
    },
}
