//! What one of the processes measures. The first one prints it.

use std::error::Error;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Subcommand;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Random, Shape, Transform};
use feedline_trainer::fit::{Callback, EpochRecord, TrainedStep};
use feedline_trainer::{Input, Replicas, Result, Trainer, models};

use crate::common::median;

/// Bytes of the all-reduces that are measured.
const BYTES: [usize; 8] = [
    8,
    1 << 10,
    16 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
];

/// Steps that are made before the clock runs.
const WARM_UP: usize = 5;

/// Rows of a batch: of each replica, or of all together.
const ROWS: usize = 64;

#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// All-reduces of several sizes
    #[command(hide = true)]
    Sums,
    /// Training steps
    #[command(hide = true)]
    Steps {
        #[arg(action = clap::ArgAction::Set)]
        threads: bool,
        processes: usize,
        #[arg(action = clap::ArgAction::Set)]
        per_replica: bool,
        #[arg(action = clap::ArgAction::Set)]
        overlap: bool,
        steps: usize,
    },
}

/// A way to train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Steps {
    /// Whether replicas are threads of one process, and not processes.
    pub(crate) threads: bool,
    pub(crate) replicas: usize,
    /// Whether each has [`ROWS`] rows, and not all together.
    pub(crate) per_replica: bool,
    pub(crate) overlap: bool,
}

impl Steps {
    pub(crate) fn all(replicas: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for threads in [false, true] {
            for per_replica in [true, false] {
                for overlap in [false, true] {
                    // Alone nobody waits, and there is nothing to share out.
                    if replicas > 1 || !(overlap || !per_replica || threads) {
                        all.push(Self {
                            threads,
                            replicas,
                            per_replica,
                            overlap,
                        });
                    }
                }
            }
        }
        all
    }

    pub(crate) fn words(self) -> Vec<String> {
        let Self {
            threads,
            replicas,
            per_replica,
            overlap,
        } = self;
        let words = [&threads as &dyn ToString, &replicas, &per_replica, &overlap];
        let words = words.iter().map(|own| own.to_string());
        ["steps".to_owned()].into_iter().chain(words).collect()
    }

    /// Rows of a global batch.
    pub(crate) fn batch_size(self) -> usize {
        match self.per_replica {
            true => ROWS * self.replicas,
            false => ROWS,
        }
    }
}

impl Child {
    pub(crate) fn measure(&self) -> std::result::Result<(), Box<dyn Error>> {
        match *self {
            Self::Sums => sums(),
            Self::Steps {
                threads,
                processes,
                per_replica,
                overlap,
                steps,
            } => {
                let how = Steps {
                    threads,
                    replicas: processes,
                    per_replica,
                    overlap,
                };
                train(how, steps)
            }
        }
    }
}

fn sums() -> std::result::Result<(), Box<dyn Error>> {
    let replicas = Replicas::cpu(1)?.join_launched()?;
    let measured = replicas.run(|replica| {
        let collective = replica.collective();
        let mut lines = Vec::new();
        for bytes in BYTES {
            let mut values = vec![1.0f32; bytes / size_of::<f32>()];
            // Long enough to be measured, short enough to wait for.
            let times = ((256 << 20) / bytes).clamp(8, 500);
            let mut seconds = Vec::new();
            for time in 0..times + WARM_UP {
                values.fill(1.0);
                collective.barrier()?;
                let start = Instant::now();
                collective.all_reduce_sum(&mut values)?;
                if time >= WARM_UP {
                    seconds.push(start.elapsed().as_secs_f64());
                }
            }
            lines.push((bytes, median(seconds)));
        }
        Ok(lines)
    })?;
    if replicas.has_rank_0() {
        for (bytes, seconds) in measured.into_iter().flatten() {
            println!("{bytes} {seconds}");
        }
    }
    Ok(())
}

/// Prints the median of the steps' seconds.
fn train(how: Steps, steps: usize) -> std::result::Result<(), Box<dyn Error>> {
    let replicas = match how.threads {
        true => Replicas::cpu(how.replicas)?.threads(1)?,
        false => Replicas::cpu(1)?.threads(1)?.join_launched()?,
    };
    let first = replicas.has_rank_0();
    let clock = Clock::default();
    let samples = how.batch_size() * (steps + WARM_UP);
    Trainer::new(|device| models::cifar_cnn(0.5, 1, device))
        .replicas(replicas)
        .batch_size(how.batch_size())
        .overlap(how.overlap)
        .progress(false)
        .callback(clock.clone())
        .fit(Input::new(noise(samples)?, Transform::new().scale()), None)?;
    if first {
        let seconds = clock.seconds.lock().map_err(|error| error.to_string())?;
        println!("{}", median(seconds.clone()));
    }
    Ok(())
}

fn noise(samples: usize) -> Result<Arc<InMemory>> {
    let mut random = Random::new([1]);
    let shape = Shape::new(3, 24, 24);
    let pixels = (0..samples * shape.elements()).map(|_| random.next_u64() as u8);
    let labels = (0..samples as u32).map(|index| index % 10);
    let source = InMemory::new(shape, 10, pixels.collect(), labels.collect())?;
    Ok(Arc::new(source))
}

/// How long each step took.
#[derive(Debug, Clone, Default)]
struct Clock {
    last: Duration,
    seconds: Arc<Mutex<Vec<f64>>>,
}

impl Callback for Clock {
    fn step(&mut self, step: &TrainedStep) -> Result<()> {
        let taken = step.duration.saturating_sub(self.last);
        self.last = step.duration;
        if let (true, Ok(mut seconds)) = (step.step >= WARM_UP, self.seconds.lock()) {
            seconds.push(taken.as_secs_f64());
        }
        Ok(())
    }

    fn epoch(&mut self, _: &EpochRecord) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}
