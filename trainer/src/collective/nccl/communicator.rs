//! One replica's end of the connection between GPUs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::driver::result::stream::get_priority_range;
use feedline_pipeline::cuda::cudarc::driver::{
    CudaStream, CudaViewMut, DevicePtrMut, DeviceSlice, DriverError,
};

use super::group::{Group, Seat};
use super::handle::{Element, Handle, Range, Reduction};
use super::peers::share_memory;
use super::share::{Alone, Share};
use super::staging::Stagings;
use crate::collective::{Phase, Place, Roll};
use crate::error::{Error, Result, invalid};

/// One replica's end of the connection between GPUs, over NCCL.
///
/// It has a stream of its own, beside the one that the replica's [`Gpu`] computes on. What it is asked to do is begun
/// there as soon as the computing stream is past what came before, and this thread goes on. It is also a
/// [`Collective`](crate::collective::Collective) for values in the host's memory.
///
/// A thread waits only where it polls: for its own device, for the others' failures and for the deadline. Who fails, or
/// finds one missing, aborts the communicators of all replicas of the process, so that none is left waiting in a kernel;
/// those in other processes learn of it from the [`Roll`].
///
/// NCCL mixes up the values of replicas that call different things. Those of one process are told
/// ([`Error::Mismatch`]); between processes only the deadline ends what does not fit, and not all that does not fit is
/// noticed.
///
/// ```no_run
/// use feedline_trainer::Replicas;
/// use feedline_trainer::collective::Reduction;
///
/// Replicas::gpus()?.run(|replica| {
///     let (Some(gpu), Some(communicator)) = (replica.gpu(), replica.communicator()) else {
///         return Ok(());
///     };
///     let mut values = gpu.stream().clone_htod(&[1f32, 2.0]).unwrap();
///     communicator.all_reduce(&mut values.as_view_mut(), Reduction::Sum)?;
///     // What is enqueued on the computing stream now sees the sums. Before this thread reads them, or waits for the
///     // device in another way, it has to wait in this one, which ends if another replica fails or is missing:
///     communicator.synchronize()?;
///     println!("{:?}", gpu.stream().clone_dtoh(&values).unwrap());
///     Ok(())
/// })?;
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
pub struct Communicator {
    pub(super) rank: usize,
    pub(super) group: Arc<Group>,
    gpu: Gpu,
    pub(super) stream: Arc<CudaStream>,
    /// What calls belong to.
    pub(super) place: Mutex<Option<Place>>,
    pub(super) stagings: Stagings,
}

/// With this a thread takes its place among others that connect their GPUs. One that goes unused is a failure.
#[derive(Debug)]
pub(crate) struct Ticket {
    rank: usize,
    group: Arc<Group>,
    used: bool,
}

impl Ticket {
    /// One for each of `world_size` ranks, which wait for each other no longer than `deadline`.
    pub(crate) fn group(world_size: usize, deadline: Duration) -> Result<Vec<Self>> {
        Self::part(
            0..world_size,
            Roll::new(world_size),
            deadline,
            Arc::new(Alone),
        )
    }

    /// One for each of the ranks `ranks` of those on the roll. The others are in other processes, whose failures stand on
    /// the roll as those of this one do; `share` brings them the address where all connect. Every process calls this, and
    /// later each [`duplicate`](crate::collective::Collective::duplicate), in the same order.
    pub(crate) fn part(
        ranks: std::ops::Range<usize>,
        roll: Roll,
        deadline: Duration,
        share: Arc<dyn Share>,
    ) -> Result<Vec<Self>> {
        let group = Group::new(ranks.clone(), roll, deadline, share)?;
        Ok(ranks.map(|rank| Self::new(rank, &group)).collect())
    }

    pub(super) fn new(rank: usize, group: &Arc<Group>) -> Self {
        Self {
            rank,
            group: Arc::clone(group),
            used: false,
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// Says that this rank will not come.
    pub(crate) fn abort(&self, reason: &str) {
        self.group.roll.abort(self.rank, reason);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.abort("it has ended before it connected its GPU");
        }
    }
}

impl Communicator {
    /// Connects this thread's GPU with those of all other ranks, each in a thread or a process of its own.
    pub(crate) fn connect(mut ticket: Ticket, gpu: &Gpu) -> Result<Self> {
        let shared = share_memory(gpu, ticket.group.ranks.len());
        let stream = shared
            .map_err(Error::cuda("let the other GPUs use its memory"))
            .and_then(|()| first_stream(gpu).map_err(Error::cuda("make a stream")))
            .inspect_err(|error| ticket.abort(&error.to_string()))?;
        ticket.used = true;
        let communicator = Self {
            rank: ticket.rank,
            group: Arc::clone(&ticket.group),
            gpu: gpu.clone(),
            stream,
            place: Mutex::default(),
            stagings: Stagings::default(),
        };
        communicator.take_seat()?;
        Ok(communicator)
    }

