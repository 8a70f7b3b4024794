//! The threads of a loader.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::lane::Lane;
use crate::batch::Recipe;
use crate::error::{Result, io_error};
use crate::sync::atomic::AtomicBool;
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::thread::{self, JoinHandle};
use crate::transform::Element;

/// What the threads share.
pub(super) struct Workshop<T: Element> {
    pub(super) recipe: Recipe<T>,
    pub(super) lanes: Vec<Lane<T>>,
    /// Tells the workers that nobody waits any more for what they have.
    pub(super) cancelled: AtomicBool,
}

/// Threads that live as long as the loader. Each takes the number of a lane, fills one part of the slot there, and takes
/// the next: in the order in which they were handed out.
///
/// Plain threads and a queue made beforehand, as a thread pool would allocate for every job, and could not be left
/// behind when a job never ends.
pub(super) struct Workers {
    /// `None` only while they are dropped.
    jobs: Option<Sender<usize>>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when all threads have ended.
    ended: Receiver<()>,
    patience: Duration,
}

impl Workers {
    /// Starts `count` threads, for at most `queue` jobs at a time.
    pub(super) fn start<T: Element>(
        workshop: &Arc<Workshop<T>>,
        count: usize,
        queue: usize,
        patience: Duration,
    ) -> Result<Self> {
        let (jobs, waiting) = bounded::<usize>(queue);
        let (running, ended) = bounded::<()>(1);
        let start = |number| {
            let (workshop, waiting, running) =
                (Arc::clone(workshop), waiting.clone(), running.clone());
            thread::Builder::new()
                .name(format!("feedline-worker-{number}"))
                .spawn(move || {
                    let mut memory = workshop.recipe.worker_memory();
                    while let Ok(lane) = waiting.recv() {
                        workshop.lanes[lane].fill(
                            &workshop.recipe,
                            &mut memory,
                            &workshop.cancelled,
                        );
                    }
                    // Users' code that the workshop holds is gone before the thread counts as ended.
                    drop((workshop, running));
                })
                .map_err(io_error("start its threads", "loader".as_ref()))
        };
        let threads = (0..count).map(start).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            jobs: Some(jobs),
            threads,
            ended,
            patience,
        })
    }

    /// How long a drop waits for threads that are in the middle of something.
    pub(super) fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Has one part of the slot in `lane` filled.
    pub(super) fn fill(&self, lane: usize) {
        if let Some(jobs) = &self.jobs {
            // There is room, and the threads live as long as `self`.
            let _ = jobs.send(lane);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The threads end when the queue is empty and nobody can fill it.
        drop(self.jobs.take());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(self.patience) {
            // A user's code never returns. A thread can't be killed; rather leave it behind than hang with it.
            return;
        }
        for thread in self.threads.drain(..) {
            // Jobs catch their panics; there is nothing to report.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.threads.len())
            .finish()
    }
}
