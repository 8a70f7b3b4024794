//! A model's parameters as one buffer, which is what collectives and optimizers take.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::Parameter;
use crate::error::{Result, invalid};

/// How many numbers these parameters have.
pub(crate) fn length(parameters: &[Parameter]) -> usize {
    parameters.iter().map(|own| own.value.elem_count()).sum()
}

/// The values of these parameters, one after the other.
pub(crate) fn read(parameters: &[Parameter]) -> Result<Vec<f32>> {
    let mut flat = Vec::new();
    for own in parameters {
        let values = own.value.as_detached_tensor().flatten_all()?;
        flat.extend(values.to_vec1::<f32>()?);
    }
    Ok(flat)
}

/// Gives the parameters the values in `flat`.
pub(crate) fn write(parameters: &[Parameter], mut flat: &[f32]) -> Result<()> {
    for own in parameters {
        let (values, rest) = flat.split_at(own.value.elem_count());
        let value = &own.value;
        value.set(&Tensor::from_slice(values, value.shape(), value.device())?)?;
        flat = rest;
    }
    Ok(())
}

/// Puts the gradients of these parameters into `flat`; 0 for what the loss does not depend on.
pub(crate) fn gradients(
    parameters: &[Parameter],
    store: &GradStore,
    mut flat: &mut [f32],
) -> Result<()> {
    for own in parameters {
        let (part, rest) = flat.split_at_mut(own.value.elem_count());
        match store.get(&own.value) {
            Some(gradient) => part.copy_from_slice(&gradient.flatten_all()?.to_vec1::<f32>()?),
            None => part.fill(0.0),
        }
        flat = rest;
    }
    Ok(())
}

/// Checks that a model has something to train, in a type that the trainer can handle.
pub(crate) fn check(parameters: &[Parameter]) -> Result<()> {
    if !parameters.iter().any(|own| own.trainable) {
        return Err(invalid(
            "model",
            "without trainable parameters",
            "at least one",
        ));
    }
    match parameters
        .iter()
        .find(|own| own.value.dtype() != candle_core::DType::F32)
    {
        None => Ok(()),
        Some(own) => {
            let found = format!("{} in parameter {}", own.value.dtype().as_str(), own.name);
            Err(invalid("model", found, "f32 throughout"))
        }
    }
}
