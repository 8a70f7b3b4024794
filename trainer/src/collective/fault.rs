//! What NCCL complains of.

/// Why NCCL, which carries values between GPUs, refused or gave up; and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NcclFault {
    /// CUDA failed below it.
    #[error(
        "CUDA failed below it, most often for an error of an earlier kernel or for want of memory: CUDA_LAUNCH_BLOCKING=1 shows where, nvidia-smi what is free"
    )]
    Cuda,
    /// The operating system refused something.
    #[error(
        "the system refused it memory, a file or a socket: NCCL_DEBUG=INFO shows which; in a container /dev/shm may be too small, as with docker without --shm-size"
    )]
    System,
    /// Something impossible within NCCL.
    #[error(
        "it found an error in itself, often from libraries of different versions: NCCL_DEBUG=INFO shows which are loaded"
    )]
    Internal,
    /// An argument that it does not take.
    #[error("it does not take an argument: NCCL_DEBUG=WARN shows which; please report this")]
    Argument,
    /// A call that does not fit the others, such as two replicas on one GPU.
    #[error(
        "the calls do not fit each other, as with two replicas on one GPU: NCCL_DEBUG=WARN shows how; each replica needs a GPU of its own"
    )]
    Usage,
    /// Another replica or the network failed.
    #[error("another replica or the network failed: the first error that was printed says more")]
    Remote,
    /// It waited too long.
    #[error("it waited too long for another replica: NCCL_DEBUG=INFO shows for which")]
    Timeout,
    /// Something that this version of the crate does not know.
    #[error("it does not say why: NCCL_DEBUG=INFO may show more")]
    Unknown,
}
