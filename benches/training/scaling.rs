//! Replicas: what two of one thread do, beside one of one thread, and beside one of two. Each row is a whole training
//! run, with its loader, its collective and its optimizer.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use feedline_pipeline::{Source, Transform};
use feedline_trainer::{Input, Replicas, Trainer};

use crate::measure::Length;
use crate::network::{self, Network, Workload};

/// Global batches of the first two epochs, which say how long the measured one shall be.
const TRIAL: usize = 6;

/// Softmax regression is left out: its step is shorter than the replicas' talk about it.
pub(crate) const NETWORKS: [Network; 2] = [Network::MnistCnn, Network::CifarCnn];

/// How a run shares out its work. The batch is that of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrangement {
    pub(crate) replicas: usize,
    /// Of each replica.
    pub(crate) threads: usize,
}

impl Arrangement {
    /// What to compare on these many threads. The first is what the others are compared with.
    pub(crate) fn all(threads: usize) -> Vec<Self> {
        let of = |replicas, threads| Self { replicas, threads };
        let mut all = vec![of(1, 1), of(threads, 1), of(1, threads)];
        all.dedup();
        all
    }

    /// Images per second of all replicas together.
    pub(crate) fn images_per_second(
        self,
        workload: Workload,
        length: Length,
    ) -> Result<f64, Box<dyn Error>> {
        let rate = self.train(workload, TRIAL)?;
        let global = (self.replicas * workload.batch) as f64;
        let batches = match length.steps {
            Some(steps) => steps,
            None => (rate * length.seconds / global) as usize,
        };
        self.train(workload, batches.max(TRIAL))
    }

    /// Trains two epochs of these many global batches, and returns images per second of the second: in the first,
    /// buffers are made.
    fn train(self, workload: Workload, batches: usize) -> Result<f64, Box<dyn Error>> {
        let global = self.replicas * workload.batch;
        let source = network::source(workload.network, batches * global)?;
        let source: Arc<dyn Source> = Arc::new(source);
        let fitted = Trainer::new(move |device| workload.network.build(device))
            .replicas(Replicas::cpu(self.replicas)?.threads(self.threads)?)
            .batch_size(global)
            .epochs(2)
            .progress(false)
            .fit(Input::new(source, Transform::new().scale()), None)?;
        let last = fitted.history.epochs.last().ok_or("no epoch was trained")?;
        Ok(last.samples_per_second())
    }
}

impl fmt::Display for Arrangement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = |count| if count == 1 { "" } else { "s" };
        let Self { replicas, threads } = *self;
        write!(f, "{replicas} replica{} x ", plural(replicas))?;
        write!(f, "{threads} thread{}", plural(threads))
    }
}