    fn take_seat(&self) -> Result<()> {
        let place = self.enter("connect", "values", 0)?;
        let connect = || {
            self.bind()?;
            let mut seat = self.group.seat(self.rank);
            let Seat::Empty = *seat else {
                return Err(self.closed());
            };
            let handle = Handle::connect(self.group.id, self.rank, self.group.world_size())?;
            *seat = Seat::Taken(handle);
            Ok(())
        };
        connect().map_err(|error| self.fail(error))?;
        self.poll(place, || Ok(true))
    }

    /// This replica's number, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many replicas there are.
    pub fn world_size(&self) -> usize {
        self.group.world_size()
    }

    /// The GPU whose end of the connection this is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The stream on which values travel.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Who is missing, and who has failed.
    pub fn roll(&self) -> &Roll {
        &self.group.roll
    }

    /// Says which step and phase the calls from now on belong to: there the others will have seen this replica last.
    pub fn note(&self, step: u64, phase: Phase) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place { step, phase });
        self.group.roll.note(self.rank, step, phase);
    }

    /// Replaces `values` by their sums or means over all replicas, as if the computing stream did it: behind all that was
    /// enqueued there, and before all that will be. They are the same to the bit on every replica.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if another replica failed, [`Error::Deadline`] if one did not come in time, [`Error::Mismatch`]
    /// if one of this process called something else, [`Error::Nccl`] if NCCL refuses, [`Error::InvalidArgument`] if the values are not
    /// memory of the computing stream.
    pub fn all_reduce<T: Element>(
        &self,
        values: &mut CudaViewMut<'_, T>,
        reduction: Reduction,
    ) -> Result<()> {
        // SAFETY: the computing stream, of which the memory is, waits for it at once, also for what has failed.
        let begun = unsafe { self.begin_all_reduce(values, reduction) };
        self.join()?;
        begun
    }

    /// As [`all_reduce`](Self::all_reduce), but the computing stream does not wait for it until [`join`](Self::join).
    ///
    /// # Safety
    ///
    /// What is enqueued on the computing stream before the next `join` must not write or free the memory of `values`, and
    /// not read it. That holds for what destructors enqueue, too.
    ///
    /// # Errors
    ///
    /// As [`all_reduce`](Self::all_reduce).
    pub unsafe fn begin_all_reduce<T: Element>(
        &self,
        values: &mut CudaViewMut<'_, T>,
        reduction: Reduction,
    ) -> Result<()> {
        let name = match reduction {
            Reduction::Sum => "all_reduce (sum)",
            Reduction::Mean => "all_reduce (mean)",
        };
        let values = self.follow(values)?;
        self.launch::<T>(name, values.length, |handle| {
            // SAFETY: `follow` has checked the memory and ordered what came before; the caller orders what comes after.
            unsafe { handle.all_reduce::<T>(values, reduction, &self.stream) }
        })
    }

    /// Replaces `values` by those of rank 0, in the order of the computing stream.
    ///
    /// # Errors
    ///
    /// As [`all_reduce`](Self::all_reduce).
    pub fn broadcast_first<T: Element>(&self, values: &mut CudaViewMut<'_, T>) -> Result<()> {
        let values = self.follow(values)?;
        let begun = self.launch::<T>("broadcast_first", values.length, |handle| {
            // SAFETY: `follow` has checked the memory and ordered what came before; the computing stream waits below.
            unsafe { handle.broadcast::<T>(values, &self.stream) }
        });
        self.join()?;
        begun
    }

    /// Makes the device that of what this thread calls.
    pub(super) fn bind(&self) -> Result<()> {
        let bound = self.stream.context().bind_to_thread();
        bound.map_err(Error::cuda("use the device"))
    }

    /// Lets the computing stream wait for all that was begun. This thread does not wait.
    ///
    /// # Errors
    ///
    /// [`Error::Cuda`] if the device refuses.
    pub fn join(&self) -> Result<()> {
        let joined = self.gpu.stream().join(&self.stream);
        joined.map_err(Error::cuda("order two streams"))
    }

    /// Lets what will be begun wait for all that is on the computing stream.
    pub(super) fn follow<T: Element>(&self, values: &mut CudaViewMut<'_, T>) -> Result<Range> {
        let length = values.len();
        let (start, _) = values.device_ptr_mut(&self.stream);
        if length > 0 && values.stream() != self.gpu.stream() {
            let found = "memory of another stream";
            return Err(invalid("values", found, "memory of the computing stream"));
        }
        let ordered = self.stream.join(self.gpu.stream());
        ordered.map_err(Error::cuda("order two streams"))?;
        Ok(Range { start, length })
    }
}

/// A stream whose kernels are begun before those of other streams.
fn first_stream(gpu: &Gpu) -> Result<Arc<CudaStream>, DriverError> {
    let context = gpu.stream().context();
    context.bind_to_thread()?;
    let (_, first) = get_priority_range()?;
    context.new_stream_with_priority(first)
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicator")
            .field("rank", &self.rank)
            .field("world_size", &self.world_size())
            .field("gpu", &self.gpu)
            .finish_non_exhaustive()
    }
}
