//! What training makes small.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use crate::error::{Result, invalid};
use crate::nn::{Loss, cross_entropy, smoothed_cross_entropy};

/// Cross-entropy, with labels smoothed in training; or a loss of the user's own, the same in training and evaluation.
#[derive(Debug, Clone)]
pub(super) enum Objective {
    CrossEntropy { label_smoothing: f32 },
    Own(Arc<dyn Loss>),
}

impl Objective {
    /// Each row's loss in training: logits `[rows, classes]` and labels `[rows]` become `[rows]`.
    pub(super) fn training(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match self {
            &Self::CrossEntropy { label_smoothing } => {
                Ok(smoothed_cross_entropy(logits, labels, label_smoothing)?)
            }
            Self::Own(loss) => own_losses(&**loss, logits, labels),
        }
    }

    /// The same in evaluation.
    pub(super) fn evaluation(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
        match self {
            Self::CrossEntropy { .. } => Ok(cross_entropy(logits, labels)?),
            Self::Own(loss) => own_losses(&**loss, logits, labels),
        }
    }

    /// Tries a loss of the user's own on two rows of equal logits, so that one that can't work fails before training starts.
    pub(super) fn try_out(&self, classes: usize, device: &Device) -> Result<()> {
        let Self::Own(loss) = self else { return Ok(()) };
        let logits = Var::zeros((2, classes), DType::F32, device)?;
        let labels = Tensor::new(&[0, classes.saturating_sub(1) as u32], device)?;
        let losses = own_losses(&**loss, &logits, &labels)?;
        let values = losses.to_vec1::<f32>()?;
        if values.iter().any(|own| !own.is_finite()) {
            let found = format!("{values:?} by {loss:?} where all logits are 0");
            return Err(invalid("loss", found, "numbers"));
        }
        if losses.sum_all()?.backward()?.get(&logits).is_none() {
            let found = format!("{loss:?}, in which no gradient reaches the logits");
            let expected = "one made of operations that candle can differentiate, without `detach`";
            return Err(invalid("loss", found, expected));
        }
        Ok(())
    }
}

/// What `loss` gives, if it has the right shape.
fn own_losses(loss: &dyn Loss, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let losses = loss.losses(logits, labels)?;
    let rows = labels.elem_count();
    if losses.dims() == [rows] && losses.dtype() == DType::F32 {
        return Ok(losses);
    }
    let (dtype, shape) = (losses.dtype().as_str(), losses.dims());
    let found = format!("{dtype} {shape:?} by {loss:?} for {rows} rows");
    let expected =
        format!("f32 [{rows}]: a number for each row, of which the trainer takes the mean");
    Err(invalid("loss", found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of each row's cross-entropy.
    #[derive(Debug)]
    struct Wrong(fn(Tensor) -> candle_core::Result<Tensor>);

    impl Loss for Wrong {
        fn losses(&self, logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
            Ok((self.0)(cross_entropy(logits, labels)?)?)
        }
    }

    fn try_out(change: fn(Tensor) -> candle_core::Result<Tensor>) -> Result<()> {
        Objective::Own(Arc::new(Wrong(change))).try_out(3, &Device::Cpu)
    }

    #[test]
    fn a_loss_that_cannot_work_is_refused_with_what_is_wrong() {
        assert!(try_out(Ok).is_ok());
        let refusal = |change| try_out(change).unwrap_err().to_string();
        let scalar = refusal(|own| own.mean_all());
        assert!(scalar.starts_with("loss is f32 [] by Wrong"), "{scalar}");
        assert!(scalar.contains("expected f32 [2]"), "{scalar}");
        let column = refusal(|own| own.unsqueeze(1));
        assert!(column.starts_with("loss is f32 [2, 1] by"), "{column}");
        let double = refusal(|own| own.to_dtype(DType::F64));
        assert!(double.starts_with("loss is f64 [2] by"), "{double}");
        let infinite = refusal(|own| own.zeros_like()?.log());
        assert!(infinite.contains("inf"), "{infinite}");
        let detached = refusal(|own| Ok(own.detach()));
        assert!(detached.contains("no gradient reaches"), "{detached}");
    }
}
