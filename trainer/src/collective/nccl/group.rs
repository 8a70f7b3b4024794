//! The ranks of a process that talk over NCCL, with each other and with those of other processes.

use std::ffi::c_char;
use std::ops::Range;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use feedline_pipeline::cuda::cudarc::nccl::sys::ncclUniqueId;

use super::handle::Handle;
use super::ledger::Ledger;
use super::share::Share;
use crate::collective::Roll;
use crate::error::{Error, Result, invalid};

/// How long NCCL may take to end a connection, before it is left to itself.
pub(super) const GRACE: Duration = Duration::from_secs(5);

/// What the ranks of a process share, which are all of a world or a part of it. Each has a seat, where its communicator is;
/// one that fails, here or as the roll has it of another process, closes all seats, so that no rank waits for another, be it
/// in a call, in a kernel or in a destructor that waits for the device.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: ncclUniqueId,
    pub(super) roll: Roll,
    pub(super) deadline: Duration,
    /// Those of this process.
    pub(super) ranks: Range<usize>,
    world_size: usize,
    share: Arc<dyn Share>,
    /// Of the ranks of this process.
    seats: Vec<Mutex<Seat>>,
    ledger: Mutex<Ledger>,
    /// What the first rank has made for all of this process, while they duplicate this.
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
    /// The ranks `ranks` of those on the roll. The process of rank 0 makes the address where they connect, and shares it.
    pub(super) fn new(
        ranks: Range<usize>,
        roll: Roll,
        deadline: Duration,
        share: Arc<dyn Share>,
    ) -> Result<Arc<Self>> {
        let world_size = roll.world_size();
        if ranks.is_empty() || ranks.end > world_size {
            let expected = format!("at least one of {world_size}");
            return Err(invalid(
                "replicas of this process",
                format!("{ranks:?}"),
                expected,
            ));
        }
        // Others wait for it, who learn of a failure from the roll.
        let failed = |error: &Error| roll.abort(ranks.start, &error.to_string());
        let own = match ranks.start {
            0 => Some(Handle::new_id().inspect_err(failed)?),
            _ => None,
        };
        let own = own.map(|id| id.internal.map(|byte| byte as u8).to_vec());
        let shared = share.share("the address of NCCL", own);
        let id = shared.and_then(read_id).inspect_err(failed)?;
        let group = Arc::new(Self {
            id,
            roll,
            deadline,
            seats: ranks.clone().map(|_| Mutex::new(Seat::Empty)).collect(),
            ledger: Mutex::new(Ledger::new(ranks.clone(), world_size)),
            ranks,
            world_size,
            share,
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

    /// Another group of the same ranks. Every process makes it once.
    pub(super) fn another(&self) -> Result<Arc<Self>> {
        let (ranks, share) = (self.ranks.clone(), Arc::clone(&self.share));
        Self::new(ranks, self.roll.beside(), self.deadline, share)
    }

    pub(super) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Whether there are ranks in other processes.
    pub(super) fn is_part(&self) -> bool {
        self.ranks.len() < self.world_size
    }

    /// That of a rank of this process.
    pub(super) fn seat(&self, rank: usize) -> MutexGuard<'_, Seat> {
        lock(&self.seats[rank - self.ranks.start])
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    pub(super) fn duplicate(&self) -> MutexGuard<'_, Option<Arc<Self>>> {
        lock(&self.duplicate)
    }

    /// Who of this process has left and is missing in `rank`'s call. Of others the roll knows.
    pub(super) fn gone(&self, rank: usize) -> Option<usize> {
        let left =
            |rank: &usize| self.ranks.contains(rank) && matches!(*self.seat(*rank), Seat::Left);
        if !self.ranks.clone().any(|rank| left(&rank)) {
            return None;
        }
        let missing = self.roll.missing(rank);
        missing.iter().map(|missing| missing.rank).find(left)
    }

    /// Aborts all communicators of this process. NCCL frees what those of a process share with the last of them, so none waits for another.
    fn close(self: Arc<Self>) {
        in_time(move || {
            for rank in self.ranks.clone() {
                let seat = std::mem::replace(&mut *self.seat(rank), Seat::Left);
                drop(seat);
            }
        });
    }
}

fn read_id(bytes: Vec<u8>) -> Result<ncclUniqueId> {
    let length = bytes.len();
    let Ok(bytes) = <[u8; size_of::<ncclUniqueId>()]>::try_from(bytes) else {
        let expected = format!("{} bytes", size_of::<ncclUniqueId>());
        return Err(invalid(
            "the address of NCCL",
            format!("{length} bytes"),
            expected,
        ));
    };
    let internal = bytes.map(|byte| byte as c_char);
    Ok(ncclUniqueId { internal })
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
