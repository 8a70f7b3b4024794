//! Every operation beside the CPU's, or beside naive loops in `f64`. Without a GPU they are skipped with a word.

mod activation;
mod batch_norm;
mod dropout;
mod lengths;
mod loss;
mod optimizer;
mod pool;

use std::fmt::Debug;

use cudarc::driver::{CudaSlice, DeviceRepr};
use feedline_pipeline::Random;
use feedline_pipeline::cuda::Gpu;
use proptest::prelude::*;

use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::cuda::tests::gpus;

/// A GPU's context, unless there is no GPU.
fn context() -> Option<Context> {
    gpus().then(|| Context::new(&Gpu::new(0).unwrap()).unwrap())
}

/// A type of numbers, and how exact it is.
trait Exactness: Real {
    /// Half of the distance from 1 to the next number, twice: for numbers that nearly lie in the middle of two.
    const ROUNDING: f64;

    /// The nearest number of this type.
    fn nearest(number: f32) -> f32 {
        Self::from_f32(number).to_f32()
    }
}

impl Exactness for f32 {
    const ROUNDING: f64 = 1.0 / (1u32 << 23) as f64;
}

impl Exactness for half::bf16 {
    const ROUNDING: f64 = 1.0 / (1u32 << 7) as f64;
}

/// Numbers of type `T` on the device.
fn upload<T: Real>(context: &Context, numbers: &[f32]) -> CudaSlice<T> {
    let numbers: Vec<T> = numbers.iter().map(|&x| T::from_f32(x)).collect();
    send(context, &numbers)
}

fn send<T: DeviceRepr>(context: &Context, numbers: &[T]) -> CudaSlice<T> {
    context.gpu.stream().clone_htod(numbers).unwrap()
}

/// Numbers that no operation should leave.
fn garbage<T: Real>(context: &Context, length: usize) -> CudaSlice<T> {
    upload(context, &vec![-777.0; length])
}

fn scratch(context: &Context, channels: usize) -> CudaSlice<f32> {
    garbage(context, super::sums::scratch_len(channels))
}

/// Waits for the device, and takes numbers from there.
fn download<T: Real>(context: &Context, numbers: &CudaSlice<T>) -> Vec<f32> {
    let numbers = context.gpu.stream().clone_dtoh(numbers).unwrap();
    numbers.into_iter().map(T::to_f32).collect()
}

/// Numbers from -1 to 1, of type `T`.
fn noise<T: Exactness>(random: &mut Random, length: usize) -> Vec<f32> {
    let number = || T::nearest(random.uniform(-1.0, 1.0));
    std::iter::repeat_with(number).take(length).collect()
}

/// Few different numbers, so that there are ties, and zeros of both signs; some of them NaN.
fn coarse(random: &mut Random, length: usize, nan: bool) -> Vec<f32> {
    let number = || match random.below(9) {
        0 => -0.0,
        1 if nan => f32::NAN,
        n => n as f32 - 4.0,
    };
    std::iter::repeat_with(number).take(length).collect()
}

/// What a number should be, and the size of what it was added up from.
type Expected = (f64, f64);

/// Fails unless each number is the expected one, but for rounding in `f32` and then to `T`.
fn check<T: Exactness>(
    what: impl Debug,
    found: &[f32],
    expected: &[Expected],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (index, (&found, &(value, size))) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - value).abs();
        let most = 1e-5 * size.max(1e-3) + T::ROUNDING * value.abs();
        prop_assert!(
            error <= most,
            "{what:?}, number {index}: {found}, expected {value}"
        );
    }
    Ok(())
}

/// Fails unless all numbers are equal, or both NaN.
fn same(what: impl Debug, found: &[f32], expected: &[f32]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let same = found == expected || (found.is_nan() && expected.is_nan());
        prop_assert!(
            same,
            "{what:?}, number {index}: {found}, expected {expected}"
        );
    }
    Ok(())
}

/// So many channels that all ways to share them out occur.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![Just(1), 2usize..8, 8usize..70, 250usize..270]
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig::with_cases(count)
}
