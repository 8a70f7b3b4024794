//! The threads of a loader.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::lane::Lane;
use super::meter::{Meter, WorkerClock, WorkerTimes};
use super::waits::Patience;
use crate::batch::{Activity, Recipe};
use crate::error::{Result, io_error};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use crate::sync::thread::{self, JoinHandle};
use crate::transform::Element;

/// What the threads share.
pub(super) struct Workshop<T: Element> {
    pub(super) recipe: Recipe<T>,
    pub(super) lanes: Vec<Lane<T>>,
    /// Tells the workers that nobody waits any more for what they have.
    pub(super) cancelled: AtomicBool,
    pub(super) meter: Meter,
    /// Of each thread, by its number.
    pub(super) activities: Vec<Arc<Activity>>,
    pub(super) crew: Crew,
    /// A worker that has had nothing to do for so long says so.
    pub(super) report_after: Duration,
}

/// How many workers there are, and how many there should be.
pub(super) struct Crew {
    running: AtomicUsize,
    /// Never 0.
    wanted: AtomicUsize,
    /// Whether a thread has this number.
    taken: Vec<AtomicBool>,
}

impl Crew {
    /// Of at most so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            running: AtomicUsize::new(0),
            wanted: AtomicUsize::new(1),
            taken: (0..most).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// How many there are.
    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Whether the worker that asks is one too many, and is to end. As it is only ever one of more than are wanted, somebody
    /// stays.
    fn leave(&self) -> bool {
        let mut running = self.running.load(Ordering::Relaxed);
        while running > self.wanted.load(Ordering::Relaxed) {
            let left = running - 1;
            match self
                .running
                .compare_exchange(running, left, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(now) => running = now,
            }
        }
        false
    }
}

/// The threads. Each takes the number of a lane, fills one part of the slot there, and takes the next: in the order in
/// which they were handed out.
///
/// Plain threads and a queue made beforehand, as a thread pool would allocate for every job, and could not be left
/// behind when a job never ends.
pub(super) struct Workers<T: Element> {
    workshop: Arc<Workshop<T>>,
    /// `None` only while they are dropped.
    jobs: Option<Sender<usize>>,
    waiting: Receiver<usize>,
    /// By their numbers. A thread that has ended leaves its place to another one.
    threads: Vec<Option<JoinHandle<()>>>,
    /// Each thread has one; `None` only while they are dropped.
    running: Option<Sender<()>>,
    /// Disconnected when all threads have ended.
    ended: Receiver<()>,
    patience: Duration,
}

impl<T: Element> Workers<T> {
    /// Starts `count` threads, for at most `queue` jobs at a time.
    pub(super) fn start(
        workshop: &Arc<Workshop<T>>,
        count: usize,
        queue: usize,
        patience: Duration,
    ) -> Result<Self> {
        let (jobs, waiting) = bounded::<usize>(queue);
        let (running, ended) = bounded::<()>(1);
        let places = workshop.activities.len();
        let mut workers = Self {
            workshop: Arc::clone(workshop),
            jobs: Some(jobs),
            waiting,
            threads: (0..places).map(|_| None).collect(),
            running: Some(running),
            ended,
            patience,
        };
        workers.become_many(count)?;
        Ok(workers)
    }

    /// Has `count` threads from now on: starts those that lack; those that are too many end after their next job.
    ///
    /// # Errors
    ///
    /// If the system starts no more threads. What there is goes on.
    pub(super) fn become_many(&mut self, count: usize) -> Result<()> {
        self.workshop
            .crew
            .wanted
            .store(count.max(1), Ordering::Relaxed);
        if self.workshop.crew.running() >= count {
            return Ok(());
        }
        let workshop = Arc::clone(&self.workshop);
        for (number, taken) in workshop.crew.taken.iter().enumerate() {
            if workshop.crew.running() >= count {
                break;
            }
            // One that is about to end has its number, and its memory, for a little longer: somebody else's turn comes then.
            if !taken.swap(true, Ordering::Acquire) {
                let started = self.start_one(number);
                if started.is_err() {
                    taken.store(false, Ordering::Relaxed);
                }
                self.threads[number] = Some(started?);
            }
        }
        Ok(())
    }

