//! The MPI library of this process, from its start to its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::library;
use super::link::{Link, Pending};
use super::member::MpiCollective;
use super::waiting::{For, Wait};
use crate::collective::{Phase, Place, Roll};
use crate::error::{Error, Result, invalid};

/// MPI can be started only once in a process, be it ended or not.
static STARTED: AtomicBool = AtomicBool::new(false);

/// The MPI library of this process, which connects it with the others that were started together. It ends when this and all
/// of its [collectives](Self::collective) are dropped.
///
/// ```no_run
/// use feedline_trainer::collective::{Collective, Mpi, Roll};
/// use std::time::Duration;
///
/// // Started by: mpirun -n 2 this-program
/// let process = std::env::var("OMPI_COMM_WORLD_RANK").unwrap().parse().unwrap();
/// let mpi = Mpi::start(Roll::new(2), process, 2, Duration::from_secs(60))?;
/// let collective = mpi.collective()?;
/// let mut values = [process as f32, 1.0];
/// collective.all_reduce_sum(&mut values)?;
/// assert_eq!(values, [1.0, 2.0]);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug)]
pub struct Mpi {
    /// Of which all others are duplicates.
    root: MpiCollective,
}

impl Mpi {
    /// Starts MPI. `process` of `processes` is what the launcher says that this one is, each with one replica; `roll` is that
    /// of these replicas, where it hears of others' failures. Nobody waits for another longer than `deadline`.
    ///
    /// # Errors
    ///
    /// [`Error::Mpi`] if MPI refuses, lacks support for threads, says that this is another process, or was started before;
    /// [`Error::Aborted`] if another process failed, [`Error::Deadline`] if it takes too long; [`Error::InvalidArgument`] if
    /// the roll is one of more or fewer replicas. A program that no launcher of MPI's has started may be ended by MPI
    /// itself, which says why.
    pub fn start(
        roll: Roll,
        process: usize,
        processes: usize,
        deadline: Duration,
    ) -> Result<Arc<Self>> {
        if roll.world_size() != processes {
            let found = roll.world_size();
            return Err(invalid(
                "replicas",
                found,
                format!("one in each of {processes} processes"),
            ));
        }
        if STARTED.swap(true, Ordering::SeqCst) {
            let reason = "a process can start it only once: keep what the first start has returned";
            return Err(cant_start(reason.into()));
        }
        let line = roll.beside();
        let wait = Wait {
            roll: &line,
            rank: process,
            place: Place {
                step: 0,
                phase: Phase::Other("start of MPI"),
            },
            start: Instant::now(),
            deadline,
        };
        line.enter(process, wait.place.step, wait.place.phase);
        let thread = MpiThread::start().map_err(|error| wait.fail(error))?;
        wait.poll(For::Others, || thread.answer())?;
        let engine = Arc::new(Engine {
            thread,
            farewells: Mutex::default(),
            roll,
            rank: process,
        });
        let world = Link::world().and_then(|world| same_place(world, process, processes));
        let world = world.map_err(|error| wait.fail(error))?;
        let made = wait.finish(world.duplicate(), For::Values)?;
        let link = made.link().map_err(|error| wait.fail(error))?;
        let root = MpiCollective::new(engine, link, line, deadline);
        Ok(Arc::new(Self { root }))
    }

    /// A connection of this process's replica with all others, for one training run. All processes must call this.
    ///
    /// # Errors
    ///
    /// Those of [`Collective::duplicate`](crate::collective::Collective::duplicate).
    pub fn collective(&self) -> Result<MpiCollective> {
        self.root.another(self.root.roll.same())
    }
}

fn cant_start(reason: String) -> Error {
    Error::Mpi {
        action: "start",
        reason,
    }
}

