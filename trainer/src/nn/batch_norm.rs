//! Batch normalization.

use candle_core::{DType, Result, Tensor, Var};

use super::layer::check_batch;
use super::normalization::{Operation, Planes};
use super::storage::with_slice;
use super::{Initializer, Layer, ParameterShape, Pass};

/// Normalizes every channel over batch, height and width, then scales and shifts it (Ioffe, Szegedy: "Batch
/// Normalization", 2015, [arXiv:1502.03167](https://arxiv.org/abs/1502.03167)).
///
/// Training uses the statistics of the batch and follows them with running ones, which evaluation uses. With several
/// replicas each uses **its own rows' statistics**, as PyTorch's DistributedDataParallel does by default; the running
/// ones of rank 0 are those that count. So a network with this layer computes slightly different things with another
/// number of replicas, unless it is [synchronized](Self::synchronized).
///
/// Holds `scale` and `shift`, and `running_mean` and `running_variance`, which are not trained, each `[channels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    momentum: f64,
    epsilon: f64,
    synchronized: bool,
}

impl BatchNorm {
    /// With momentum 0.9 and epsilon 0.001.
    pub fn new() -> Self {
        Self {
            momentum: 0.9,
            epsilon: 1e-3,
            synchronized: false,
        }
    }

    /// How much of the running statistics stays in each step, from 0 to below 1. Keras' 0.99 needs some hundred steps
    /// before evaluation means anything.
    #[must_use]
    pub fn momentum(self, momentum: f64) -> Self {
        Self { momentum, ..self }
    }

    /// What is added to the variance, above 0.
    #[must_use]
    pub fn epsilon(self, epsilon: f64) -> Self {
        Self { epsilon, ..self }
    }

    /// Momentum and epsilon.
    #[cfg(feature = "cuda")]
    pub(crate) fn settings(&self) -> (f64, f64) {
        (self.momentum, self.epsilon)
    }

    /// Whether several replicas normalize with the statistics of all rows of the global batch, so that they compute what
    /// one does. Costs two small sums over the replicas on the way forward and one on the way back, for which they wait
    /// each time. Needs the [`Engine`](crate::engine::Engine): training on candle's tape is an error.
    ///
    /// ```
    /// use candle_core::Device;
    /// use feedline_trainer::nn::{BatchNorm, Conv2d, Flatten, Linear, Relu, Sequential};
    ///
    /// let network = Sequential::builder([3, 24, 24])
    ///     .add(Conv2d::new(8, 3))
    ///     .add(Relu)
    ///     .add(BatchNorm::new().synchronized(true))
    ///     .add(Flatten)
    ///     .add(Linear::new(10))
    ///     .build(1, &Device::Cpu)?;
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    #[must_use]
    pub fn synchronized(self, synchronized: bool) -> Self {
        Self {
            synchronized,
            ..self
        }
    }

    pub(crate) fn is_synchronized(&self) -> bool {
        self.synchronized
    }

    /// 1 / √(variance + ε).
    pub(crate) fn inverse_deviation(&self, variance: f64) -> f32 {
        (variance + self.epsilon).sqrt().recip() as f32
    }

    /// Moves one number of a running statistic towards that of a batch.
    pub(crate) fn follow_value(&self, running: &mut f32, batch: f64) {
        *running = (f64::from(*running) * self.momentum + batch * (1.0 - self.momentum)) as f32;
    }
}

impl Default for BatchNorm {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer for BatchNorm {
    fn kind(&self) -> &'static str {
        "batch_norm"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        if !(0.0..1.0).contains(&self.momentum) {
            let found = self.momentum;
            return Err(format!("momentum must be from 0 to below 1, it is {found}"));
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return Err(format!("epsilon must be above 0, it is {}", self.epsilon));
        }
        if input.is_empty() {
            return Err("the input must have channels or features, it is []".into());
        }
        Ok(input.to_vec())
    }

