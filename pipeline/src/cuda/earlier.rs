//! Errors that cudarc keeps for later.

use cudarc::driver::CudaContext;

/// Makes a `call` that must not be left out. Where dropping something has failed, cudarc keeps the error in the context, and
/// the next call returns it *instead* of doing anything: so it is taken out, and put back for whoever asks next.
pub(super) fn despite_earlier_errors<R>(context: &CudaContext, call: impl FnOnce() -> R) -> R {
    let earlier = context.check_err();
    let result = call();
    context.record_err(earlier);
    result
}
