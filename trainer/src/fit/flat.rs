//! A model's parameters as one buffer, which is what collectives and optimizers take.

use candle_core::Tensor;
use candle_core::backprop::GradStore;

use crate::error::{Result, invalid};
use crate::nn::Parameter;

/// How many numbers these parameters have.
pub(super) fn length(parameters: &[Parameter]) -> usize {
    parameters.iter().map(|own| own.value.elem_count()).sum()
}

/// The values of these parameters, one after the other.
pub(super) fn read(parameters: &[Parameter]) -> Result<Vec<f32>> {
    let mut flat = Vec::with_capacity(length(parameters));
    for own in parameters {
        append(own.value.as_detached_tensor(), &mut flat)?;
    }
    Ok(flat)
}

/// Gives the parameters the values in `flat`.
pub(super) fn write(parameters: &[Parameter], mut flat: &[f32]) -> Result<()> {
    for own in parameters {
        let (values, rest) = flat.split_at(own.value.elem_count());
        let value = &own.value;
        value.set(&Tensor::from_slice(values, value.shape(), value.device())?)?;
        flat = rest;
    }
    Ok(())
}

/// Puts the gradients of these parameters into `flat`; 0 for what the loss does not depend on.
pub(super) fn gradients(
    parameters: &[Parameter],
    store: &GradStore,
    flat: &mut Vec<f32>,
) -> Result<()> {
    flat.clear();
    for own in parameters {
        match store.get(&own.value) {
            Some(gradient) => append(gradient.clone(), flat)?,
            None => flat.resize(flat.len() + own.value.elem_count(), 0.0),
        }
    }
    Ok(())
}

fn append(tensor: Tensor, flat: &mut Vec<f32>) -> Result<()> {
    flat.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
    Ok(())
}

/// Checks that a model has something to train, in a type that the trainer can handle.
pub(super) fn check(parameters: &[Parameter]) -> Result<()> {
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