    fn parameters(&self, input: &[usize]) -> Vec<ParameterShape> {
        let parameter = |name: &'static str, value, trainable| ParameterShape {
            name: name.into(),
            shape: vec![input[0]],
            initializer: Initializer::Constant(value),
            trainable,
        };
        vec![
            parameter("scale", 1.0, true),
            parameter("shift", 0.0, true),
            parameter("running_mean", 0.0, false),
            parameter("running_variance", 1.0, false),
        ]
    }

    fn forward(&self, input: &Tensor, parameters: &[Var], pass: &Pass) -> Result<Tensor> {
        let [scale, shift, running_mean, running_variance] = parameters else {
            candle_core::bail!("batch_norm has four parameters, not {}", parameters.len())
        };
        check_batch(self, input)?;
        if self.synchronized && pass.is_training() {
            candle_core::bail!(
                "batch_norm: synchronized(true) needs the engine, which trains a Sequential of this crate's layers; on                  candle's tape, which trains everything else, a layer can't see other replicas' rows: leave it out there"
            )
        }
        let channels = input.dim(1)?;
        if let Some(own) = parameters.iter().find(|own| own.dims() != [channels]) {
            let found = own.dims();
            candle_core::bail!("a parameter of batch_norm is {found:?}, expected [{channels}]");
        }
        let ours = |own: &Tensor| own.device().is_cpu() && own.dtype() == DType::F32;
        let on_cpu = ours(input) && parameters.iter().all(|own| ours(own));
        if on_cpu && input.elem_count() > 0 {
            let running = [running_mean, running_variance];
            self.by_operation(input, scale, shift, running, pass)
        } else {
            self.by_candle(input, parameters, pass)
        }
    }
}

impl BatchNorm {
    /// As an operation of ours.
    fn by_operation(
        &self,
        input: &Tensor,
        scale: &Tensor,
        shift: &Tensor,
        running: [&Var; 2],
        pass: &Pass,
    ) -> Result<Tensor> {
        let (rows, channels) = (input.dim(0)?, input.dim(1)?);
        let planes = Planes {
            rows,
            channels,
            area: input.elem_count() / (rows * channels),
        };
        let input = input.contiguous()?;
        let [mut means, mut variances] = [running[0].to_vec1::<f32>()?, running[1].to_vec1()?];
        let moments: Vec<[f64; 2]> = if pass.is_training() {
            let moments = with_slice(&input, |input| Ok(planes.moments(input)))?;
            let unbiased = unbiased(rows * planes.area);
            for (channel, [mean, variance]) in moments.iter().enumerate() {
                self.follow_value(&mut means[channel], *mean);
                self.follow_value(&mut variances[channel], variance * unbiased);
            }
            running[0].set(&Tensor::from_slice(&means, channels, input.device())?)?;
            running[1].set(&Tensor::from_slice(&variances, channels, input.device())?)?;
            moments
        } else {
            let pairs = means.into_iter().zip(variances);
            pairs
                .map(|(mean, variance)| [mean.into(), variance.into()])
                .collect()
        };
        let inverse = moments.iter().map(|own| self.inverse_deviation(own[1]));
        let operation = Operation {
            planes,
            mean: moments.iter().map(|own| own[0] as f32).collect(),
            inverse: inverse.collect(),
            of_batch: pass.is_training(),
        };
        input.apply_op3(&scale.contiguous()?, &shift.contiguous()?, operation)
    }

    /// By candle's own operations, for all devices and types of numbers.
    fn by_candle(&self, input: &Tensor, parameters: &[Var], pass: &Pass) -> Result<Tensor> {
        let [scale, shift, running_mean, running_variance] = parameters else {
            candle_core::bail!("batch_norm has four parameters, not {}", parameters.len())
        };
        // [rows, channels, the rest]: whatever the rest is, it is one dimension here.
        let (rows, channels) = (input.dim(0)?, input.dim(1)?);
        let flat = input.reshape((rows, channels, ()))?;
        let per_channel = |tensor: &Tensor| tensor.reshape((1, channels, 1));
        let (centered, variance) = if pass.is_training() {
            let mean = flat.mean_keepdim((0, 2))?;
            let centered = flat.broadcast_sub(&mean)?;
            let variance = centered.sqr()?.mean_keepdim((0, 2))?;
            let count = flat.elem_count() / channels;
            self.follow(running_mean, &mean, 1.0)?;
            self.follow(running_variance, &variance, unbiased(count))?;
            (centered, variance)
        } else {
            let centered = flat.broadcast_sub(&per_channel(running_mean)?)?;
            (centered, per_channel(running_variance)?)
        };
        let inverse = (variance + self.epsilon)?.sqrt()?.recip()?;
        let factor = (inverse * per_channel(scale)?)?;
        centered
            .broadcast_mul(&factor)?
            .broadcast_add(&per_channel(shift)?)?
            .reshape(input.shape())
    }

