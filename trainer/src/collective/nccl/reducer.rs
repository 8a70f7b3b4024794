//! Sums of gradients in a GPU's memory, while the backward pass still runs.

use std::collections::VecDeque;
use std::sync::Arc;

use feedline_pipeline::cuda::cudarc::driver::{CudaEvent, CudaSlice, CudaViewMut, DevicePtrMut};
use half::bf16;

use super::communicator::Communicator;
use super::handle::{Range, Reduction};
use crate::collective::{Buckets, Phase};
use crate::cuda::wire::Wire;
use crate::error::{Error, Result, invalid};

/// Sums a flat buffer in a GPU's memory over all replicas, bucket by bucket: each as soon as it is final, on the
/// communicator's stream, or all when the last is. Both give the same bits, as the calls are the same.
///
/// The counterpart of [`Reducer`](crate::collective::Reducer) for GPUs. Dropping it lets the computing stream wait for all
/// that was begun.
#[derive(Debug)]
pub struct DeviceReducer {
    communicator: Arc<Communicator>,
    buckets: Buckets,
    overlap: bool,
    wire: Option<Wire>,
    /// How many numbers at the buffer's end always travel as they are.
    extra: usize,
    step: u64,
    /// When the sums of the last steps are there.
    ends: VecDeque<(u64, CudaEvent)>,
}

impl DeviceReducer {
    /// How many steps this thread may be ahead of the device. It has to stop somewhere: a thread that has enqueued too much
    /// waits within the driver, where it notices no failure. Two steps are enough for the device never to wait for it.
    pub const AHEAD: usize = 2;

    /// Sums buffers that `buckets` was made for; with `overlap` each bucket as soon as it is final. All replicas must say
    /// the same. A replica that is alone does nothing.
    pub fn new(communicator: Arc<Communicator>, buckets: Buckets, overlap: bool) -> Self {
        Self {
            communicator,
            buckets,
            overlap,
            wire: None,
            extra: 0,
            step: 0,
            ends: VecDeque::with_capacity(Self::AHEAD + 1),
        }
    }

    /// Lets numbers travel as `bf16`, which halves the bytes: they are rounded, summed and made `f32` again. All but the
    /// last `extra` numbers of the buffer, such as the loss and the number of right answers.
    ///
    /// # Errors
    ///
    /// Those of CUDA if there is no memory for it.
    pub fn in_bf16(mut self, extra: usize) -> Result<Self> {
        let length = self.buckets.length().saturating_sub(extra);
        if self.communicator.world_size() > 1 && length > 0 {
            let (gpu, stream) = (self.communicator.gpu(), self.communicator.stream());
            self.wire = Some(Wire::new(gpu, stream, length)?);
            self.extra = extra;
        }
        Ok(self)
    }

    /// Begins step `step`, counted over all epochs. Waits until the device has not much left to do.
    ///
    /// # Errors
    ///
    /// Those of [`Communicator::wait`].
    pub fn begin(&mut self, step: u64) -> Result<()> {
        if self.ends.len() >= Self::AHEAD
            && let Some((step, end)) = self.ends.pop_front()
        {
            self.communicator.wait(&end, step, Phase::Gradients)?;
        }
        self.buckets.restart();
        self.step = step;
        Ok(())
    }

    /// Says that the numbers at `from` and behind it will be final when the computing stream is past what is on it now.
    ///
    /// # Errors
    ///
    /// Those of [`Communicator::all_reduce`]; [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the buckets were
    /// made for another number of values.
    ///
    /// # Safety
    ///
    /// Until the next [`join`](Self::join), or until this is dropped, nothing that is enqueued on the computing stream may
    /// use or free the numbers at `from` and behind it. That holds for what destructors enqueue, too.
    pub unsafe fn ready(&mut self, from: usize, values: &mut CudaSlice<f32>) -> Result<()> {
        self.check(values)?;
        match self.overlap {
            // SAFETY: as the caller has it.
            true => unsafe { self.sum(from, values) },
            false => Ok(()),
        }
    }

    /// Replaces all `values`, which will be final when the computing stream is past what is on it now, by their sums over
    /// all replicas. What is enqueued there from now on sees the sums; this thread does not wait.
    ///
    /// # Errors
    ///
    /// As [`ready`](Self::ready).
    pub fn join(&mut self, values: &mut CudaSlice<f32>) -> Result<()> {
        self.check(values)?;
        // SAFETY: the computing stream waits below.
        let begun = unsafe { self.sum(0, values) };
        self.communicator.join()?;
        begun?;
        let end = self.communicator.stream().record_event(None);
        let end = end.map_err(Error::cuda("record an event"))?;
        self.ends.push_back((self.step, end));
        Ok(())
    }

    /// Begins with all buckets that are full.
    ///
    /// # Safety
    ///
    /// As [`ready`](Self::ready).
    unsafe fn sum(&mut self, from: usize, values: &mut CudaSlice<f32>) -> Result<()> {
        let communicator = &self.communicator;
        if communicator.world_size() == 1 {
            return Ok(());
        }
        let packed = self.buckets.length() - self.extra;
        for (bucket, range) in self.buckets.ready(from) {
            communicator.note(self.step, Phase::Bucket(bucket));
            let Some(wire) = &mut self.wire else {
                let values = &mut values.slice_mut(range);
                // SAFETY: as the caller has it.
                unsafe { communicator.begin_all_reduce(values, Reduction::Sum)? };
                continue;
            };
            let (start, end) = (range.start.min(packed), range.end.min(packed));
            if start < end {
                let values = &mut values.slice_mut(start..end);
                // SAFETY: as the caller has it.
                unsafe { sum_in_bf16(communicator, wire, values, start..end)? };
            }
            if packed < range.end {
                let values = &mut values.slice_mut(range.start.max(packed)..range.end);
                // SAFETY: as the caller has it.
                unsafe { communicator.begin_all_reduce(values, Reduction::Sum)? };
            }
        }
        Ok(())
    }

    fn check(&self, values: &CudaSlice<f32>) -> Result<()> {
        match values.len() == self.buckets.length() {
            true => Ok(()),
            false => {
                let expected = self.buckets.length();
                Err(invalid("number of values", values.len(), expected))
            }
        }
    }
}

impl Drop for DeviceReducer {
    fn drop(&mut self) {
        // Without an error there is nothing to do; with one, the device is out of order anyway.
        let _ = self.communicator.join();
    }
}

/// Begins to sum `values`, whose place in the wire is `range`.
///
/// # Safety
///
/// As [`Communicator::begin_all_reduce`].
unsafe fn sum_in_bf16(
    communicator: &Communicator,
    wire: &mut Wire,
    values: &mut CudaViewMut<'_, f32>,
    range: std::ops::Range<usize>,
) -> Result<()> {
    communicator.follow(values)?;
    wire.pack(&values.as_view(), range.clone())?;
    let mut packed = wire.packed(range.clone())?;
    let length = packed.len();
    let (start, _) = packed.device_ptr_mut(communicator.stream());
    communicator.launch::<bf16>("all_reduce (sum)", length, |handle| {
        // SAFETY: the wire's memory is used on the communicator's stream only.
        unsafe {
            handle.all_reduce::<bf16>(
                Range { start, length },
                Reduction::Sum,
                communicator.stream(),
            )
        }
    })?;
    wire.unpack(values, range)
}
