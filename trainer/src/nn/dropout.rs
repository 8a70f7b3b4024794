//! Dropout.

use candle_core::{Result, Tensor, Var};
use feedline_pipeline::Random;

use super::{Layer, Pass};

/// In training, sets each element to 0 with this probability and multiplies the others, so that the expected sum
/// stays; in evaluation, changes nothing (Srivastava et al.: "Dropout: A Simple Way to Prevent Neural Networks from
/// Overfitting", 2014).
///
/// What is dropped follows from the seed, the step, the layer and the row in the *global* batch: it is the same in
/// every run and for any number of replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    rate: f32,
}

impl Dropout {
    /// Drops elements with probability `rate`, from 0 to below 1.
    pub fn new(rate: f32) -> Self {
        Self { rate }
    }

    pub(crate) fn rate(&self) -> f32 {
        self.rate
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        if (0.0..1.0).contains(&self.rate) {
            return Ok(input.to_vec());
        }
        Err(format!(
            "the rate must be from 0 to below 1, it is {}",
            self.rate
        ))
    }

    fn forward(&self, input: &Tensor, _: &[Var], pass: &Pass) -> Result<Tensor> {
        if !pass.is_training() || self.rate == 0.0 {
            return Ok(input.clone());
        }
        let rows = input.dim(0)?;
        let features = input.elem_count() / rows.max(1);
        let kept = 1.0 / (1.0 - self.rate);
        let mut mask = Vec::with_capacity(rows * features);
        for row in 0..rows {
            let mut random = Random::new(pass.key(row));
            let drop = |_| if random.unit() < self.rate { 0.0 } else { kept };
            mask.extend((0..features).map(drop));
        }
        let mask = Tensor::from_vec(mask, input.shape(), input.device())?;
        input * mask.to_dtype(input.dtype())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn dropped(rows: usize, first_row: usize, step: u64) -> Vec<Vec<f32>> {
        let input = Tensor::ones((rows, 1000), DType::F32, &Device::Cpu).unwrap();
        let pass = Pass::training(7, step, first_row).in_layer(3);
        let output = Dropout::new(0.4).forward(&input, &[], &pass).unwrap();
        output.to_vec2().unwrap()
    }

    #[test]
    fn the_mask_follows_the_row_of_the_global_batch() {
        let whole = dropped(6, 0, 1);
        assert_eq!(whole[..2], dropped(2, 0, 1));
        assert_eq!(whole[2..], dropped(4, 2, 1));
        assert_ne!(whole, dropped(6, 0, 2));
        assert_ne!(whole[0], whole[1]);
    }

    #[test]
    fn the_expected_sum_stays() {
        let mean = dropped(100, 0, 1).concat().iter().sum::<f32>() / 1e5;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
    }

    #[test]
    fn evaluation_drops_nothing() {
        let input = Tensor::ones((2, 5), DType::F32, &Device::Cpu).unwrap();
        let layer = Dropout::new(0.5);
        let output = layer.forward(&input, &[], &Pass::evaluation()).unwrap();
        assert_eq!(output.to_vec2::<f32>().unwrap(), [[1.0; 5]; 2]);
        assert!(Dropout::new(1.0).output_shape(&[5]).is_err());
        assert!(Dropout::new(f32::NAN).output_shape(&[5]).is_err());
    }
}
