//! The ranks of a process that talk over NCCL.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use feedline_pipeline::cuda::cudarc::nccl::sys::ncclUniqueId;

use super::handle::Handle;
use super::ledger::Ledger;
use crate::collective::Roll;
use crate::error::Result;

/// How long NCCL may take to end a connection, before it is left to itself.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What the ranks of a process share. Each has a seat, where its communicator is; one that fails closes all seats, so
/// that no rank waits for another, be it in a call, in a kernel or in a destructor that waits for the device.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: ncclUniqueId,
    pub(super) roll: Roll,
    pub(super) deadline: Duration,
    seats: Vec<Mutex<Seat>>,
    ledger: Mutex<Ledger>,
    /// What rank 0 has made for all, while they duplicate this.
    duplicate: Mutex<Option<Arc<Group>>>,
}

/// Where a rank's communicator is.
#[derive(Debug)]
pub(super) enum Seat {
    /// It has not come yet.
    Empty,
    Taken(Handle),
    /// It has ended or was aborted.
    Left,
}

impl Group {
    pub(super) fn new(roll: Roll, deadline: Duration) -> Result<Arc<Self>> {
        let world_size = roll.world_size();
        let group = Arc::new(Self {
            id: Handle::new_id()?,
            roll,
            deadline,
            seats: (0..world_size).map(|_| Mutex::new(Seat::Empty)).collect(),
            ledger: Mutex::new(Ledger::new(world_size)),
            duplicate: Mutex::default(),
        });
        let failing = Arc::downgrade(&group);
        group.roll.on_abort(move || {
            if let Some(group) = failing.upgrade() {
                group.close();
            }
        });
        Ok(group)
    }

    pub(super) fn world_size(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn seat(&self, rank: usize) -> MutexGuard<'_, Seat> {
        lock(&self.seats[rank])
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(super) fn duplicate(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        lock(&self.duplicate)
    }

    /// Who has left and is missing in `rank`'s call.
    pub(super) fn gone(&self, rank: usize) -> Option<usize> {
        let left = |rank: &usize| matches!(*self.seat(*rank), Seat::Left);
        if !(0..self.world_size()).any(|rank| left(&rank)) {
            return None;
        }
        let missing = self.roll.missing(rank);
        missing.iter().map(|missing| missing.rank).find(left)
    }

    /// Aborts all communicators. NCCL frees what those of a process share with the last of them, so none waits for another.
    fn close(self: Arc<Self>) {
        in_time(move || {
            for rank in 0..self.world_size() {
                let seat = std::mem::replace(&mut *self.seat(rank), Seat::Left);
                drop(seat);
            }
        });
    }
}

/// Does something that should not take long, but may never end: then it is left behind, with all that it holds.
pub(super) fn in_time(work: impl FnOnce() + Send + 'static) -> bool {
    let (done, finished) = mpsc::channel();
    let work = move || {
        work();
        // Nobody waits any more if it took too long.
        let _ = done.send(());
    };
    // If no thread can be started, the process has other troubles; what `work` held is dropped.
    let thread = thread::Builder::new().name("nccl-end".into()).spawn(work);
    thread.is_ok() && finished.recv_timeout(GRACE).is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
