//! Sums of gradients while the backward pass still runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::{Buckets, Collective, Phase};
use crate::error::{Error, Result, invalid};
use crate::parallel::panicked;

/// Sums a flat buffer over all replicas, bucket by bucket: each as soon as it is final, by a thread of its own, or all
/// when the last is. Both give the same bits, as the calls are the same.
///
/// The thread talks over a [duplicate](Collective::duplicate) of the connection, so that its calls do not mix with those
/// that the replica makes meanwhile, such as synchronized batch normalization's. It gets copies, in buffers that are made
/// once: a step allocates nothing.
///
/// ```
/// use feedline_trainer::Replicas;
/// use feedline_trainer::collective::{BucketSizes, Buckets, Reducer};
///
/// let sums = Replicas::cpu(2)?.run(|replica| {
///     let sizes = BucketSizes { first: 0, others: 0 };
///     let buckets = Buckets::with_sizes([3, 2], 0, sizes);
///     let mut reducer = Reducer::new(replica.shared_collective(), buckets, true)?;
///     let mut gradients = [0.0; 5];
///     for step in 0..10 {
///         reducer.begin(step)?;
///         gradients[3..].fill(1.0); // the last layer's
///         reducer.ready(3, &gradients);
///         gradients[..3].fill(2.0); // meanwhile, the first layer's
///         reducer.join(&mut gradients)?;
///     }
///     Ok(gradients)
/// })?;
/// assert_eq!(sums, [[4.0, 4.0, 4.0, 2.0, 2.0]; 2]);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
#[derive(Debug)]
pub struct Reducer {
    collective: Arc<dyn Collective>,
    buckets: Buckets,
    step: u64,
    helper: Option<Helper>,
}

impl Reducer {
    /// Sums buffers that `buckets` was made for. With `overlap` there is a thread that does it; all replicas must say the
    /// same. A replica that is alone does nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Collective::duplicate`]; [`Error::InvalidArgument`] if the system can't start a thread.
    pub fn new(collective: Arc<dyn Collective>, buckets: Buckets, overlap: bool) -> Result<Self> {
        let helper = match overlap && collective.world_size() > 1 {
            true => Some(Helper::new(collective.duplicate()?, &buckets)?),
            false => None,
        };
        Ok(Self {
            collective,
            buckets,
            step: 0,
            helper,
        })
    }

    /// Begins step `step`, counted over all epochs.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the last step was not [joined](Self::join).
    pub fn begin(&mut self, step: u64) -> Result<()> {
        if let Some(Helper { in_flight, .. }) = self.helper
            && in_flight > 0
        {
            let found = format!("begun while {in_flight} buckets of the last are not joined");
            return Err(invalid("step", found, "begun after join()"));
        }
        self.buckets.restart();
        self.step = step;
        Ok(())
    }

    /// Says that the values at `from` and behind it are final. What goes wrong is [`join`](Self::join)'s to report.
    ///
    /// # Panics
    ///
    /// If there are fewer `values` than the buckets hold.
    pub fn ready(&mut self, from: usize, values: &[f32]) {
        if let Some(helper) = &mut self.helper {
            for (bucket, range) in self.buckets.ready(from) {
                helper.begin(self.step, bucket, &values[range]);
            }
        }
    }

    /// Replaces all `values`, which are final now, by their sums over all replicas.
    ///
    /// # Errors
    ///
    /// Those of [`Collective::all_reduce_sum`], whichever thread they happened on; [`Error::ReplicaPanicked`] if that
    /// panicked; [`Error::InvalidArgument`] if the buckets were made for another number of values.
    pub fn join(&mut self, values: &mut [f32]) -> Result<()> {
        if values.len() != self.buckets.length() {
            let expected = self.buckets.length();
            return Err(invalid("number of values", values.len(), expected));
        }
        self.ready(0, values);
        match &mut self.helper {
            Some(helper) => helper.finish(&self.buckets, values),
            None if self.collective.world_size() == 1 => Ok(()),
            None => {
                for (bucket, range) in self.buckets.ranges().iter().enumerate() {
                    self.collective.note(self.step, Phase::Bucket(bucket));
                    self.collective.all_reduce_sum(&mut values[range.clone()])?;
                }
                Ok(())
            }
        }
    }
}

/// A bucket on its way.
struct Job {
    step: u64,
    bucket: usize,
    values: Vec<f32>,
}

/// The thread that sums, seen from the replica.
#[derive(Debug)]
struct Helper {
    rank: usize,
    /// `None` only while this is dropped.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Result<Job>>,
    thread: Option<JoinHandle<()>>,
    /// One for each bucket, empty while it is on its way.
    buffers: Vec<Vec<f32>>,
    in_flight: usize,
}

impl Helper {
    fn new(collective: Box<dyn Collective>, buckets: &Buckets) -> Result<Self> {
        let ranges = buckets.ranges();
        // There is room for all, so that nobody ever waits for room.
        let (jobs, todo) = sync_channel(ranges.len());
        let (finished, done) = sync_channel(ranges.len());
        let rank = collective.rank();
        let thread = thread::Builder::new()
            .name(format!("replica-{rank}-sums"))
            .spawn(move || work(&*collective, &todo, &finished))
            .map_err(|error| invalid("threads", error, "one more for each replica"))?;
        Ok(Self {
            rank,
            jobs: Some(jobs),
            done,
            thread: Some(thread),
            buffers: ranges.iter().map(|own| vec![0.0; own.len()]).collect(),
            in_flight: 0,
        })
    }

    fn begin(&mut self, step: u64, bucket: usize, values: &[f32]) {
        let mut buffer = std::mem::take(&mut self.buffers[bucket]);
        buffer.clear();
        buffer.extend_from_slice(values);
        let job = Job {
            step,
            bucket,
            values: buffer,
        };
        self.in_flight += 1;
        if let Some(jobs) = &self.jobs {
            // It has said why, if it is gone.
            let _ = jobs.send(job);
        }
    }

    /// Waits for all buckets.
    fn finish(&mut self, buckets: &Buckets, values: &mut [f32]) -> Result<()> {
        while self.in_flight > 0 {
            let Ok(result) = self.done.recv() else {
                return Err(Error::Aborted {
                    rank: self.rank,
                    reason: "the thread that sums its gradients has stopped before".into(),
                });
            };
            let job = result?;
            self.in_flight -= 1;
            values[buckets.ranges()[job.bucket].clone()].copy_from_slice(&job.values);
            self.buffers[job.bucket] = job.values;
        }
        Ok(())
    }
}

impl Drop for Helper {
    /// Ends the thread. One that is still busy is left behind: it may wait for replicas that this one is about to tell that
    /// it has failed, and it ends with that.
    fn drop(&mut self) {
        self.jobs = None;
        if let (0, Some(thread)) = (self.in_flight, self.thread.take()) {
            // Its panics were caught and reported.
            let _ = thread.join();
        }
    }
}

/// Sums bucket after bucket, until nobody brings one any more, or one fails.
fn work(collective: &dyn Collective, todo: &Receiver<Job>, finished: &SyncSender<Result<Job>>) {
    while let Ok(mut job) = todo.recv() {
        let sum = || {
            collective.note(job.step, Phase::Bucket(job.bucket));
            collective.all_reduce_sum(&mut job.values)
        };
        let result = catch_unwind(AssertUnwindSafe(sum)).unwrap_or_else(|panic| {
            let error = panicked(collective.rank(), &*panic);
            collective.abort(&error.to_string());
            Err(error)
        });
        let failed = result.is_err();
        if finished.send(result.map(|()| job)).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
