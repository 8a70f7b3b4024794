//! A communicator as NCCL has it.

use std::ffi::{CStr, c_int};
use std::fmt::Debug;
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use feedline_pipeline::cuda::cudarc::driver::sys::CUdeviceptr;
use feedline_pipeline::cuda::cudarc::driver::{CudaStream, DeviceRepr, ValidAsZeroBits};
use feedline_pipeline::cuda::cudarc::nccl::result::{self, NcclError, NcclStatus};
use feedline_pipeline::cuda::cudarc::nccl::sys;
use half::bf16;

use crate::collective::NcclFault;
use crate::error::{Error, Result};

/// The types of numbers that travel between GPUs.
pub trait Element: DeviceRepr + ValidAsZeroBits + Copy + Debug + Send + Sync + 'static {
    /// NCCL's name for it.
    #[doc(hidden)]
    const TYPE: sys::ncclDataType_t;

    /// What errors call several of it.
    #[doc(hidden)]
    const VALUES: &'static str;
}

impl Element for f32 {
    const TYPE: sys::ncclDataType_t = sys::ncclDataType_t::ncclFloat32;
    const VALUES: &'static str = "f32 values";
}

impl Element for f64 {
    const TYPE: sys::ncclDataType_t = sys::ncclDataType_t::ncclFloat64;
    const VALUES: &'static str = "f64 values";
}

impl Element for bf16 {
    const TYPE: sys::ncclDataType_t = sys::ncclDataType_t::ncclBfloat16;
    const VALUES: &'static str = "bf16 values";
}

/// What becomes of the values of all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
}

/// Numbers in the memory of a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) start: CUdeviceptr,
    pub(super) length: usize,
}

/// A communicator that never blocks: NCCL goes on in the background with what was begun, and is asked how far it is.
/// Dropping one aborts what is under way.
#[derive(Debug)]
pub(super) struct Handle {
    comm: NonNull<sys::ncclComm>,
}

// SAFETY: any thread may use a communicator, as long as no two do at once. There is one handle for each, which can't be
// copied, and it is not Sync.
unsafe impl Send for Handle {}

impl Handle {
    /// What all ranks of a group must name.
    pub(super) fn new_id() -> Result<sys::ncclUniqueId> {
        result::get_uniqueid().map_err(|error| refused("make an address", &error, None))
    }

    /// Begins to connect with the other ranks, on the device whose context is current in this thread.
    pub(super) fn connect(id: sys::ncclUniqueId, rank: usize, world_size: usize) -> Result<Self> {
        let mut config = config();
        let mut comm = ptr::null_mut();
        // SAFETY: both pointers are to variables that live on; NCCL copies the configuration.
        let begun = unsafe {
            result::comm_init_rank_config(
                &raw mut comm,
                world_size as c_int,
                id,
                rank as c_int,
                &raw mut config,
            )
        };
        begun.map_err(|error| refused("connect the GPUs", &error, None))?;
        let comm = NonNull::new(comm).ok_or_else(|| Error::Nccl {
            action: "connect the GPUs",
            fault: NcclFault::Internal,
            detail: "no communicator came".into(),
        })?;
        Ok(Self { comm })
    }

    /// Whether all that was begun is on its way, so that streams know of it; the error if NCCL has given up.
    pub(super) fn is_settled(&self) -> Result<bool> {
        let mut state = sys::ncclResult_t::ncclSuccess;
        // SAFETY: the communicator lives as long as this, the other pointer is to a variable.
        let asked = unsafe { sys::ncclCommGetAsyncError(self.comm(), &raw mut state) };
        let answer = asked.result().and_then(|_| state.result());
        let status = answer.map_err(|error| self.refused("go on", &error))?;
        Ok(status != NcclStatus::InProgress)
    }

    /// Begins to replace `values` by what becomes of those of all ranks, on `stream`.
    ///
    /// # Safety
    ///
    /// `values` must be memory of `stream`'s device with numbers of type `T`, which nothing uses until `stream` is past this.
    pub(super) unsafe fn all_reduce<T: Element>(
        &self,
        values: Range,
        reduction: Reduction,
        stream: &CudaStream,
    ) -> Result<()> {
        let operation = match reduction {
            Reduction::Sum => sys::ncclRedOp_t::ncclSum,
            Reduction::Mean => sys::ncclRedOp_t::ncclAvg,
        };
        // SAFETY: the communicator and the stream live; the caller vouches for the values.
        let begun = unsafe {
            result::all_reduce(
                values.start as *const _,
                values.start as *mut _,
                values.length,
                T::TYPE,
                operation,
                self.comm(),
                stream.cu_stream().cast(),
            )
        };
        begun.map_err(|error| self.refused("sum up over the GPUs", &error))?;
        Ok(())
    }

