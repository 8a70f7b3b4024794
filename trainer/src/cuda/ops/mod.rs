//! Operations on slices of a GPU's memory.
//!
//! Pictures are NHWC without padding, a batch is row after row. They are of a type [`Real`](super::Real); parameters,
//! statistics, the gradients of both and all arithmetic are `f32` or more, but for one gradient: that of a convolution's
//! filters is added up in `f32`, and cuDNN hands it out in the pictures' type. Every function compares all lengths with the
//! shapes before it launches anything, and returns as soon as its work is queued on the context's stream.

pub(crate) mod activation;
pub(crate) mod batch_norm;
#[cfg(feature = "cudnn")]
pub(crate) mod border;
pub(crate) mod convert;
#[cfg(feature = "cudnn")]
pub(crate) mod convolution;
pub(crate) mod dropout;
pub(crate) mod flatten;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod optimizer;
pub(crate) mod pool;
pub(crate) mod shape;
pub(crate) mod sums;
#[cfg(test)]
mod tests;

use cudarc::driver::{CudaView, CudaViewMut, LaunchArgs, LaunchConfig, PushKernelArg};
use feedline_pipeline::cuda::Module;

use super::context::Kernels;
use super::kernels;
use crate::error::{Error, Result, invalid};

/// The kernels of all files.
pub(super) const KERNELS: &[Kernels] = &[
    Kernels {
        ptx: kernels::ACTIVATION,
        typed: &["activation_forward", "activation_backward"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::BATCH_NORM,
        typed: &["normalize", "gradient_sums", "normalize_gradient"],
        plain: &["line_gradient"],
    },
    Kernels {
        ptx: kernels::CONVERT,
        typed: &["convert"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::BORDER,
        typed: &["border", "widen"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::DROPOUT,
        typed: &["dropout"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::FLATTEN,
        typed: &["transpose"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::LOSS,
        typed: &["cross_entropy"],
        plain: &["loss_totals", "add_loss_totals"],
    },
    Kernels {
        ptx: kernels::MOMENTS,
        typed: &["moments"],
        plain: &[
            "merge_moments",
            "move_moments",
            "follow_moments",
            "running_moments",
        ],
    },
    Kernels {
        ptx: kernels::OPTIMIZER,
        typed: &["adam", "sgd"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::POOL,
        typed: &["pool_forward", "pool_backward"],
        plain: &[],
    },
    Kernels {
        ptx: kernels::SUMS,
        typed: &["bias_gradient"],
        plain: &["sum_parts"],
    },
];

/// No more numbers than this: kernels count in 32 bits, and a little further.
const MOST: usize = i32::MAX as usize;

/// No address: what a kernel gets for a buffer that is not there.
static NULL: u64 = 0;

/// An error if a buffer is not as long as it must be.
pub(super) fn check(name: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(invalid(name, found, format!("{expected} numbers")))
}

/// The product, as kernels take it.
fn count(name: &'static str, sizes: &[usize]) -> Result<u32> {
    let product = sizes
        .iter()
        .try_fold(1, |product: usize, &size| product.checked_mul(size));
    match product {
        Some(product) if product <= MOST => Ok(product as u32),
        _ => {
            let expected = format!("a product of at most {MOST}: fewer rows at once");
            Err(invalid(name, format!("{sizes:?}"), expected))
        }
    }
}

/// A thread for each of `count` things.
fn threads(count: u32) -> LaunchConfig {
    Module::threads_for(count as usize)
}

/// Passes a buffer, if there is one.
fn push<'a, 'b: 'a, T>(launch: &mut LaunchArgs<'a>, view: Option<&'b CudaView<'_, T>>) {
    match view {
        Some(view) => launch.arg(view),
        None => launch.arg(&NULL),
    };
}

/// Passes a buffer to write to, if there is one.
fn push_mut<'a, 'b: 'a, T>(launch: &mut LaunchArgs<'a>, view: Option<&'b mut CudaViewMut<'_, T>>) {
    match view {
        Some(view) => launch.arg(view),
        None => launch.arg(&NULL),
    };
}

/// Queues a kernel.
///
/// # Safety
///
/// The arguments must be those that the kernel takes, in number, order and type, and every buffer as long as it goes
/// there.
unsafe fn run(launch: &mut LaunchArgs<'_>, config: LaunchConfig) -> Result<()> {
    // SAFETY: the caller's.
    let launched = unsafe { launch.launch(config) };
    launched.map(drop).map_err(Error::cuda("launch a kernel"))
}