    fn start_one(&self, number: usize) -> Result<JoinHandle<()>> {
        let workshop = Arc::clone(&self.workshop);
        let (waiting, running) = (self.waiting.clone(), self.running.clone());
        workshop.crew.running.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new()
            .name(format!("feedline-worker-{number}"))
            .spawn(move || {
                workshop.work(number, &waiting);
                workshop.crew.taken[number].store(false, Ordering::Release);
                // Users' code that the workshop holds is gone before the thread counts as ended.
                drop((workshop, running));
            });
        started.map_err(|error| {
            self.workshop.crew.running.fetch_sub(1, Ordering::Relaxed);
            io_error("start its threads", "loader".as_ref())(error)
        })
    }

    /// How long a drop waits for threads that are in the middle of something.
    pub(super) fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Has one part of the slot in `lane` filled.
    pub(super) fn fill(&self, lane: usize) {
        if let Some(jobs) = &self.jobs {
            // There is room, and `self` has a receiver.
            let _ = jobs.send(lane);
        }
    }
}

impl<T: Element> Workshop<T> {
    /// The life of one worker.
    fn work(&self, number: usize, waiting: &Receiver<usize>) {
        let activity = Arc::clone(&self.activities[number]);
        let mut memory = self.recipe.worker_memory(Arc::clone(&activity));
        let mut clock = WorkerClock::start();
        while let Some(lane) = self.next_job(waiting) {
            let idle = clock.lap();
            activity.begin(lane);
            self.lanes[lane].fill(&self.recipe, &mut memory, &self.cancelled);
            activity.rest();
            let busy = clock.lap();
            self.meter.add(WorkerTimes {
                stages: memory.timer.split(busy),
                idle,
                cpu: clock.cpu(busy),
            });
            if self.crew.leave() {
                break;
            }
        }
    }

    /// Waits for something to fill. `None` when there will be nothing any more.
    fn next_job(&self, waiting: &Receiver<usize>) -> Option<usize> {
        match waiting.recv_timeout(self.report_after) {
            Ok(lane) => Some(lane),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let waited = self.report_after;
                info!(
                    "a worker has had nothing to do for {waited:?}: all batches ahead are ready, in the consumer's hands or with \
                     other workers, and it waits for the consumer to take one or to give one back"
                );
                waiting.recv().ok()
            }
        }
    }

    /// What the workers are at with the slot of `lane`, in words; or else with any.
    pub(super) fn describe_work(&self, lane: Option<usize>) -> String {
        let at = |lane: Option<usize>| {
            let all = self.activities.iter().enumerate();
            let fit = all.filter(|(_, own)| {
                own.slot()
                    .is_some_and(|slot| lane.is_none_or(|lane| slot == lane))
            });
            let words: Vec<_> = fit
                .map(|(number, own)| format!("worker {number} {own}"))
                .collect();
            words.join(", ")
        };
        let (here, anywhere) = (at(lane), at(None));
        match (here.is_empty(), anywhere.is_empty()) {
            (false, _) => here,
            (true, false) => format!("no worker is at it yet: {anywhere}"),
            (true, true) => "no worker is at work: the system gives them no time".into(),
        }
    }
}

impl<T: Element> Drop for Workers<T> {
    fn drop(&mut self) {
        // The threads end when the queue is empty and nobody can fill it.
        drop(self.jobs.take());
        drop(self.running.take());
        let patience = Patience {
            at_most: self.patience,
            report_after: self.workshop.report_after,
        };
        // What the threads had is told by the channel's end, and nothing is ever sent.
        let end = |time| match self.ended.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => None,
            _ => Some(()),
        };
        let what = || {
            format!(
                "a loader that is dropped waits for its workers: {}",
                self.workshop.describe_work(None)
            )
        };
        if patience.wait(end, what).is_none() {
            // A user's code never returns. A thread can't be killed; rather leave it behind than hang with it.
            return;
        }
        for thread in self.threads.drain(..).flatten() {
            // Jobs catch their panics; there is nothing to report.
            let _ = thread.join();
        }
    }
}

impl<T: Element> fmt::Debug for Workers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("threads", &self.threads.len())
            .finish_non_exhaustive()
    }
}
