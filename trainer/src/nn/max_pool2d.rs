//! Max-pooling.

use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, Var, WithDType};
use rayon::prelude::*;

use super::geometry::Side;
use super::layer::{check_batch, picture};
use super::storage::{slice, with_slice};
use super::{Layer, Padding, Pass, pooling};
#[cfg(feature = "cuda")]
use crate::cuda::tape;
use crate::kernel::shape::{Picture, Pool};

/// The largest value of each window: `[channels, height, width]` becomes smaller by the stride.
///
/// Windows may overlap. Of equal values the first counts, row by row, and gets the whole gradient, as in PyTorch. This
/// is an operation of ours because candle 0.11's has a wrong gradient, and none at all for windows that overlap.
/// NaN counts as the largest, so that a diverged network is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool2d {
    window: usize,
    stride: usize,
    padding: Padding,
}

impl MaxPool2d {
    /// Windows of `window` × `window` pixels, `stride` pixels apart, without padding: what does not fill a window at the
    /// right and at the bottom is left out.
    pub fn new(window: usize, stride: usize) -> Self {
        Self {
            window,
            stride,
            padding: Padding::Valid,
        }
    }

    /// What lies beyond the edge: nothing in either case, and not 0.
    #[must_use]
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Where the windows lie, from top to bottom and from left to right.
    pub(crate) fn sides(&self, height: usize, width: usize) -> [Side; 2] {
        [height, width].map(|size| Side::new(size, self.window, self.stride, self.padding))
    }
}

impl Layer for MaxPool2d {
    fn kind(&self) -> &'static str {
        "max_pool2d"
    }

    fn output_shape(&self, input: &[usize]) -> std::result::Result<Vec<usize>, String> {
        let [channels, height, width] = picture(input)?;
        if self.window == 0 || self.stride == 0 {
            return Err("window and stride must be at least 1".into());
        }
        if self.window > height.min(width) {
            return Err(format!(
                "a window of {0}x{0} does not fit into {height}x{width} pixels",
                self.window
            ));
        }
        let [vertical, horizontal] = self.sides(height, width);
        Ok(vec![channels, vertical.windows, horizontal.windows])
    }

    fn forward(&self, input: &Tensor, _: &[Var], _: &Pass) -> Result<Tensor> {
        check_batch(self, input)?;
        let (_, _, height, width) = input.dims4()?;
        input.contiguous()?.apply_op1(Operation {
            sides: self.sides(height, width),
            places: Arc::default(),
            #[cfg(feature = "cuda")]
            on_gpu: OnGpu::default(),
        })
    }
}

/// Pools one channel of one picture, and notes where each value came from.
fn pool<T: WithDType>(
    [vertical, horizontal]: &[Side; 2],
    input: &[T],
    output: &mut [T],
    places: &mut [u32],
) {
    let width = horizontal.size;
    let cells = output.iter_mut().zip(places).enumerate();
    for (i, (value, place)) in cells {
        let rows = vertical.pixels(i / horizontal.windows);
        let columns = horizontal.pixels(i % horizontal.windows);
        let first = rows.start * width + columns.start;
        let (mut largest, mut at) = (input[first], first);
        for row in rows {
            for column in columns.clone() {
                let candidate = input[row * width + column];
                if candidate > largest || (is_nan(candidate) && !is_nan(largest)) {
                    (largest, at) = (candidate, row * width + column);
                }
            }
        }
        (*value, *place) = (largest, at as u32);
    }
}

/// The operation on one batch. It lives on candle's tape and carries what the way back needs.
struct Operation {
    /// From top to bottom and from left to right.
    sides: [Side; 2],
    /// For each output, the place of its value in its channel of the input.
    places: Arc<Mutex<Vec<u32>>>,
    /// The same on a GPU, where a place is in its window.
    #[cfg(feature = "cuda")]
    on_gpu: OnGpu,
}

