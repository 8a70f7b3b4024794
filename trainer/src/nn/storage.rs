//! A tensor's numbers as a slice.

use candle_core::{CpuStorage, Layout, Result, Tensor, WithDType, bail};

/// The numbers of a contiguous tensor on the CPU, without a copy.
pub(super) fn slice<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("feedline's layers take contiguous tensors only"),
    }
}

/// Calls `with` with the numbers of any tensor on the CPU.
pub(super) fn with_slice<T: WithDType, R>(
    tensor: &Tensor,
    with: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => with(slice(storage, layout)?),
        _ => bail!("this way of a layer is that of the CPU"),
    }
}
