//! An MPI communicator, and what is on its way over it.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem::ManuallyDrop;

use mpi::ffi;

use super::buffers::{Buffers, Element};
use super::library::accepted;
use crate::error::{Error, Result};

/// What MPI calls a communicator. One that is dropped is left as it is: to [free](Self::free) it is for those who know that
/// nothing is on its way any more.
pub(super) struct Link {
    communicator: ffi::MPI_Comm,
    rank: usize,
    world_size: usize,
}

/// MPI's operations that send as many values to each rank as they get from it.
type Operation = unsafe extern "C" fn(
    *const c_void,
    c_int,
    ffi::MPI_Datatype,
    *mut c_void,
    c_int,
    ffi::MPI_Datatype,
    ffi::MPI_Comm,
    *mut ffi::MPI_Request,
) -> c_int;

// SAFETY: a communicator is a number or an address that means the same on every thread, and MPI was started for calls from
// any.
unsafe impl Send for Link {}
// SAFETY: as above.
unsafe impl Sync for Link {}

/// An operation that has begun, and its buffers. If it is dropped before it is done, MPI may still use them, so that they are
/// never freed.
pub(super) struct Pending<B> {
    action: &'static str,
    request: ffi::MPI_Request,
    buffers: ManuallyDrop<Option<B>>,
}

// SAFETY: a request, too, means the same on every thread, and only its owner asks for it.
unsafe impl<B: Send> Send for Pending<B> {}

/// A communicator that MPI is still making.
pub(super) struct Unborn(*mut ffi::MPI_Comm);

// SAFETY: as for `Link`.
unsafe impl Send for Unborn {}

impl Link {
    /// All processes that were started together. Never freed.
    pub(super) fn world() -> Result<Self> {
        // SAFETY: the library's name for it never changes.
        Self::new(unsafe { ffi::RSMPI_COMM_WORLD })
    }

    fn new(communicator: ffi::MPI_Comm) -> Result<Self> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: the communicator is one, and MPI runs as long as there are links. Errors are answers from now on, where MPI
        // would end the process.
        let answers = unsafe {
            [
                ffi::MPI_Comm_set_errhandler(communicator, ffi::RSMPI_ERRORS_RETURN),
                ffi::MPI_Comm_rank(communicator, &raw mut rank),
                ffi::MPI_Comm_size(communicator, &raw mut size),
            ]
        };
        for code in answers {
            accepted("say who is there", code)?;
        }
        let number = |value: c_int| usize::try_from(value).unwrap_or(0);
        Ok(Self {
            communicator,
            rank: number(rank),
            world_size: number(size),
        })
    }

    pub(super) fn rank(&self) -> usize {
        self.rank
    }

    pub(super) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Everybody gets the first `length` values that each sends.
    pub(super) fn gather<T: Element>(
        &self,
        buffers: Buffers<T>,
        length: usize,
    ) -> Result<Pending<Buffers<T>>> {
        let room = (length, length * self.world_size);
        let operation: Operation = ffi::MPI_Iallgather;
        self.send("gather values", operation, buffers, length, room)
    }

    /// The values that each sends are as many parts of `length` as there are ranks; everybody gets the parts with its
    /// number.
    pub(super) fn exchange<T: Element>(
        &self,
        buffers: Buffers<T>,
        length: usize,
    ) -> Result<Pending<Buffers<T>>> {
        let room = (length * self.world_size, length * self.world_size);
        let operation: Operation = ffi::MPI_Ialltoall;
        self.send("exchange values", operation, buffers, length, room)
    }

    /// An operation that takes `length` values for each rank, and uses so much of both buffers.
    fn send<T: Element>(
        &self,
        action: &'static str,
        operation: Operation,
        buffers: Buffers<T>,
        length: usize,
        room: (usize, usize),
    ) -> Result<Pending<Buffers<T>>> {
        let (count, kind) = (count(&buffers, length, room)?, T::datatype());
        Pending::begin(action, buffers, |buffers, request| {
            let sent = buffers.sent.as_ptr().cast();
            let received = buffers.received.as_mut_ptr().cast();
            let link = self.communicator;
            // SAFETY: both have room for that many, and neither moves nor is freed before the operation is done.
            unsafe { operation(sent, count, kind, received, count, kind, link, request) }
        })
    }

    /// The first `length` values that everybody would send become those of rank 0.
    pub(super) fn broadcast<T: Element>(
        &self,
        buffers: Buffers<T>,
        length: usize,
    ) -> Result<Pending<Buffers<T>>> {
        let count = count(&buffers, length, (length, 0))?;
        Pending::begin("broadcast values", buffers, |buffers, request| {
            let values = buffers.sent.as_mut_ptr().cast::<c_void>();
            // SAFETY: as in `send`.
            unsafe { ffi::MPI_Ibcast(values, count, T::datatype(), 0, self.communicator, request) }
        })
    }

    /// Another link between the same ranks.
    pub(super) fn duplicate(&self) -> Result<Pending<Unborn>> {
        // SAFETY: the library's name for it never changes.
        let made = Unborn(Box::into_raw(Box::new(unsafe { ffi::RSMPI_COMM_NULL })));
        Pending::begin("duplicate the connection", made, |made, request| {
            // SAFETY: the place neither moves nor is freed before the operation is done.
            unsafe { ffi::MPI_Comm_idup(self.communicator, made.0, request) }
        })
    }

    /// Frees what MPI keeps for this. All ranks must do so, when nothing is on its way.
    pub(super) fn free(mut self) {
        // SAFETY: this was made by `duplicate`, and nobody uses it any more. What MPI answers changes nothing for us.
        unsafe { ffi::MPI_Comm_free(&raw mut self.communicator) };
    }
}