impl CustomOp1 for Operation {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, channels, ..) = layout.shape().dims4()?;
        let [vertical, horizontal] = &self.sides;
        let pooled = match (storage.dtype(), self.kernel(channels)) {
            (DType::F64, _) => self.pool_planes::<f64>(rows * channels, storage, layout)?,
            (_, Some(shape)) => {
                let (output, places) = pooling::forward(&shape, slice(storage, layout)?);
                self.keep(places);
                CpuStorage::F32(output)
            }
            (_, None) => self.pool_planes::<f32>(rows * channels, storage, layout)?,
        };
        let shape = (rows, channels, vertical.windows, horizontal.windows);
        Ok((pooled, shape.into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (rows, channels, ..) = layout.shape().dims4()?;
        let [vertical, horizontal] = &self.sides;
        let (pooled, places) = tape::max_pool(&self.sides, storage, layout)?;
        *self.on_gpu.lock().unwrap_or_else(PoisonError::into_inner) = Some(places);
        let shape = (rows, channels, vertical.windows, horizontal.windows);
        Ok((pooled, shape.into()))
    }

    fn bwd(&self, input: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if input.device().is_cuda() {
            let operation = Gradient {
                sides: self.sides,
                places: self.on_gpu.clone(),
            };
            return gradient
                .contiguous()?
                .apply_op1_no_bwd(&operation)
                .map(Some);
        }
        match input.dtype() {
            DType::F64 => self.scatter::<f64>(input, gradient).map(Some),
            _ => self.scatter::<f32>(input, gradient).map(Some),
        }
    }
}

impl Operation {
    /// For the engine's kernel, unless it can't do it, or is no faster because it pads few channels to many.
    fn kernel(&self, channels: usize) -> Option<Pool> {
        let [vertical, horizontal] = &self.sides;
        let input = Picture::new(vertical.size, horizontal.size, channels);
        pooling::shape(input, &self.sides).filter(|_| channels >= 4)
    }

    /// Numbers of a channel of a picture, before and after.
    fn areas(&self) -> (usize, usize) {
        let [vertical, horizontal] = &self.sides;
        let pooled = vertical.windows * horizontal.windows;
        (vertical.size * horizontal.size, pooled)
    }

    fn pool_planes<T: WithDType>(
        &self,
        planes: usize,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> Result<CpuStorage> {
        let input = slice::<T>(storage, layout)?;
        let (area, pooled) = self.areas();
        let mut output = vec![T::zero(); planes * pooled];
        let mut places = vec![0; output.len()];
        output
            .par_chunks_mut(pooled)
            .zip(places.par_chunks_mut(pooled))
            .zip(input.par_chunks(area))
            .for_each(|((output, places), input)| pool(&self.sides, input, output, places));
        self.keep(places);
        Ok(T::to_cpu_storage_owned(output))
    }

    /// Keeps what the way back needs.
    fn keep(&self, places: Vec<u32>) {
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
    }

    /// Gives each gradient to the place that its value came from.
    fn scatter<T: WithDType>(&self, input: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (area, pooled) = self.areas();
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scattered = vec![T::zero(); input.elem_count()];
        with_slice(gradient, |gradient: &[T]| {
            scattered
                .par_chunks_mut(area)
                .zip(gradient.par_chunks(pooled))
                .zip(places.par_chunks(pooled))
                .for_each(|((channel, gradient), places)| {
                    for (&place, &g) in places.iter().zip(gradient) {
                        channel[place as usize] += g;
                    }
                });
            Ok(())
        })?;
        Tensor::from_vec(scattered, input.shape(), input.device())
    }
}

#[cfg(feature = "cuda")]
type OnGpu = Arc<Mutex<Option<cudarc::driver::CudaSlice<u16>>>>;

/// The way back on a GPU, of a gradient.
#[cfg(feature = "cuda")]
struct Gradient {
    sides: [Side; 2],
    places: OnGpu,
}

#[cfg(feature = "cuda")]
impl CustomOp1 for Gradient {
    fn name(&self) -> &'static str {
        "max_pool2d_gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        candle_core::bail!("this way back is that of a GPU")
    }

    fn cuda_fwd(&self, gradient: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (rows, channels, ..) = layout.shape().dims4()?;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = &*places else {
            candle_core::bail!("max_pool2d went no way forward on this GPU")
        };
        let [vertical, horizontal] = &self.sides;
        let scattered = tape::max_pool_gradient(&self.sides, places, gradient, layout)?;
        let shape = (rows, channels, vertical.size, horizontal.size);
        Ok((scattered, shape.into()))
    }
}

