//! A model's parameters, apart from what computes with them.

use crate::collective::{Collective, Phase};
use crate::error::Result;
use crate::nn::{Model, Parameter, flat};

/// The parameters that gradients change, and the others, such as running means, which follow the batches.
pub(super) struct Parts {
    pub(super) trained: Vec<Parameter>,
    pub(super) untrained: Vec<Parameter>,
}

impl Parts {
    pub(super) fn of(model: &impl Model) -> Self {
        let parameters = model.parameters().iter().cloned();
        let (trained, untrained) = parameters.partition(|own| own.trainable);
        Self { trained, untrained }
    }

    /// The numbers in both, as rank 0 has them: even if the model's own seed is not fixed.
    pub(super) fn of_rank_0(&self, collective: &dyn Collective) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut values = flat::read(&self.trained)?;
        let mut statistics = flat::read(&self.untrained)?;
        collective.note(0, Phase::Weights);
        collective.broadcast(&mut values)?;
        collective.broadcast(&mut statistics)?;
        Ok((values, statistics))
    }

    /// Gives the parameters these numbers.
    pub(super) fn write(&self, values: &[f32], statistics: &[f32]) -> Result<()> {
        flat::write(&self.trained, values)?;
        flat::write(&self.untrained, statistics)
    }
}
