//! A GPU.

use std::sync::Arc;

use cudarc::driver::result::device;
use cudarc::driver::{CudaContext, CudaStream, DriverError, sys};

use crate::error::{Error, Result, invalid};

/// An NVIDIA GPU, and the stream on which this process computes there. Clones share both.
///
/// ```no_run
/// use feedline_pipeline::cuda::Gpu;
///
/// for gpu in Gpu::visible()? {
///     println!("{}: {}, {} bytes", gpu.ordinal(), gpu.name()?, gpu.memory()?);
/// }
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Gpu {
    stream: Arc<CudaStream>,
}

impl Gpu {
    /// How many GPUs this process may use: those that the environment variable `CUDA_VISIBLE_DEVICES` names, or all.
    ///
    /// # Errors
    ///
    /// [`Error::NoGpu`] if there is none, or no driver that works.
    pub fn count() -> Result<usize> {
        let none = |reason: String| Error::NoGpu { reason };
        match CudaContext::device_count() {
            Ok(0) => Err(none("the driver sees none".into())),
            Ok(count) => Ok(count as usize),
            Err(error) => Err(none(describe(error))),
        }
    }

    /// The names of all GPUs that this process may use, in the order of their numbers. None is opened for that.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count); [`Error::Cuda`] if a device does not answer.
    pub fn names() -> Result<Vec<String>> {
        let name = |ordinal| device::get_name(device::get(ordinal as i32)?);
        let names = (0..Self::count()?).map(name).collect::<Result<_, _>>();
        names.map_err(Error::cuda("read the devices' names"))
    }

    /// All GPUs that this process may use.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count) and [`new`](Self::new).
    pub fn visible() -> Result<Vec<Self>> {
        (0..Self::count()?).map(Self::new).collect()
    }

    /// The GPU with this number, from 0, with a stream of its own.
    ///
    /// Memory is not tracked across its streams: cudarc's own safe calls do not order [`stream`](Self::stream) and
    /// [`new_stream`](Self::new_stream)s among each other. Whoever uses memory on two of them, or frees it on one while
    /// another uses it, orders them by events. Streams that others make of the same device by a context of their own are
    /// not affected.
    ///
    /// # Errors
    ///
    /// [`Error::NoGpu`] if there is none at all, [`Error::InvalidArgument`] if there are fewer, [`Error::Cuda`] if it
    /// can't be used.
    pub fn new(ordinal: usize) -> Result<Self> {
        let count = Self::count()?;
        if ordinal >= count {
            return Err(invalid(
                "number of the GPU",
                ordinal,
                format!("below {count}, the number of GPUs that this process may use"),
            ));
        }
        let failed = Error::cuda("open the device");
        let context = CudaContext::new(ordinal).map_err(&failed)?;
        let stream = context.new_stream().map_err(&failed)?;
        // SAFETY: nobody else knows of the context, and what is made with it here orders streams by events of its own.
        unsafe { Self::on(stream) }
    }

    /// The GPU of a stream that exists, such as that of a candle device; it is used for computing.
    ///
    /// The device keeps freed memory for later allocations from now on, rather than giving it back to the system.
    ///
    /// # Safety
    ///
    /// The event tracking of the stream's context is switched off, for all that use it: cudarc's safe calls do not order its
    /// streams among each other any more. Whoever uses memory of that context on two streams, or frees it on one while
    /// another uses it, must order them by events.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device refuses.
    pub unsafe fn on(stream: Arc<CudaStream>) -> Result<Self> {
        // SAFETY: the caller answers for other memory of the context. Ours is ordered by events of our own where it goes
        // from one stream to another.
        unsafe { stream.context().disable_event_tracking() };
        keep_freed_memory(stream.context())?;
        Ok(Self { stream })
    }

    /// The device's number among those that this process may use, from 0.
    pub fn ordinal(&self) -> usize {
        self.stream.context().ordinal()
    }

