//! What a model answers and how it should change, on candle's tape.

use candle_core::{D, DType, Device, Tensor};
use feedline_pipeline::Shape;

use super::learner::Rows;
use super::objective::Objective;
use crate::engine::Totals;
use crate::error::{Error, Result};
use crate::nn::flat;
use crate::nn::{Model, Parameter, Pass};

/// Puts the gradients of `share` times the sum of the rows' losses into `gradients`, those of the parameters `trained` one
/// after the other.
pub(super) fn gradients(
    model: &impl Model,
    trained: &[Parameter],
    rows: Rows<'_>,
    device: &Device,
    (share, objective): (f32, &Objective),
    pass: &Pass,
    gradients: &mut [f32],
) -> Result<Totals> {
    let (logits, labels) = answers(model, rows, device, pass)?;
    let loss = objective.training(&logits, &labels)?.sum_all()?;
    let share = (&loss * f64::from(share))?;
    flat::gradients(trained, &share.backward()?, gradients)?;
    Ok(Totals {
        loss: f64::from(loss.to_scalar::<f32>()?),
        correct: count_correct(&logits, &labels)?,
    })
}

/// Loss and right answers, as in evaluation.
pub(super) fn evaluate(
    model: &impl Model,
    rows: Rows<'_>,
    device: &Device,
    objective: &Objective,
) -> Result<Totals> {
    let (logits, labels) = answers(model, rows, device, &Pass::evaluation())?;
    let losses = objective.evaluation(&logits, &labels)?.to_vec1::<f32>()?;
    Ok(Totals {
        loss: losses.into_iter().map(f64::from).sum(),
        correct: count_correct(&logits, &labels)?,
    })
}

/// Shows the model one black picture, so that one that does not fit the `set` fails before training starts.
pub(super) fn try_out(
    model: &impl Model,
    set: &str,
    shape: Shape,
    classes: usize,
    device: &Device,
) -> Result<()> {
    let one = (1, shape.channels, shape.height, shape.width);
    let picture = Tensor::zeros(one, DType::F32, device)?;
    let fits = match model.forward(&picture, &Pass::evaluation()) {
        Err(error) => Err(error.to_string()),
        Ok(logits) if logits.dims() == [1, classes] => Ok(()),
        Ok(logits) => Err(format!(
            "the data have {classes} classes, so one picture must give logits of [1, {classes}]; they are {:?}",
            logits.dims()
        )),
    };
    fits.map_err(|reason| Error::InvalidModel {
        layer: format!("the model on a picture of the {set} set, {shape}"),
        reason,
    })
}

/// Logits and labels.
fn answers(
    model: &impl Model,
    rows: Rows<'_>,
    device: &Device,
    pass: &Pass,
) -> Result<(Tensor, Tensor)> {
    let (count, shape) = (rows.labels.len(), rows.shape);
    let images = (count, shape.channels, shape.height, shape.width);
    let images = Tensor::from_slice(rows.images, images, device)?;
    let labels = Tensor::from_slice(rows.labels, count, device)?;
    Ok((model.forward(&images, pass)?, labels))
}

fn count_correct(logits: &Tensor, labels: &Tensor) -> Result<usize> {
    let right = logits.detach().argmax(D::Minus1)?.eq(labels)?;
    let right = right.to_dtype(DType::F32)?.sum_all()?;
    Ok(right.to_scalar::<f32>()? as usize)
}
