//! The loss.

use cudarc::driver::{CudaView, CudaViewMut, PushKernelArg};
use feedline_pipeline::cuda::Module;

use super::{check, count, push_mut, run};
use crate::cuda::context::Context;
use crate::cuda::real::Real;
use crate::error::{Result, invalid};

/// Threads that have a row of logits together.
const WARP: usize = 32;

/// Softmax and cross-entropy of each row of logits against its label. `losses` gets two numbers a row: the loss in nats,
/// and 1 if the label's logit was the largest (of equal ones the first counts), else 0. `gradient` gets that of `share`
/// times the loss, if it is asked for. A label that is no class has the loss NaN.
pub(crate) fn cross_entropy<T: Real>(
    context: &Context,
    classes: usize,
    share: f32,
    logits: &CudaView<'_, T>,
    labels: &CudaView<'_, u32>,
    losses: &mut CudaViewMut<'_, f32>,
    gradient: Option<&mut CudaViewMut<'_, T>>,
) -> Result<()> {
    let rows = labels.len();
    let numbers = count("rows and classes", &[rows, classes, 2])? as usize / 2;
    check("logits", logits.len(), numbers)?;
    check("losses", losses.len(), 2 * rows)?;
    if let Some(gradient) = &gradient {
        check("gradient of the logits", gradient.len(), numbers)?;
    }
    if classes == 0 {
        return Err(invalid("number of classes", classes, "at least 1"));
    }
    let (rows, classes) = (rows as u32, classes as u32);
    let kernel = context.kernel("cross_entropy", T::SUFFIX)?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&rows).arg(&classes).arg(&share);
    launch.arg(logits).arg(labels).arg(losses);
    push_mut(&mut launch, gradient);
    // SAFETY: as the kernel has them; the lengths were compared, and a warp of threads is enough for each row.
    unsafe { run(&mut launch, Module::threads_for(rows as usize * WARP)) }
}

/// Sums up what [`cross_entropy`] made: `totals` become the loss and the right answers.
pub(crate) fn totals(
    context: &Context,
    losses: &CudaView<'_, f32>,
    totals: &mut CudaViewMut<'_, f32>,
) -> Result<()> {
    check("totals", totals.len(), 2)?;
    let rows = count("rows", &[losses.len()])? / 2;
    let kernel = context.kernel("loss_totals", "")?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&rows).arg(losses).arg(totals);
    // SAFETY: as the kernel has them; there are two numbers for each row, and in all.
    unsafe { run(&mut launch, Module::threads_for(1)) }
}

/// As [`totals`], added to what is there.
pub(crate) fn add_totals(
    context: &Context,
    losses: &CudaView<'_, f32>,
    totals: &mut CudaViewMut<'_, f64>,
) -> Result<()> {
    check("totals", totals.len(), 2)?;
    let rows = count("rows", &[losses.len()])? / 2;
    let kernel = context.kernel("add_loss_totals", "")?;
    let mut launch = context.gpu.stream().launch_builder(kernel);
    launch.arg(&rows).arg(losses).arg(totals);
    // SAFETY: as the kernel has them; there are two numbers for each row, and in all.
    unsafe { run(&mut launch, Module::threads_for(1)) }
}