    /// The device's name, as its maker has it.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device does not answer.
    pub fn name(&self) -> Result<String> {
        let name = self.stream.context().name();
        name.map_err(Error::cuda("read the device's name"))
    }

    /// All of the device's memory, in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device does not answer.
    pub fn memory(&self) -> Result<usize> {
        let bytes = self.stream.context().total_mem();
        bytes.map_err(Error::cuda("read the size of the device's memory"))
    }

    /// Bytes that can be had: those that nobody has, and those that were freed and that the memory pool keeps.
    pub(super) fn free_memory(&self) -> Result<usize> {
        let context = self.stream.context();
        let read = || -> Result<usize, DriverError> {
            let (free, _) = context.mem_get_info()?;
            if !context.has_async_alloc() {
                return Ok(free);
            }
            let pool = default_pool(context)?;
            let read = |attribute| {
                let mut bytes = 0u64;
                // SAFETY: both attributes are numbers of 64 bits.
                unsafe {
                    sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result()
                }
                .map(|()| bytes as usize)
            };
            let used = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
            let reserved = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
            Ok(free.saturating_add(reserved.saturating_sub(used)))
        };
        read().map_err(Error::cuda("read how much memory is free"))
    }

    /// The stream on which work on this device is done, one thing after the other.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Another stream on the same device, for work that is done beside.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device refuses.
    pub fn new_stream(&self) -> Result<Arc<CudaStream>> {
        let stream = self.stream.context().new_stream();
        stream.map_err(Error::cuda("make a stream"))
    }

    /// Waits until everything on the [stream](Self::stream) is done.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if something on it failed.
    pub fn synchronize(&self) -> Result<()> {
        let done = self.stream.synchronize();
        done.map_err(Error::cuda("finish what is on the stream"))
    }
}

/// By default the driver gives freed memory back to the system at each synchronisation, and asks for it again after.
fn keep_freed_memory(context: &Arc<CudaContext>) -> Result<()> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let set = || -> Result<(), DriverError> {
        let pool = default_pool(context)?;
        let mut threshold = u64::MAX;
        // SAFETY: the attribute is a number of 64 bits.
        unsafe {
            sys::cuMemPoolSetAttribute(
                pool,
                sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
                (&raw mut threshold).cast(),
            )
            .result()
        }
    };
    set().map_err(Error::cuda("set up the memory pool"))
}

/// Where a device's memory comes from.
fn default_pool(context: &Arc<CudaContext>) -> Result<sys::CUmemoryPool, DriverError> {
    context.bind_to_thread()?;
    // SAFETY: the device is the context's.
    unsafe { device::get_default_mem_pool(context.cu_device()) }
}

/// What the driver says.
pub(crate) fn describe(error: DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map(|text| text.to_string_lossy().into_owned()).ok()
    };
    match (text(error.error_name()), text(error.error_string())) {
        (Some(name), Some(words)) => format!("{words} ({name})"),
        _ => format!("{error:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_gpu_the_error_says_what_to_do() {
        match Gpu::count() {
            Ok(count) => assert!(count > 0),
            Err(error) => {
                assert!(matches!(error, Error::NoGpu { .. }), "{error}");
                assert!(error.to_string().contains("nvidia-smi"), "{error}");
            }
        }
    }
    #[test]
    fn memory_that_was_freed_counts_as_free() {
        const BYTES: usize = 64 << 20;
        if Gpu::count().is_err() {
            return;
        }
        let gpu = Gpu::new(0).unwrap();
        let before = gpu.free_memory().unwrap();
        let memory = gpu.stream().alloc_zeros::<u8>(BYTES).unwrap();
        let during = gpu.free_memory().unwrap();
        drop(memory);
        gpu.synchronize().unwrap();
        let after = gpu.free_memory().unwrap();
        // Not to the byte: others may use the device, and the pool has pieces of a size of its own.
        assert!(during + BYTES / 2 < before, "{during} of {before}");
        assert!(after + BYTES / 2 > before, "{after} of {before}");
    }
}
