//! How gradients change parameters.

mod adam;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use std::fmt::Debug;

use crate::error::{Result, invalid};

/// A rule that changes parameters by their gradients. Both are one flat buffer, so that an update is one pass.
///
/// A clone of a rule that has not made a step is a rule for another replica.
pub trait Optimizer: Debug + Clone + Send + Sync + 'static {
    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) names the setting that can't work.
    fn check(&self) -> Result<()>;

    /// Makes one step. `parameters` and `gradients` have the same length and order at every call.
    fn step(&mut self, parameters: &mut [f32], gradients: &[f32]);
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