#[expect(
    clippy::eq_op,
    reason = "what is not equal to itself is NaN, in every type"
)]
fn is_nan<T: WithDType>(value: T) -> bool {
    value != value
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use proptest::prelude::*;

    /// A naive reference: pad with −∞, look at every pixel of every window, and give the gradient to the first of the
    /// largest. One channel; values and gradient by output, then gradient by input.
    fn reference(
        pool: &MaxPool2d,
        values: &[f32],
        (height, width): (usize, usize),
        weights: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let (window, stride) = (pool.window as i64, pool.stride as i64);
        let layout = |size: usize| {
            let size = size as i64;
            if pool.padding == Padding::Valid {
                return ((size - window) / stride + 1, 0);
            }
            let windows = (size + stride - 1) / stride;
            let padding = ((windows - 1) * stride + window - size).max(0);
            (windows, padding / 2)
        };
        let ((rows, top), (columns, left)) = (layout(height), layout(width));
        let (mut output, mut gradient) = (vec![], vec![0.0; values.len()]);
        for row in 0..rows {
            for column in 0..columns {
                let mut best: Option<usize> = None;
                for dy in 0..window {
                    for dx in 0..window {
                        let (y, x) = (row * stride - top + dy, column * stride - left + dx);
                        if y < 0 || x < 0 || y >= height as i64 || x >= width as i64 {
                            continue;
                        }
                        let place = (y * width as i64 + x) as usize;
                        if best.is_none_or(|best| values[place] > values[best]) {
                            best = Some(place);
                        }
                    }
                }
                let best = best.unwrap();
                gradient[best] += weights[output.len()];
                output.push(values[best]);
            }
        }
        (output, gradient)
    }

    proptest! {
        #[test]
        fn values_and_gradient_are_those_of_a_naive_loop(
            (height, width) in (1usize..12, 1usize..12),
            (window, stride) in (1usize..5, 1usize..4),
            (same, seed, channels) in (any::<bool>(), any::<u64>(), 1usize..20),
        ) {
            prop_assume!(window <= height.min(width));
            let padding = if same { Padding::Same } else { Padding::Valid };
            let pool = MaxPool2d::new(window, stride).padding(padding);
            let mut random = feedline_pipeline::Random::new([seed]);
            // Few different values, so that there are ties.
            let area = height * width;
            let values: Vec<f32> = (0..2 * channels * area).map(|_| random.below(6) as f32).collect();
            let shape = (2, channels, height, width);
            let input = Var::from_slice(&values, shape, &Device::Cpu).unwrap();
            let output = pool.forward(&input, &[], &Pass::evaluation()).unwrap();
            prop_assert_eq!(&output.dims()[1..], pool.output_shape(&[channels, height, width]).unwrap());
            let count = output.elem_count();
            let weights: Vec<f32> = (0..count).map(|_| random.below(100) as f32).collect();
            let factors = Tensor::from_slice(&weights, output.shape(), &Device::Cpu).unwrap();
            let loss = (&output * factors).unwrap().sum_all().unwrap();
            let gradient = loss.backward().unwrap().remove(&input).unwrap();
            let gradient = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let output = output.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let pooled = count / (2 * channels);
            for plane in 0..2 * channels {
                let own = |slice: &[f32], size: usize| slice[plane * size..][..size].to_vec();
                let weights = own(&weights, pooled);
                let expected = reference(&pool, &own(&values, area), (height, width), &weights);
                prop_assert_eq!((own(&output, pooled), own(&gradient, area)), expected);
            }
        }
    }

    #[test]
    fn a_diverged_network_is_not_hidden() -> Result<()> {
        // Few channels and many are pooled in different ways.
        for channels in [1, 5] {
            let values = [1.0, f32::NAN, 2.0, 3.0].repeat(channels);
            let input = Tensor::from_vec(values, (1, channels, 2, 2), &Device::Cpu)?;
            let output = MaxPool2d::new(2, 2).forward(&input, &[], &Pass::evaluation())?;
            let output = output.flatten_all()?.to_vec1::<f32>()?;
            assert!(output.into_iter().all(f32::is_nan));
        }
        Ok(())
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        assert!(MaxPool2d::new(5, 2).output_shape(&[1, 4, 8]).is_err());
        assert!(MaxPool2d::new(0, 2).output_shape(&[1, 4, 8]).is_err());
        assert!(MaxPool2d::new(2, 0).output_shape(&[1, 4, 8]).is_err());
        assert!(MaxPool2d::new(2, 2).output_shape(&[100]).is_err());
    }
}
