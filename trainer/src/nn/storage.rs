//! A tensor's numbers as a slice.

use candle_core::{CpuStorage, Layout, Result, Tensor, bail};

/// The numbers of a contiguous tensor on the CPU, without a copy.
pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else {
        bail!("feedline's layers take f32 only")
    };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("feedline's layers take contiguous tensors only"),
    }
}

/// Calls `with` with the numbers of any tensor on the CPU.
pub(super) fn with_slice<T>(tensor: &Tensor, with: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => with(slice(storage, layout)?),
        _ => bail!("feedline's layers run on the CPU only, so far"),
    }
}
