//! `feedline bench`

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{ScopedJoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use feedline::data::{Choice, DataName};
use feedline::{Error, Result, Watching};
use feedline_pipeline::loader::Stats;
use feedline_pipeline::order::Order;
use feedline_pipeline::{Element, Loader, Source, Transform};
use serde_json::{Value, json};

use super::{Output, count, loading, usual_folder};

const EXAMPLES: &str = "\
Examples:
  feedline bench
  feedline bench --data cifar10
  feedline bench --data mnist --batch-size 512 --workers 1,4 --seconds 60";

/// Measure how fast the loader is on this machine
///
/// In pictures per second, of the training set in full shuffle: batches of bytes; of normalized numbers; and of random crops,
/// half of them mirrored, normalized. Beside them a plain loop on as many threads, which copies the same bytes in a random
/// order, too, and does nothing else. Medians of rounds in which all take turns. Nothing else should run meanwhile.
/// Below them, for the most workers, which stage was the slowest and who waited, in the last round.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Bench {
    /// The data set: cifar10, cifar100, mnist or fashion-mnist, in the folder `data` or the one that FEEDLINE_DATA names;
    /// NAME=DIR; DIR with CIFAR-10 in it; or generated=N
    #[arg(long, value_name = "NAME|DIR", default_value = "generated=10000")]
    data: PathBuf,
    /// Rows of a batch
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch_size: usize,
    /// Numbers of worker threads [default: 1, 2, 4 and so on up to one for each processor core]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = value_parser!(u16).range(1..=1024))]
    workers: Vec<u16>,
    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, allow_negative_numbers = true, value_parser = value_parser!(u16).range(1..=1000))]
    rounds: u16,
    /// About how long all takes
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 20.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    #[command(flatten)]
    watching: Watching,
}

/// What is measured, by name.
#[derive(Clone, Copy)]
enum Case {
    PlainLoop,
    Bytes,
    Normalized,
    Augmented,
}

const CASES: [(Case, &str); 4] = [
    (Case::PlainLoop, "plain loop: bytes"),
    (Case::Bytes, "loader: bytes"),
    (Case::Normalized, "loader: normalize"),
    (Case::Augmented, "loader: crop, flip, normalize"),
];

impl Bench {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let workers = self.worker_counts();
        if !(self.seconds > 0.0 && self.seconds <= 86_400.0) {
            return Err(Error::Usage(
                "--seconds must be above 0 and at most 86400".into(),
            ));
        }
        let choice = Choice::from_path(&self.data)?;
        let dataset = choice.open(DataName::Cifar10, &usual_folder(), false)?;
        let source = &dataset.train;
        if self.batch_size == 0 || self.batch_size > source.len() {
            return Err(Error::Usage(format!(
                "--batch-size must be 1 to {}, the number of pictures",
                source.len()
            )));
        }
        let _watch = self.watching.begin(false)?;
        let turns = usize::from(self.rounds) * CASES.len() * workers.len();
        let time = Duration::from_secs_f64(self.seconds / turns as f64);