    /// Moves a running statistic towards this batch's, which is multiplied by `factor`.
    fn follow(&self, running: &Var, batch: &Tensor, factor: f64) -> Result<()> {
        let batch = batch.detach().flatten_all()?;
        let kept = (running.as_detached_tensor() * self.momentum)?;
        running.set(&(kept + (batch * (factor * (1.0 - self.momentum)))?)?)
    }
}

/// What makes the variance of `count` numbers the unbiased estimate, which PyTorch and TensorFlow's fused layer keep.
fn unbiased(count: usize) -> f64 {
    count as f64 / (count.max(2) - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// The layer's parameters for two channels.
    fn parameters(layer: &BatchNorm) -> Vec<Var> {
        let shapes = layer.parameters(&[2, 2, 3]);
        let values = shapes.into_iter().map(|shape| {
            let Initializer::Constant(value) = shape.initializer else {
                panic!("statistics begin as constants")
            };
            Var::from_slice(&[value; 2], 2, &Device::Cpu).unwrap()
        });
        values.collect()
    }

    #[test]
    fn a_batch_is_normalized_per_channel_and_its_statistics_are_followed() -> Result<()> {
        let layer = BatchNorm::new().epsilon(1e-9);
        let held = parameters(&layer);
        let values: Vec<f32> = (0..48).map(|i| ((i * i) % 17) as f32).collect();
        let input = Tensor::from_slice(&values, (4, 2, 2, 3), &Device::Cpu)?;
        let output = layer.forward(&input, &held, &Pass::training(0, 0, 0))?;
        let output = output.flatten_all()?.to_vec1::<f32>()?;
        for channel in 0..2 {
            // A naive loop in f64.
            let own = |i: &usize| i / 6 % 2 == channel;
            let places: Vec<usize> = (0..48).filter(own).collect();
            let mean = places.iter().map(|&i| f64::from(values[i])).sum::<f64>() / 24.0;
            let deviations = places
                .iter()
                .map(|&i| (f64::from(values[i]) - mean).powi(2));
            let sum: f64 = deviations.sum();
            for &i in &places {
                let expected = (f64::from(values[i]) - mean) / (sum / 24.0).sqrt();
                assert!((f64::from(output[i]) - expected).abs() < 1e-5);
            }
            let running = |parameter: usize| held[parameter].to_vec1::<f32>().unwrap()[channel];
            assert!((f64::from(running(2)) - 0.1 * mean).abs() < 1e-5);
            assert!((f64::from(running(3)) - (0.9 + 0.1 * sum / 23.0)).abs() < 1e-5);
        }
        Ok(())
    }

    #[test]
    fn evaluation_uses_the_running_statistics_and_leaves_them() -> Result<()> {
        let layer = BatchNorm::new();
        let held = parameters(&layer);
        held[2].set(&Tensor::from_slice(&[1.0f32, 2.0], 2, &Device::Cpu)?)?;
        held[3].set(&Tensor::from_slice(&[4.0f32, 9.0], 2, &Device::Cpu)?)?;
        let input = Tensor::from_slice(&[5.0f32, 8.0], (1, 2, 1, 1), &Device::Cpu)?;
        let output = layer.forward(&input, &held, &Pass::evaluation())?;
        for value in output.flatten_all()?.to_vec1::<f32>()? {
            assert!((value - 2.0).abs() < 1e-3, "{value}");
        }
        assert_eq!(held[2].to_vec1::<f32>()?, [1.0, 2.0]);
        Ok(())
    }

    #[test]
    fn on_candles_tape_synchronized_training_is_refused_and_evaluation_is_not() -> Result<()> {
        let layer = BatchNorm::new().synchronized(true);
        let held = parameters(&layer);
        let input = Tensor::ones((1, 2, 1, 1), DType::F32, &Device::Cpu)?;
        assert!(layer.forward(&input, &held, &Pass::evaluation()).is_ok());
        let error = layer.forward(&input, &held, &Pass::training(0, 0, 0));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("needs the engine"), "{error}");
        Ok(())
    }
}
