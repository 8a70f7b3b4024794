//! The threads of a loader.

use std::fmt;
use std::sync::Mutex;
use std::thread::JoinHandle;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Result, io_error};

/// A rayon pool whose threads have ended once it is dropped, which rayon alone does not promise.
pub(super) struct Workers {
    /// `None` only while it is dropped.
    pool: Option<ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn new(count: usize) -> Result<Self> {
        let threads = Mutex::new(Vec::with_capacity(count));
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|number| format!("feedline-worker-{number}"))
            .spawn_handler(|worker| {
                let thread =
                    std::thread::Builder::new().name(worker.name().unwrap_or_default().into());
                let handle = thread.spawn(|| worker.run())?;
                threads
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(handle);
                Ok(())
            })
            .build()
            .map_err(std::io::Error::other)
            .map_err(io_error("start its threads", "loader".as_ref()))?;
        let threads = threads
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(Self {
            pool: Some(pool),
            threads,
        })
    }

    /// Runs `job` on one of the threads; jobs start in the order in which they come.
    pub(super) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        if let Some(pool) = &self.pool {
            pool.spawn(job);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // The threads end when the pool is gone and every job is done.
        drop(self.pool.take());
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
