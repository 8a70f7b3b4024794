//! Tests on devices, real or simulated. Without enough of them they do nothing and say so.

mod failures;
mod faults;
mod processes;
mod reducer;
mod sums;

use super::*;
use feedline_pipeline::cuda::Gpu;
use std::thread;
use std::time::Duration;

/// For what does not fail: no test waits for it.
const LONG: Duration = Duration::from_secs(600);

/// Whether there are as many devices as a test needs.
fn has_gpus(count: usize) -> bool {
    let found = Gpu::count().unwrap_or(0);
    if found < count {
        eprintln!(
            "skipped: needs {count} GPUs, found {found}; see ci/cuda/README.md for simulated ones"
        );
    }
    found >= count
}

/// What `work` returns on each of `world_size` threads with a GPU each.
fn on_each<T: Send>(
    world_size: usize,
    deadline: Duration,
    work: impl Fn(Communicator) -> T + Sync,
) -> Vec<T> {
    with_tickets(world_size, deadline, |ticket| {
        let gpu = Gpu::new(ticket.rank()).unwrap();
        work(Communicator::connect(ticket, &gpu).unwrap())
    })
}

/// What `work` returns on each of `world_size` threads.
fn with_tickets<T: Send>(
    world_size: usize,
    deadline: Duration,
    work: impl Fn(Ticket) -> T + Sync,
) -> Vec<T> {
    let tickets = Ticket::group(world_size, deadline).unwrap();
    thread::scope(|scope| {
        let work = &work;
        let run = |ticket: Ticket| scope.spawn(move || work(ticket));
        let threads: Vec<_> = tickets.into_iter().map(run).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, T>| thread.join().unwrap();
        threads.into_iter().map(join).collect()
    })
}
