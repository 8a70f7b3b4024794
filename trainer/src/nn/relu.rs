//! The rectifier.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, Var, WithDType,
};

use super::storage::slice;
use super::{Layer, Pass};
#[cfg(feature = "cuda")]
use crate::cuda::tape;

/// max(0, x) on every element.
///
/// The gradient at exactly 0 is 0, as in Keras and PyTorch; candle's own relu has 1 there. NaN stays NaN, so that a
/// diverged network is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relu;

impl Layer for Relu {
    fn kind(&self) -> &'static str {
        "relu"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        Ok(input.to_vec())
    }

    fn forward(&self, input: &Tensor, _: &[Var], _: &Pass) -> Result<Tensor> {
        input.contiguous()?.apply_op1(Operation)
    }
}

struct Operation;

impl CustomOp1 for Operation {
    fn name(&self) -> &'static str {
        "relu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let rectified = match storage.dtype() {
            DType::F64 => rectify::<f64>(storage, layout)?,
            _ => rectify::<f32>(storage, layout)?,
        };
        Ok((rectified, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let rectified = tape::rectify(storage, layout)?;
        Ok((rectified, layout.shape().clone()))
    }

    fn bwd(&self, _input: &Tensor, output: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        output.apply_op2_no_bwd(&gradient, &Passed).map(Some)
    }
}

fn rectify<T: WithDType>(storage: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let zero = T::zero();
    // Written so that NaN stays.
    let rectified = slice::<T>(storage, layout)?.iter();
    let rectified = rectified.map(|&x| if x < zero { zero } else { x });
    Ok(T::to_cpu_storage_owned(rectified.collect()))
}

/// What of the gradient passes, by what came out.
struct Passed;

impl CustomOp2 for Passed {
    fn name(&self) -> &'static str {
        "relu_gradient"
    }

    fn cpu_fwd(
        &self,
        output: &CpuStorage,
        output_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (output, gradient) = ((output, output_layout), (gradient, gradient_layout));
        let passed = match output.0.dtype() {
            DType::F64 => passed::<f64>(output, gradient)?,
            _ => passed::<f32>(output, gradient)?,
        };
        Ok((passed, output_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        output: &CudaStorage,
        output_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let passed = tape::passed((output, output_layout), (gradient, gradient_layout))?;
        Ok((passed, output_layout.shape().clone()))
    }
}

fn passed<T: WithDType>(
    (output, output_layout): (&CpuStorage, &Layout),
    (gradient, gradient_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let zero = T::zero();
    let output = slice::<T>(output, output_layout)?;
    let gradient = slice::<T>(gradient, gradient_layout)?;
    let passed = output.iter().zip(gradient);
    let passed = passed.map(|(&y, &g)| if y > zero { g } else { zero });
    Ok(T::to_cpu_storage_owned(passed.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn nothing_flows_back_through_zero_and_below() -> Result<()> {
        let input = Var::from_slice(&[-2.0f32, -0.0, 0.0, 3.0], 4, &Device::Cpu)?;
        let weights = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], 4, &Device::Cpu)?;
        let output = Relu.forward(&input, &[], &Pass::evaluation())?;
        assert_eq!(output.to_vec1::<f32>()?, [0.0, 0.0, 0.0, 3.0]);
        let gradients = (output * weights)?.sum_all()?.backward()?;
        let gradient = gradients.get(&input).unwrap().to_vec1::<f32>()?;
        assert_eq!(gradient, [0.0, 0.0, 0.0, 4.0]);
        Ok(())
    }

    #[test]
    fn a_diverged_network_is_not_hidden() -> Result<()> {
        let input = Tensor::from_slice(&[f32::NAN], 1, &Device::Cpu)?;
        let output = Relu.forward(&input, &[], &Pass::evaluation())?;
        assert!(output.to_vec1::<f32>()?[0].is_nan());
        Ok(())
    }
}
