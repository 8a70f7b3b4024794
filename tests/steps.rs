//! Steps of training by engine allocate nothing and leave the system alone, once all buffers are there.

#[path = "../pipeline/tests/common/allocator.rs"]
mod allocator;

use std::sync::atomic::Ordering::Relaxed;

use allocator::{ALLOCATIONS, Counting, LIVE};
use candle_core::Device;
use feedline_pipeline::Random;
use feedline_trainer::collective::{BucketSizes, Buckets, Reducer};
use feedline_trainer::engine::{Batch, Engine};
use feedline_trainer::nn::{BatchNorm, Conv2d, Flatten, Linear, Model, Pass, Sequential};
use feedline_trainer::optim::{Adam, Optimizer};
use feedline_trainer::{Replicas, Result, models};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network that is trained on random pictures.
struct Training {
    engine: Engine,
    values: Vec<f32>,
    statistics: Vec<f32>,
    gradients: Vec<f32>,
    adam: Adam,
    images: Vec<f32>,
    labels: Vec<u32>,
    picture: usize,
    steps: u64,
}

impl Training {
    /// With pictures of so many numbers, and as many as the largest batch has.
    fn new(network: &Sequential, picture: usize, rows: usize) -> Self {
        let engine = Engine::new(network).unwrap();
        let (values, statistics) = Engine::read(network).unwrap();
        let mut random = Random::new([1]);
        Self {
            gradients: vec![0.0; values.len()],
            engine,
            values,
            statistics,
            adam: Adam::default(),
            images: (0..rows * picture).map(|_| random.unit()).collect(),
            labels: (0..rows as u32).map(|row| row % 10).collect(),
            picture,
            steps: 0,
        }
    }

    fn step(&mut self, rows: usize) {
        let batch = Batch {
            images: &self.images[..rows * self.picture],
            labels: &self.labels[..rows],
        };
        let (pass, share) = (Pass::training(1, self.steps, 0), 1.0 / rows as f32);
        let (values, gradients) = (&self.values, &mut self.gradients);
        let statistics = &mut self.statistics;
        let totals = self
            .engine
            .gradients(values, statistics, batch, share, &pass, gradients);
        assert!(totals.unwrap().loss.is_finite());
        self.adam.step(&mut self.values, &self.gradients, 1.0);
        self.steps += 1;
    }
}

impl Training {
    /// A step of 8 rows on one of two replicas.
    fn reduced_step(&mut self, sums: &mut [f32], reducer: &mut Reducer) -> Result<()> {
        let batch = Batch {
            images: &self.images,
            labels: &self.labels,
        };
        let pass = Pass::training(1, self.steps, 0);
        let (values, statistics) = (&self.values, &mut self.statistics);
        reducer.begin(self.steps)?;
        let ready = &mut |from, sums: &[f32]| reducer.ready(from, sums);
        self.engine
            .gradients_with(values, statistics, batch, 1.0 / 16.0, &pass, sums, ready)?;
        reducer.join(sums)?;
        self.adam
            .step(&mut self.values, &sums[..self.gradients.len()], 1.0);
        self.steps += 1;
        Ok(())
    }
}

/// What the kernel counts: pages that it had to find for this process so far, and kilobytes that are resident now.
/// `None` on other systems.
fn pages() -> Option<(u64, i64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name is in parentheses and may hold anything.
    let fields = stat.rsplit_once(") ")?.1;
    let faults = fields.split(' ').nth(7)?.parse().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let resident = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((faults, resident))
}

// One test, as others in this program would be counted, too.
#[test]
fn steps_allocate_nothing_and_touch_no_new_page() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2);
    pool.build().unwrap().install(|| {
        let mnist = models::mnist_cnn(0.5, 1, &Device::Cpu).unwrap();
        let cifar = models::cifar_cnn(0.5, 1, &Device::Cpu).unwrap();
        for (network, picture, steps) in [(mnist, 28 * 28, 1000), (cifar, 3 * 24 * 24, 30)] {
            flat(&mut Training::new(&network, picture, 8), steps);
            batches_of_changing_size(&mut Training::new(&network, picture, 128));
        }
    });
    two_replicas();
}

/// Replicas that sum gradients while they still compute, and that normalize over the rows of both.
fn two_replicas() {
    let allocations = Replicas::cpu(2).unwrap().run(|replica| {
        let picture = [3, 12, 12];
        let network = Sequential::builder(picture)
            .add(Conv2d::new(8, 3))
            .add(BatchNorm::new().synchronized(true))
            .add(Flatten)
            .add(Linear::new(10))
            .build(1, replica.device())?;
        let mut training = Training::new(&network, picture.iter().product(), 8);
        training.engine = training.engine.collective(replica.shared_collective());
        let lengths = network.parameters().iter().filter(|own| own.trainable);
        let lengths = lengths.map(|own| own.value.elem_count());
        let sizes = BucketSizes {
            first: 0,
            others: 0,
        };
        let buckets = Buckets::with_sizes(lengths, Engine::TOTALS, sizes);
        let mut sums = vec![0.0; buckets.length()];
        let mut reducer = Reducer::new(replica.shared_collective(), buckets, true)?;
        let mut steps = |count: u64| {
            (0..count).try_for_each(|_| training.reduced_step(&mut sums, &mut reducer))?;
            replica.collective().barrier()
        };
        steps(50)?;
        let before = ALLOCATIONS.load(Relaxed);
        // Nobody goes on before both have looked.
        replica.collective().barrier()?;
        steps(500)?;
        Ok(ALLOCATIONS.load(Relaxed) - before)
    });
    let allocations = allocations.unwrap()[0];
    println!("{allocations} allocations in 500 steps of two replicas");
    assert!(allocations <= 20, "{allocations} in 500 steps");
}

fn flat(training: &mut Training, steps: u64) {
    (0..10 + steps / 10).for_each(|_| training.step(8));
    let (before, allocations) = (pages(), ALLOCATIONS.load(Relaxed));
    (0..steps).for_each(|_| training.step(8));
    let (allocations, after) = (ALLOCATIONS.load(Relaxed) - allocations, pages());
    println!("{allocations} allocations in {steps} steps, pages {before:?} and then {after:?}");
    // Once in its life a thread makes room for what it was not given to do before.
    assert!(allocations <= 10, "{allocations} in {steps} steps");
    let (Some(before), Some(after)) = (before, after) else {
        println!("skipped: this system does not say what it does for a process");
        return;
    };
    assert!(
        after.0 - before.0 <= 10 + steps / 10,
        "{before:?} and then {after:?}"
    );
    assert!(after.1 - before.1 <= 1024, "{before:?} and then {after:?}");
}

/// Buffers are as large as the largest batch so far needs; smaller ones need none of their own.
fn batches_of_changing_size(training: &mut Training) {
    (0..5).for_each(|_| training.step(128));
    let before = LIVE.load(Relaxed);
    for rows in [32, 128, 5] {
        training.step(rows);
        let after = LIVE.load(Relaxed);
        println!("{rows} rows: {before} bytes before, {after} now");
        assert!(
            after <= before + (1 << 20),
            "{rows} rows: {before}, then {after}"
        );
    }
}
