//! Pinned memory, from which a device copies by itself while the host goes on.

use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cudarc::driver::{
    CudaContext, CudaEvent, CudaStream, CudaViewMut, DriverError, PinnedHostSlice,
};

use super::earlier::despite_earlier_errors;
use crate::error::{Error, Result};

/// Bytes that the host writes and the device copies, again and again.
#[derive(Debug)]
pub(super) struct Staging {
    memory: ManuallyDrop<PinnedHostSlice<u8>>,
    /// All copies that were begun.
    copied: CudaEvent,
    /// Whether a copy was begun of which `copied` does not know: the memory is never idle again.
    lost: bool,
    /// How long to wait for them.
    patience: Duration,
}

/// How often the host looks whether an event has come.
const GLANCE: Duration = Duration::from_micros(20);

impl Staging {
    pub(super) fn new(
        context: &Arc<CudaContext>,
        bytes: usize,
        patience: Duration,
    ) -> Result<Self> {
        let failed = Error::cuda("set pinned memory aside");
        // SAFETY: nothing is read before it is set, just below.
        let memory = unsafe { context.alloc_pinned_with_flags::<u8>(bytes.max(1), 0) };
        let mut memory = memory.map_err(&failed)?;
        let start = memory.as_mut_ptr().map_err(&failed)?;
        // SAFETY: the allocation has that many bytes, and nobody else knows of it.
        unsafe { start.write_bytes(0, memory.len()) };
        let copied = context.new_event(None).map_err(&failed)?;
        Ok(Self {
            memory: ManuallyDrop::new(memory),
            copied,
            lost: false,
            patience,
        })
    }

    /// The bytes, once the device has copied what was in them.
    pub(super) fn bytes(&mut self) -> Result<&mut [u8]> {
        let failed = Error::cuda("finish a copy");
        if !self.is_idle().map_err(&failed)? {
            let waited = self.patience;
            return Err(Error::GpuStalled { waited });
        }
        self.memory.as_mut_slice().map_err(&failed)
    }

    /// Waits for the copies; `false` if they are not done when patience is.
    fn is_idle(&self) -> Result<bool, DriverError> {
        let start = Instant::now();
        while self.lost || !self.copied.try_is_complete()? {
            if start.elapsed() > self.patience {
                return Ok(false);
            }
            std::thread::sleep(GLANCE);
        }
        Ok(true)
    }

    /// Has the device copy `from` these bytes into `to`, which has room for just them, in the stream's order.
    pub(super) fn copy(
        &mut self,
        stream: &Arc<CudaStream>,
        from: Range<usize>,
        to: &mut CudaViewMut<'_, u8>,
    ) -> Result<()> {
        let failed = Error::cuda("copy to the device");
        let bytes = self.memory.as_slice().map_err(&failed)?;
        // The copy goes on behind the borrow: until `copied` has come nobody writes, as `bytes` sees to, or frees, as
        // `drop` does.
        stream.memcpy_htod(&bytes[from], to).map_err(&failed)?;
        let recorded = despite_earlier_errors(stream.context(), || self.copied.record(stream));
        self.lost |= recorded.is_err();
        recorded.map_err(&failed)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let context = Arc::clone(self.copied.context());
        despite_earlier_errors(&context, || {
            let bound = context.bind_to_thread();
            match bound.and_then(|()| self.is_idle()) {
                // SAFETY: dropped once, and not used again. No copy reads the memory any more.
                Ok(true) => unsafe { ManuallyDrop::drop(&mut self.memory) },
                // The device is stuck, or lost, and may still read the memory: rather leave it behind than hang with it.
                Ok(false) => {}
                Err(error) => context.record_err(Err::<(), _>(error)),
            }
        });
    }
}

/// Where parts of these lengths begin and end, one behind the other, each at a multiple of 16 bytes.
pub(super) fn sections<const N: usize>(lengths: [usize; N]) -> [Range<usize>; N] {
    let mut end = 0usize;
    lengths.map(|length| {
        let start = end.next_multiple_of(16);
        end = start + length;
        start..end
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_aligned_and_do_not_overlap() {
        assert_eq!(sections([5, 0, 16, 3]), [0..5, 16..16, 16..32, 32..35]);
    }
}