        // By case, by number of workers, by round; and of the last round what loaders say of themselves.
        let mut rates = vec![vec![Vec::new(); workers.len()]; CASES.len()];
        let mut stats = vec![vec![None; workers.len()]; CASES.len()];
        for _ in 0..self.rounds {
            for ((rates, stats), (case, _)) in rates.iter_mut().zip(&mut stats).zip(CASES) {
                for ((rates, stats), &workers) in rates.iter_mut().zip(stats).zip(&workers) {
                    let (rate, own) = self.measure(case, source, workers, time)?;
                    rates.push(rate);
                    *stats = own;
                }
            }
        }
        let medians: Vec<Vec<f64>> = rates
            .into_iter()
            .map(|own| own.into_iter().map(median).collect())
            .collect();
        let about = format!(
            "{}, {} of {}, batches of {}; pictures per second, medians of {}",
            dataset.name,
            count(source.len(), "picture"),
            source.shape(),
            self.batch_size,
            count(self.rounds, "round")
        );
        // The plain loop has no loader.
        let loading_by_case: serde_json::Map<String, Value> = CASES
            .iter()
            .zip(&stats)
            .filter_map(|((_, name), own)| {
                let own: Option<Value> = own.iter().map(|own| own.as_ref().map(loading)).collect();
                Some(((*name).to_owned(), own?))
            })
            .collect();
        let value = json!({
            "data": dataset.name,
            "pictures": source.len(),
            "batch_size": self.batch_size,
            "rounds": self.rounds,
            "workers": workers,
            "pictures_per_second": CASES
                .iter()
                .zip(&medians)
                .map(|((_, name), rates)| ((*name).to_owned(), json!(rates)))
                .collect::<serde_json::Map<String, Value>>(),
            "loading": loading_by_case,
        });
        let most = stats.iter().map(|own| own.last().copied().flatten());
        output.result(
            format_args!(
                "{about}\n\n{}\n{}",
                table(&workers, &medians),
                slowest(most)
            ),
            &value,
        )
    }

    fn worker_counts(&self) -> Vec<usize> {
        if !self.workers.is_empty() {
            return self.workers.iter().map(|&own| own.into()).collect();
        }
        let cores = available_parallelism().map_or(1, usize::from);
        let powers = std::iter::successors(Some(1), |own| Some(2 * own));
        let mut counts: Vec<usize> = powers.take_while(|&own| own < cores).collect();
        counts.push(cores);
        counts
    }

    fn measure(
        &self,
        case: Case,
        source: &Arc<dyn Source>,
        workers: usize,
        time: Duration,
    ) -> Result<(f64, Option<Stats>)> {
        let shape = source.shape();
        let normalize = |transform: Transform| {
            let (mean, deviation) = (vec![0.5; shape.channels], vec![0.25; shape.channels]);
            transform.scale().normalize(mean, deviation)
        };
        let crop = Transform::new().random_crop(shape.height, shape.width, 4);
        match case {
            Case::PlainLoop => {
                let rate = plain_loop(&**source, self.batch_size, workers, time);
                rate.map(|rate| (rate, None))
            }
            Case::Bytes => self.loader::<u8>(source, Transform::new(), workers, time),
            Case::Normalized => {
                self.loader::<f32>(source, normalize(Transform::new()), workers, time)
            }
            Case::Augmented => {
                self.loader::<f32>(source, normalize(crop.random_flip()), workers, time)
            }
        }
    }

    /// From the first batch on: what comes once is no part of a rate.
    fn loader<T: Element>(
        &self,
        source: &Arc<dyn Source>,
        transform: Transform,
        workers: usize,
        time: Duration,
    ) -> Result<(f64, Option<Stats>)> {
        let mut loader = Loader::builder(Arc::clone(source))
            .batch_size(self.batch_size)
            .shuffle(true)
            .transform(transform)
            .workers(workers)
            .element::<T>()
            .build()?;
        let (mut samples, mut start) = (0, None);
        let mut batches = loader.epochs(0..u64::MAX);
        while let Some(batch) = batches.next() {
            let batch = batch?;
            black_box(batch.pixels());
            let begun = *start.get_or_insert_with(Instant::now);
            let elapsed = begun.elapsed();
            if samples > 0 && elapsed >= time {
                let rate = samples as f64 / elapsed.as_secs_f64();
                return Ok((rate, Some(batches.stats())));
            }
            samples += batch.info().samples;
        }
        Ok((0.0, None))
    }
}

/// Threads that take batches in turn, and copy their bytes.
fn plain_loop(
    source: &dyn Source,
    batch_size: usize,
    threads: usize,
    time: Duration,
) -> Result<f64> {
    let order = Order::shuffled(source.len(), 0).epoch(0);
    let indices: Vec<usize> = (0..source.len()).map(|own| order.index(own)).collect();
    let batches: Vec<&[usize]> = indices.chunks_exact(batch_size).collect();
    let bytes = source.shape().elements();
    let next = AtomicUsize::new(0);
    let start = Instant::now();
    let copy = || -> Result<usize> {
        let mut batch = vec![0; batch_size * bytes];
        let mut scratch = Vec::new();
        let mut samples = 0;
        while samples == 0 || start.elapsed() < time {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let indices = batches[turn % batches.len()];
            for (row, &index) in batch.chunks_exact_mut(bytes).zip(indices) {
                row.copy_from_slice(source.sample(index, &mut scratch)?.pixels);
            }
            black_box(&batch);
            samples += batch_size;
        }
        Ok(samples)
    };
    let samples = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, copy);
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        threads
            .into_iter()
            .try_fold(0, |sum, thread| match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(samples)) => Ok(sum + samples?),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::Usage(format!(
                    "--workers: no such many threads: {error}"
                ))),
            })
    });
    let samples: Result<usize> = samples;
    Ok(samples? as f64 / start.elapsed().as_secs_f64())
}

/// Of each case with most workers, which stage is the slowest and what there would be to gain for whoever takes the batches.
fn slowest(stats: impl Iterator<Item = Option<Stats>>) -> String {
    let mut text = String::new();
    for (stats, (_, name)) in stats.zip(CASES) {
        if let Some(stats) = stats {
            text += &format!("\n{name}: {stats}");
        }
    }
    text
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

fn table(workers: &[usize], medians: &[Vec<f64>]) -> String {
    let wide = CASES.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
    let mut text = format!("{:wide$}", "workers");
    for workers in workers {
        text += &format!("  {workers:>10}");
    }
    for ((_, name), rates) in CASES.iter().zip(medians) {
        text += &format!("\n{name:wide$}");
        for rate in rates {
            text += &format!("  {rate:>10.0}");
        }
    }
    text
}
