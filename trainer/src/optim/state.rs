//! What a rule keeps from step to step.

use std::collections::BTreeMap;

use crate::error::{Result, invalid};

/// What the steps of an [`Optimizer`](super::Optimizer) have left behind: buffers with names, and how many steps there were.
///
/// ```
/// use feedline_trainer::optim::{Adam, Optimizer};
///
/// let (mut adam, mut parameters) = (Adam::new(0.1), [1.0, 2.0]);
/// adam.step(&mut parameters, &[0.5, -0.5], 1.0);
/// let mut other = Adam::new(0.1);
/// other.restore(adam.state().expect("Adam has one"), parameters.len())?;
/// assert_eq!(adam.state(), other.state());
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OptimizerState {
    steps: u64,
    buffers: BTreeMap<String, Vec<f32>>,
}

impl OptimizerState {
    /// After this many steps, without buffers.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            buffers: BTreeMap::new(),
        }
    }

    /// With a buffer of this name, in the place of an earlier one.
    #[must_use]
    pub fn buffer(mut self, name: impl Into<String>, values: Vec<f32>) -> Self {
        self.buffers.insert(name.into(), values);
        self
    }

    /// How many steps there were; 0 of a rule that does not count them.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The buffers, sorted by their names.
    pub fn buffers(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let buffers = self.buffers.iter();
        buffers.map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    /// Takes the buffer of this name, whose length must be one of `lengths`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is none, or it is of another length.
    pub fn take(&mut self, name: &str, lengths: &[usize]) -> Result<Vec<f32>> {
        let buffer = self.buffers.remove(name);
        let buffer = buffer.ok_or_else(|| {
            let found = format!("without a buffer {name:?}");
            invalid("state of the optimizer", found, "one of the same rule")
        })?;
        if lengths.contains(&buffer.len()) {
            return Ok(buffer);
        }
        let found = format!("{} numbers of {name:?}", buffer.len());
        let expected = format!("as many as the model's trained ones: one of {lengths:?}");
        Err(invalid("state of the optimizer", found, expected))
    }

    /// To be called when all buffers were taken.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if one is left, which then belongs to another rule.
    pub fn finish(self) -> Result<()> {
        match self.buffers.into_keys().next() {
            None => Ok(()),
            Some(name) => {
                let found = format!("with a buffer {name:?}");
                Err(invalid(
                    "state of the optimizer",
                    found,
                    "one of the same rule",
                ))
            }
        }
    }
}
