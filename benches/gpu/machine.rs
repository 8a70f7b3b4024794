//! The machine and its libraries, in a few lines.

use std::error::Error;
use std::fmt::Write;

use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::driver::sys::{self, CUdevice_attribute};
use feedline_pipeline::cuda::cudarc::{cudnn, nccl};

use crate::common::machine;

/// Whether what looks like a GPU is made of host memory and threads. Its figures mean nothing.
pub(crate) fn is_simulated() -> bool {
    std::env::var("FEEDLINE_SIMULATED_GPUS").is_ok_and(|count| count.trim() != "0")
}

/// Processor, GPUs, driver and libraries.
pub(crate) fn describe() -> Result<String, Box<dyn Error>> {
    let mut text = machine::describe();
    let host = text.trim_end().len();
    text.truncate(host);
    for gpu in Gpu::visible()? {
        let context = gpu.stream().context();
        let (major, minor) = context.compute_capability()?;
        let attribute = |attribute| context.attribute(attribute);
        write!(
            text,
            "\nGPU {}: {}, compute capability {major}.{minor}, {} multiprocessors, {:.1} GiB, {:.2} GHz, memory {:.2} GHz x {} bits",
            gpu.ordinal(),
            gpu.name()?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            gpu.memory()? as f64 / f64::from(1 << 30),
            f64::from(attribute(
                CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE
            )?) / 1e6,
            f64::from(attribute(
                CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE
            )?) / 1e6,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?,
        )?;
    }
    let module = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let module = module.lines().next().map_or("unknown", str::trim);
    let driver = driver_version()?;
    write!(
        text,
        "\ndriver: {module}\nCUDA: the driver's is {}.{}, this program was built for {}.{}\ncuDNN: {}\nNCCL: {}\n",
        driver / 1000,
        driver % 1000 / 10,
        sys::CUDA_VERSION / 1000,
        sys::CUDA_VERSION % 1000 / 10,
        version(cudnn::result::get_version(), 10_000),
        version(nccl_version()?, 10_000),
    )?;
    if is_simulated() {
        text.push_str("simulated device: figures mean nothing\n");
    }
    Ok(text)
}

/// Both libraries count in hundreds: 91301 is 9.13.1, 22704 is 2.27.4.
fn version(number: usize, major: usize) -> String {
    format!(
        "{}.{}.{}",
        number / major,
        number % major / 100,
        number % 100
    )
}

fn nccl_version() -> Result<usize, Box<dyn Error>> {
    let version = nccl::result::get_nccl_version();
    let version = version.map_err(|error| format!("NCCL does not tell its version: {error:?}"))?;
    Ok(usize::try_from(version)?)
}

fn driver_version() -> Result<i32, Box<dyn Error>> {
    let mut version = 0;
    // SAFETY: the pointer is to a number that lives longer than the call, which writes to it.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }.result()?;
    Ok(version)
}

/// The most bytes of the device's memory that this process had in use at once; nothing where the driver has no pools.
pub(crate) fn peak_memory(gpu: &Gpu) -> Option<u64> {
    let context = gpu.stream().context();
    context.bind_to_thread().ok()?;
    let (mut pool, mut bytes) = (std::ptr::null_mut(), 0_u64);
    // SAFETY: both pointers are to variables of the types that the two functions write.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device())
            .result()
            .ok()?;
        let most = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        sys::cuMemPoolGetAttribute(pool, most, (&raw mut bytes).cast())
            .result()
            .ok()?;
    }
    Some(bytes)
}