impl Unborn {
    /// What MPI has made.
    pub(super) fn link(self) -> Result<Link> {
        // SAFETY: it came from a box, and MPI has done with it.
        Link::new(*unsafe { Box::from_raw(self.0) })
    }
}

impl<B> Pending<B> {
    fn begin(
        action: &'static str,
        buffers: B,
        begin: impl FnOnce(&mut B, *mut ffi::MPI_Request) -> c_int,
    ) -> Result<Self> {
        let mut buffers = ManuallyDrop::new(Some(buffers));
        // SAFETY: the library's name for it never changes.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        let code = buffers
            .as_mut()
            .map_or(0, |buffers| begin(buffers, &raw mut request));
        accepted(action, code)?;
        Ok(Self {
            action,
            request,
            buffers,
        })
    }

    /// The buffers if it is done, and `None` afterwards. What is on its way gets on only in calls of MPI, such as this.
    pub(super) fn poll(&mut self) -> Result<Option<B>> {
        let mut is_done = 0;
        // SAFETY: the request is one that MPI has made, or that it has ended and knows as such.
        let code = unsafe {
            ffi::MPI_Test(
                &raw mut self.request,
                &raw mut is_done,
                ffi::RSMPI_STATUS_IGNORE,
            )
        };
        accepted(self.action, code)?;
        Ok(match is_done {
            0 => None,
            _ => self.buffers.take(),
        })
    }
}

/// `length` as MPI counts, if the buffers have the room.
fn count<T>(buffers: &Buffers<T>, length: usize, room: (usize, usize)) -> Result<c_int> {
    let is_there = buffers.sent.len() >= room.0 && buffers.received.len() >= room.1;
    let count = c_int::try_from(length).ok().filter(|_| is_there);
    count.ok_or_else(|| Error::Mpi {
        action: "send values",
        reason: format!("{length} at once are more than there is room for"),
    })
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("rank", &self.rank)
            .field("world_size", &self.world_size)
            .finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for Pending<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("action", &self.action)
            .finish_non_exhaustive()
    }
}