    /// Begins to replace `values` by those of rank 0, on `stream`.
    ///
    /// # Safety
    ///
    /// As [`all_reduce`](Self::all_reduce).
    pub(super) unsafe fn broadcast<T: Element>(
        &self,
        values: Range,
        stream: &CudaStream,
    ) -> Result<()> {
        // SAFETY: the communicator and the stream live; the caller vouches for the values.
        let begun = unsafe {
            result::broadcast(
                values.start as *const _,
                values.start as *mut _,
                values.length,
                T::TYPE,
                0,
                self.comm(),
                stream.cu_stream().cast(),
            )
        };
        begun.map_err(|error| self.refused("send to the other GPUs", &error))?;
        Ok(())
    }

    /// Begins to end the connection, which has nothing under way.
    pub(super) fn finalize(&self) -> Result<()> {
        // SAFETY: the communicator lives.
        let begun = unsafe { result::comm_finalize(self.comm()) };
        begun.map_err(|error| self.refused("end the connection", &error))?;
        Ok(())
    }

    /// Frees a communicator whose connection has ended.
    pub(super) fn destroy(self) -> Result<()> {
        // SAFETY: the communicator lives, and nobody has it after this.
        let freed = unsafe { result::comm_destroy(self.comm()) };
        std::mem::forget(self);
        freed.map_err(|error| refused("free the connection", &error, None))?;
        Ok(())
    }

    fn comm(&self) -> sys::ncclComm_t {
        self.comm.as_ptr()
    }

    fn refused(&self, action: &'static str, error: &NcclError) -> Error {
        refused(action, error, Some(self.comm()))
    }
}

impl Drop for Handle {
    /// Ends kernels that wait for other ranks, and frees the communicator.
    fn drop(&mut self) {
        // SAFETY: the communicator lives, and nobody has it after this. If NCCL refuses, there is nothing left to try.
        let _ = unsafe { result::comm_abort(self.comm()) };
    }
}

/// The settings of NCCL 2.17, which all later versions take: what comes after is left to them. All but `blocking` are
/// undefined, so the environment's variables hold.
fn config() -> sys::ncclConfig_t {
    const UNDEFINED: c_int = c_int::MIN;
    // SAFETY: numbers and pointers of which none must not be zero.
    let mut config: sys::ncclConfig_t = unsafe { std::mem::zeroed() };
    config.size = offset_of!(sys::ncclConfig_t, trafficClass);
    config.magic = 0xcafe_beef;
    config.version = 21_700;
    config.blocking = 0;
    config.cgaClusterSize = UNDEFINED;
    config.minCTAs = UNDEFINED;
    config.maxCTAs = UNDEFINED;
    config.splitShare = UNDEFINED;
    config
}

/// NCCL's answer as an error, with its last words if there are some.
fn refused(action: &'static str, error: &NcclError, comm: Option<sys::ncclComm_t>) -> Error {
    use sys::ncclResult_t as Code;
    let fault = match error.0 {
        Code::ncclUnhandledCudaError => NcclFault::Cuda,
        Code::ncclSystemError => NcclFault::System,
        Code::ncclInternalError => NcclFault::Internal,
        Code::ncclInvalidArgument => NcclFault::Argument,
        Code::ncclInvalidUsage => NcclFault::Usage,
        Code::ncclRemoteError => NcclFault::Remote,
        Code::ncclTimeout => NcclFault::Timeout,
        _ => NcclFault::Unknown,
    };
    // SAFETY: the communicator lives, or is null, which stands for the last error of all. NCCL keeps the text.
    let words = unsafe { sys::ncclGetLastError(comm.unwrap_or(ptr::null_mut())) };
    let words = match words.is_null() {
        true => String::new(),
        // SAFETY: a text of C that isn't null.
        false => unsafe { CStr::from_ptr(words) }
            .to_string_lossy()
            .into_owned(),
    };
    let detail = match words.trim() {
        "" => format!("{:?}", error.0),
        words => format!("{:?}: {words}", error.0),
    };
    Error::Nccl {
        action,
        fault,
        detail,
    }
}