fn same_place(world: Link, process: usize, processes: usize) -> Result<Link> {
    let (rank, size) = (world.rank(), world.world_size());
    if (rank, size) == (process, processes) {
        return Ok(world);
    }
    let advice = match size {
        1 => "MPI was not told of the others: start the program with mpirun or srun --mpi=pmix",
        _ => "set the launcher's variables as mpirun numbers its processes, or none",
    };
    Err(cant_start(format!(
        "this is process {process} of {processes} to the launcher, but process {rank} of {size} to MPI; {advice}"
    )))
}

/// What a process has once, and all of its collectives share.
#[derive(Debug)]
pub(super) struct Engine {
    thread: MpiThread,
    /// Links of this process that are dropped, and the others' of the same.
    farewells: Mutex<Vec<(Link, Pending<Buffers<u64>>)>>,
    roll: Roll,
    rank: usize,
}

impl Engine {
    /// Frees `link` when all ranks have said that they need it no more.
    pub(super) fn farewell(&self, link: Link, pending: Pending<Buffers<u64>>) {
        self.farewells().push((link, pending));
        // It gets on with every call of MPI, so that those of before may be done.
        let _ = self.free();
    }

    /// Frees what all ranks need no more, and whether that is everything.
    fn free(&self) -> Result<Option<()>> {
        let mut farewells = self.farewells();
        let mut index = 0;
        while let Some((_, pending)) = farewells.get_mut(index) {
            match pending.poll()? {
                Some(_) => farewells.remove(index).0.free(),
                None => index += 1,
            }
        }
        Ok(farewells.is_empty().then_some(()))
    }

    fn farewells(&self) -> MutexGuard<'_, Vec<(Link, Pending<Buffers<u64>>)>> {
        let farewells = self.farewells.lock();
        farewells.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Engine {
    /// Ends MPI, if nobody has failed, which waits for all others: as long as they live, as a launcher takes a process for
    /// failed that ends without.
    fn drop(&mut self) {
        let place = Place {
            step: 0,
            phase: Phase::Other("end of MPI"),
        };
        let wait = Wait {
            roll: &self.roll,
            rank: self.rank,
            place,
            start: Instant::now(),
            deadline: Duration::MAX,
        };
        if self.roll.check().is_err() {
            return;
        }
        self.roll.enter(self.rank, place.step, place.phase);
        // Who still waits for this process somewhere would do so in vain.
        let unless_missed = |answer| match self.roll.is_missed(self.rank) {
            true => Err(Error::Aborted {
                rank: self.rank,
                reason: "it has ended while others still wait for it".into(),
            }),
            false => answer,
        };
        // What goes wrong is on the roll; there is nobody else to tell.
        if wait
            .poll(For::Others, || unless_missed(self.free()))
            .is_ok()
        {
            self.thread.end();
            let _ = wait.poll(For::Others, || unless_missed(self.thread.answer()));
        }
    }
}

/// A thread that starts and ends MPI, either of which may take for ever: then it is left behind.
#[derive(Debug)]
struct MpiThread {
    end: Sender<()>,
    answers: Mutex<Receiver<Result<()>>>,
}

impl MpiThread {
    fn start() -> Result<Self> {
        let (end, ended) = channel();
        let (answer, answers) = channel();
        let work = move || {
            let started = library::start();
            let is_started = started.is_ok();
            // Nobody listens any more if it took too long. MPI ends only if it is told to: not after a failure.
            if answer.send(started).is_ok() && is_started && ended.recv().is_ok() {
                let _ = answer.send(library::end());
            }
        };
        let thread = thread::Builder::new().name("mpi".into()).spawn(work);
        thread.map_err(|error| invalid("threads", error, "one more for MPI"))?;
        Ok(Self {
            end,
            answers: Mutex::new(answers),
        })
    }

    fn end(&self) {
        // It can't have ended before.
        let _ = self.end.send(());
    }

    /// What it has answered, if it has.
    fn answer(&self) -> Result<Option<()>> {
        let answers = self.answers.lock();
        match answers.unwrap_or_else(PoisonError::into_inner).try_recv() {
            Ok(answer) => answer.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(cant_start("its thread has stopped".into())),
        }
    }
}
