//! Each stage of the pipeline by itself, on one thread, in samples per second.
//!
//!     cargo bench --bench stages
//!     cargo bench --bench stages -- transform
//!
//! The data are noise of CIFAR-10's shape and size, so that the figures need no files; `throughput` measures the whole
//! loader on real ones.

use std::hint::black_box;
use std::sync::Arc;

use candle_core::Device;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use feedline_pipeline::order::Order;
use feedline_pipeline::source::{Access, InMemory, RecordFile, RecordFormat};
use feedline_pipeline::{Loader, Random, Shape, Source, Transform};

const SAMPLES: usize = 50_000;
const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f32; 3] = [0.2470, 0.2435, 0.2616];

fn noise() -> Arc<InMemory> {
    let shape = Shape::new(3, 32, 32);
    let mut random = Random::new([0]);
    let pixels = (0..SAMPLES * shape.elements()).map(|_| random.next_u64() as u8);
    let labels = (0..SAMPLES as u32).map(|index| index % 10);
    let source = InMemory::new(shape, 10, pixels.collect(), labels.collect());
    Arc::new(source.expect("lengths fit"))
}

/// How long it takes to say which sample comes when.
fn order(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    group.throughput(Throughput::Elements(1_000));
    let weights: Vec<f64> = (1..=SAMPLES).map(|weight| weight as f64).collect();
    let orders = [
        ("sequential", Ok(Order::sequential(SAMPLES))),
        ("shuffled", Ok(Order::shuffled(SAMPLES, 1))),
        ("blocks", Order::block_shuffled(SAMPLES, 341, 16, 1)),
        (
            "class-balanced",
            Order::class_balanced((0..SAMPLES as u32).map(|index| index % 10), 10, 1),
        ),
        (
            "mixed",
            Order::mixed(&[(SAMPLES / 2, 3), (SAMPLES / 2, 1)], 1),
        ),
        ("weighted", Order::weighted(&weights, 1)),
    ];
    for (name, order) in orders {
        let epoch = order.expect("an order").epoch(0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for position in 0..1_000 {
                    black_box(epoch.draw(position));
                }
            });
        });
    }
    group.finish();
}

/// How long it takes to find a sample and to read all of its bytes, in random order.
fn source(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("source");
    group.throughput(Throughput::Elements(1_000));
    let memory = noise();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut bytes = Vec::with_capacity(SAMPLES * 3073);
    for index in 0..SAMPLES {
        let mut scratch = Vec::new();
        let sample = memory.sample(index, &mut scratch).expect("a sample");
        bytes.push(sample.label as u8);
        bytes.extend_from_slice(sample.pixels);
    }
    std::fs::write(file.path(), bytes).expect("a file");
    let open = |access| -> Arc<dyn Source> {
        let file = RecordFile::open_with(file.path(), RecordFormat::CIFAR10, access);
        Arc::new(file.expect("records"))
    };
    let sources: [(&str, Arc<dyn Source>); 3] = [
        ("in memory", memory),
        ("mapped", open(Access::Mapped)),
        ("read", open(Access::Read)),
    ];
    for (name, source) in sources {
        let mut scratch = Vec::new();
        let mut random = Random::new([1]);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || -> Vec<usize> {
                    let index = |_| random.below(SAMPLES as u64) as usize;
                    (0..1_000).map(index).collect()
                },
                |indices| {
                    for index in indices {
                        let sample = source.sample(index, &mut scratch).expect("a sample");
                        black_box(sample.pixels.iter().fold(0, |sum, byte| sum ^ byte));
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// What each operation adds: a loader with one worker, in batches of 128.
fn transform(criterion: &mut Criterion) {
    let source = noise();
    let mut group = criterion.benchmark_group("transform");
    group.sample_size(20);
    group.throughput(Throughput::Elements((SAMPLES / 128 * 128) as u64));
    let normalize = |transform: Transform| transform.scale().normalize(MEAN, STD);
    let new = Transform::new;
    let transforms = [
        ("none", new()),
        ("normalize", normalize(new())),
        ("flip, normalize", normalize(new().random_flip())),
        ("crop, normalize", normalize(new().random_crop(32, 32, 4))),
        (
            "crop, flip, normalize",
            normalize(new().random_crop(32, 32, 4).random_flip()),
        ),
        ("brightness", new().scale().random_brightness(0.25)),
        ("contrast", new().scale().random_contrast(0.2, 1.8)),
        ("standardize", new().standardize()),
        (
            "map",
            new().scale().map(|sample| {
                black_box(sample.pixels);
                Ok(())
            }),
        ),
    ];
    let builder = Loader::builder(source)
        .batch_size(128)
        .shuffle(true)
        .workers(1);
    for (name, transform) in transforms {
        let mut loader = builder
            .clone()
            .transform(transform)
            .build()
            .expect("a loader");
        let mut epoch = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                loader
                    .epoch(epoch)
                    .for_each(|batch| drop(black_box(batch.expect("a batch"))));
                epoch += 1;
            });
        });
    }
    let transform = normalize(new());
    let tensors = builder.transform(transform).device(&Device::Cpu).build();
    let mut tensors = tensors.expect("a loader");
    let mut epoch = 0;
    group.bench_function("normalize, as tensors", |bencher| {
        bencher.iter(|| {
            tensors
                .epoch(epoch)
                .for_each(|batch| drop(black_box(batch.expect("a batch"))));
            epoch += 1;
        });
    });
    group.finish();
}

criterion_group!(benches, order, source, transform);
criterion_main!(benches);
