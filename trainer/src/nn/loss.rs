//! Softmax and cross-entropy, and losses of one's own.

use std::fmt;

use candle_core::{D, Result, Tensor};

/// A loss of one's own in place of cross-entropy, for [`Trainer::loss`](crate::Trainer::loss).
///
/// What `{:?}` prints of it, its settings included, is how a [checkpoint](crate::checkpoint) knows it again: a run does not go
/// on with another loss.
///
/// ```
/// use candle_core::Tensor;
/// use feedline_trainer::nn::{Loss, cross_entropy};
///
/// /// Cross-entropy, in which rows that the network is certain of count less (Lin et al.: "Focal Loss for Dense Object
/// /// Detection", 2017).
/// #[derive(Debug)]
/// struct Focal {
///     /// How much less; 0 is cross-entropy.
///     gamma: f64,
/// }
///
/// impl Loss for Focal {
///     fn losses(&self, logits: &Tensor, labels: &Tensor) -> feedline_trainer::Result<Tensor> {
///         let losses = cross_entropy(logits, labels)?;
///         let probability = losses.neg()?.exp()?;
///         Ok((losses * (1.0 - probability)?.powf(self.gamma)?)?)
///     }
/// }
///
/// let logits = Tensor::new(&[[0.0f32, 0.0]], &candle_core::Device::Cpu)?;
/// let labels = Tensor::new(&[1u32], &candle_core::Device::Cpu)?;
/// let losses = Focal { gamma: 2.0 }.losses(&logits, &labels)?.to_vec1::<f32>()?;
/// assert!((losses[0] - 0.25 * 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
pub trait Loss: fmt::Debug + Send + Sync + 'static {
    /// The loss of each row: logits `f32` `[rows, classes]` and labels `u32` `[rows]` become `f32` `[rows]`, by operations
    /// that candle can differentiate.
    ///
    /// The trainer divides their sum by the rows of the global batch. A row's loss must follow from that row alone: which
    /// others are beside it depends on the number of replicas, and so would the result.
    ///
    /// # Errors
    ///
    /// If the shapes do not fit.
    fn losses(&self, logits: &Tensor, labels: &Tensor) -> crate::Result<Tensor>;
}

/// The cross-entropy of each row's softmax against its label: logits `[rows, classes]` and labels `u32` `[rows]`
/// become `[rows]`, in nats.
///
/// The largest logit is subtracted first, so that no logit is too large for it.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use feedline_trainer::nn::cross_entropy;
///
/// let logits = Tensor::new(&[[0.0f32, 0.0], [1e30, 0.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[1u32, 0], &Device::Cpu)?;
/// let losses = cross_entropy(&logits, &labels)?.to_vec1::<f32>()?;
/// assert!((losses[0] - 2f32.ln()).abs() < 1e-6);
/// assert_eq!(losses[1], 0.0);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// candle's, if the shapes do not fit or a label is no class.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    // The result does not depend on what is subtracted, so no gradient flows through it.
    let largest = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&largest)?;
    let normalizer = shifted.exp()?.sum(D::Minus1)?.log()?;
    let own = shifted.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    normalizer - own
}

/// As [`cross_entropy`], with smoothed labels: the share `smoothing` of a label, from 0 to below 1, is spread evenly over
/// all classes, its own included, so that no answer is worth any certainty (Szegedy et al.: "Rethinking the Inception
/// Architecture for Computer Vision", 2015, [arXiv:1512.00567](https://arxiv.org/abs/1512.00567), section 7).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use feedline_trainer::nn::smoothed_cross_entropy;
///
/// let logits = Tensor::new(&[[30.0f32, 0.0]], &Device::Cpu)?;
/// let labels = Tensor::new(&[0u32], &Device::Cpu)?;
/// let losses = smoothed_cross_entropy(&logits, &labels, 0.1)?.to_vec1::<f32>()?;
/// assert!((losses[0] - 1.5).abs() < 1e-6); // a twentieth of the label is the other class'
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
///
/// As [`cross_entropy`].
pub fn smoothed_cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f32) -> Result<Tensor> {
    let plain = cross_entropy(logits, labels)?;
    if smoothing == 0.0 {
        return Ok(plain);
    }
    let own = logits.gather(&labels.unsqueeze(1)?, 1)?.squeeze(1)?;
    let ahead = (own - logits.mean(D::Minus1)?)?;
    plain + (ahead * f64::from(smoothing))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};
    use feedline_pipeline::Random;

    use crate::kernel::loss;

    #[test]
    fn the_gradient_is_the_softmax_less_the_label() -> Result<()> {
        let values = [[0.3f32, -1.2, 2.0], [80.0, 90.0, -90.0]];
        let logits = Var::new(&values, &Device::Cpu)?;
        let labels = Tensor::new(&[2u32, 0], &Device::Cpu)?;
        let gradients = cross_entropy(&logits, &labels)?.sum_all()?.backward()?;
        let gradients = gradients.get(&logits).unwrap().to_vec2::<f32>()?;
        for (row, label) in [2, 0].into_iter().enumerate() {
            let exponentials = values[row].map(|x| f64::from(x - 90.0 * row as f32).exp());
            let sum: f64 = exponentials.iter().sum();
            for class in 0..3 {
                let expected = exponentials[class] / sum - f64::from(class == label);
                assert!((f64::from(gradients[row][class]) - expected).abs() < 1e-6);
            }
        }
        Ok(())
    }

    #[test]
    fn smoothed_gradients_are_the_engines() -> Result<()> {
        let mut random = Random::new([1]);
        for (classes, smoothing) in [(1, 0.5), (2, 0.1), (10, 0.0), (10, 0.1), (100, 0.9)] {
            let logits: Vec<_> = (0..classes).map(|_| random.uniform(-9.0, 9.0)).collect();
            let label = random.below(classes as u64) as u32;
            let on_tape = Var::from_slice(&logits, (1, classes), &Device::Cpu)?;
            let labels = Tensor::new(&[label], &Device::Cpu)?;
            let losses = smoothed_cross_entropy(&on_tape, &labels, smoothing)?;
            let gradients = (losses.sum_all()? * 0.3)?.backward()?;
            let gradients = gradients.get(&on_tape).unwrap().to_vec2::<f32>()?;
            let mut found = logits;
            let (loss, _) =
                loss::smoothed_cross_entropy(&mut found, label, 0.3, smoothing).unwrap();
            assert!((loss - losses.to_vec1::<f32>()?[0]).abs() < 2e-5);
            for (found, expected) in found.into_iter().zip(&gradients[0]) {
                assert!((found - expected).abs() < 1e-6, "{found}, {expected}");
            }
        }
        Ok(())
    }
}
