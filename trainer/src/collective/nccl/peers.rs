//! Which GPUs may use each other's memory.

use std::ffi::c_int;
use std::mem::size_of;

use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::driver::result::device;
use feedline_pipeline::cuda::cudarc::driver::{DriverError, sys};

/// A `CUmemAccessDesc`, whose device has another name in each version of CUDA.
#[repr(C)]
struct Access {
    kind: sys::CUmemLocationType,
    device: c_int,
    flags: sys::CUmemAccess_flags,
}

const _: () = assert!(size_of::<Access>() == size_of::<sys::CUmemAccessDesc>());

/// Lets the first `count` GPUs, those of the ranks of this process, as far as they can, read and write what is allocated on
/// `gpu`: NCCL's kernels may go straight to the memory of another rank of the process. It asks for access by itself, but not
/// to pools. Between processes values go through memory of NCCL's own.
pub(super) fn share_memory(gpu: &Gpu, count: usize) -> Result<(), DriverError> {
    if count < 2 {
        return Ok(());
    }
    let context = gpu.stream().context();
    let has_pools = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED;
    if context.attribute(has_pools)? == 0 {
        return Ok(());
    }
    let own = context.cu_device();
    let present = device::get_count()?;
    let mut all = Vec::new();
    for ordinal in (0..count as c_int).take_while(|&ordinal| ordinal < present) {
        let peer = device::get(ordinal)?;
        if peer != own && can_access(peer, own)? {
            all.push(Access {
                kind: sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE,
                device: ordinal,
                flags: sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE,
            });
        }
    }
    if all.is_empty() {
        return Ok(());
    }
    // SAFETY: the device has pools, and this is the one that allocations come from; the driver reads `all.len()`
    // descriptions, which are laid out as its own.
    unsafe {
        let pool = device::get_mem_pool(own)?;
        sys::cuMemPoolSetAccess(pool, all.as_ptr().cast(), all.len()).result()
    }
}

/// Whether what runs on one GPU can use the memory of another.
fn can_access(gpu: sys::CUdevice, memory: sys::CUdevice) -> Result<bool, DriverError> {
    let mut can = 0;
    // SAFETY: the pointer is to a variable; the driver looks at both devices.
    unsafe { sys::cuDeviceCanAccessPeer(&raw mut can, gpu, memory).result()? };
    Ok(can != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `gpu` may do with the memory of `own`.
    fn access(own: &Gpu, gpu: usize) -> sys::CUmemAccess_flags {
        let mut location = [
            sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE as u32,
            gpu as u32,
        ];
        let mut flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_NONE;
        // SAFETY: a location is a kind and a number; both pointers are to variables.
        let asked = unsafe {
            let pool = device::get_mem_pool(own.stream().context().cu_device()).unwrap();
            sys::cuMemPoolGetAccess(&raw mut flags, pool, location.as_mut_ptr().cast())
        };
        asked.result().unwrap();
        flags
    }

    #[test]
    fn peers_may_use_the_memory_of_connected_gpus() {
        if Gpu::count().unwrap_or(0) < 2 {
            eprintln!("skipped: needs 2 GPUs");
            return;
        }
        for own in 0..2 {
            let gpu = Gpu::new(own).unwrap();
            // More than there are: the others are left out.
            share_memory(&gpu, 99).unwrap();
            for peer in 0..2 {
                let [from, to] = [peer, own].map(|ordinal| device::get(ordinal as c_int).unwrap());
                if peer == own || can_access(from, to).unwrap() {
                    let both = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
                    assert_eq!(access(&gpu, peer), both);
                }
            }
        }
    }
}
