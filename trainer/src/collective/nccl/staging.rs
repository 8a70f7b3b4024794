//! Memory by which values of the host get to a device and back.

use std::sync::{Arc, Mutex, PoisonError};

use feedline_pipeline::cuda::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtrMut, PinnedHostSlice,
};

use super::communicator::Communicator;
use super::handle::{Element, Handle, Range};
use crate::error::{Error, Result};

/// How many numbers travel at once.
const LENGTH: usize = 1 << 18;

/// A piece of the host's memory that the device can read and write by itself, and one of the device's memory.
#[derive(Debug)]
pub(super) struct Staging<T> {
    host: PinnedHostSlice<T>,
    device: CudaSlice<T>,
}

impl<T: Element> Staging<T> {
    fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        // SAFETY: numbers of any bits are numbers, and each is written before it is read.
        let host = unsafe { stream.context().alloc_pinned_with_flags(LENGTH, 0) };
        Ok(Self {
            host: host.map_err(Error::cuda("allocate memory of the host"))?,
            device: stream
                .alloc_zeros(LENGTH)
                .map_err(Error::cuda("allocate memory"))?,
        })
    }
}

/// Made when they are needed first.
#[derive(Debug, Default)]
pub(super) struct Stagings {
    pub(super) single: Mutex<Option<Staging<f32>>>,
    pub(super) double: Mutex<Option<Staging<f64>>>,
}

impl Stagings {
    /// Gives up the memory without telling the device, which may be stuck.
    pub(super) fn leak(self) {
        std::mem::forget(self);
    }
}

impl Communicator {
    /// Does something with values of the host, piece by piece: `call` gets the place of a piece on the device and begins.
    pub(super) fn stage<T: Element>(
        &self,
        staging: &Mutex<Option<Staging<T>>>,
        values: &mut [T],
        name: &'static str,
        call: impl Fn(&Handle, Range) -> Result<()>,
    ) -> Result<()> {
        let stream = self.stream();
        let mut staging = staging.lock().unwrap_or_else(PoisonError::into_inner);
        let staging = match &mut *staging {
            Some(staging) => staging,
            empty => empty.insert(Staging::new(stream)?),
        };
        if values.is_empty() {
            // The others are to know that it was here.
            return self.launch::<T>(name, 0, |_| Ok(()));
        }
        for piece in values.chunks_mut(LENGTH) {
            let length = piece.len();
            let mut copied = || {
                staging.host.as_mut_slice()?[..length].copy_from_slice(piece);
                let host = &staging.host.as_slice()?[..length];
                stream.memcpy_htod(host, &mut staging.device)
            };
            copied().map_err(Error::cuda("copy values to the device"))?;
            let (start, _) = staging.device.device_ptr_mut(stream);
            self.launch::<T>(name, length, |handle| call(handle, Range { start, length }))?;
            let mut copied = || {
                let host = &mut staging.host.as_mut_slice()?[..length];
                stream.memcpy_dtoh(&staging.device.slice(..length), host)
            };
            copied().map_err(Error::cuda("copy values to the host"))?;
            self.wait_for_all(self.place(name))?;
            let host = staging.host.as_slice();
            let host = host.map_err(Error::cuda("read what the device wrote"))?;
            piece.copy_from_slice(&host[..length]);
        }
        Ok(())
    }
}
