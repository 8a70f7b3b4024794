//! How fast the loader is: epochs of CIFAR-10's training set, shuffled, in batches of 128.
//!
//!     FEEDLINE_DATA=/path/to/data cargo bench --bench loader
//!
//! Without `FEEDLINE_DATA` the pictures are noise of the same size. `limit` is what one could hope for at most on one
//! thread: a plain loop that converts the same samples in the same order into one buffer, and nothing else.

use std::hint::black_box;
use std::sync::Arc;

use candle_core::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use feedline_pipeline::dataset::Cifar10;
use feedline_pipeline::order::Order;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Loader, Random, Shape, Source, Transform};

const BATCH_SIZE: usize = 128;
const MEAN: [f32; 3] = [0.4914, 0.4822, 0.4465];
const STD: [f32; 3] = [0.2470, 0.2435, 0.2616];

fn cifar10() -> Arc<dyn Source> {
    if let Ok(directory) = std::env::var("FEEDLINE_DATA") {
        return Cifar10::open(directory)
            .expect("FEEDLINE_DATA names a folder with CIFAR-10")
            .train;
    }
    let shape = Shape::new(3, 32, 32);
    let mut random = Random::new([0]);
    let pixels = (0..50_000 * shape.elements())
        .map(|_| random.next_u64() as u8)
        .collect();
    let labels = (0..50_000).map(|index| index % 10).collect();
    Arc::new(InMemory::new(shape, 10, pixels, labels).expect("lengths fit"))
}

fn loader(criterion: &mut Criterion) {
    let source = cifar10();
    let mut group = criterion.benchmark_group("loader");
    group.sample_size(10);
    group.throughput(Throughput::Elements(
        (source.len() / BATCH_SIZE * BATCH_SIZE) as u64,
    ));

    group.bench_function("limit", |bencher| {
        let elements = source.shape().elements();
        let mut batch = vec![0f32; BATCH_SIZE * elements];
        let mut scratch = Vec::new();
        bencher.iter(|| {
            let order = Order::shuffled(source.len(), 1).epoch(0);
            for position in 0..source.len() / BATCH_SIZE * BATCH_SIZE {
                let row = position % BATCH_SIZE;
                let sample = source
                    .sample(order.index(position), &mut scratch)
                    .expect("a sample");
                let output = &mut batch[row * elements..(row + 1) * elements];
                for (channel, plane) in sample.pixels.chunks_exact(elements / 3).enumerate() {
                    let factor = 1.0 / (255.0 * STD[channel]);
                    let offset = -MEAN[channel] / STD[channel];
                    let output = &mut output[channel * plane.len()..];
                    output
                        .iter_mut()
                        .zip(plane)
                        .for_each(|(v, &p)| *v = f32::from(p) * factor + offset);
                }
                black_box(&mut batch);
            }
        });
    });

    let normalize = |transform: Transform| transform.scale().normalize(MEAN, STD);
    let workloads = [
        ("normalize", normalize(Transform::new())),
        (
            "augment",
            normalize(Transform::new().random_crop(32, 32, 4).random_flip()),
        ),
        (
            "lab",
            Transform::new()
                .random_crop(24, 24, 0)
                .random_flip()
                .scale()
                .random_brightness(63.0 / 255.0)
                .random_contrast(0.2, 1.8)
                .standardize(),
        ),
    ];
    for (name, transform) in workloads {
        let builder = Loader::builder(Arc::clone(&source))
            .batch_size(BATCH_SIZE)
            .shuffle(true)
            .transform(transform);
        let mut epoch = 0;
        let mut host = builder.clone().build().expect("a loader");
        group.bench_function(format!("{name}/host"), |bencher| {
            bencher.iter(|| {
                host.epoch(epoch)
                    .for_each(|batch| drop(black_box(batch.expect("a batch"))));
                epoch += 1;
            });
        });
        let mut tensors = builder.device(&Device::Cpu).build().expect("a loader");
        group.bench_function(format!("{name}/tensors"), |bencher| {
            bencher.iter(|| {
                tensors
                    .epoch(epoch)
                    .for_each(|batch| drop(black_box(batch.expect("a batch"))));
                epoch += 1;
            });
        });
    }
    group.finish();
}

criterion_group!(benches, loader);
criterion_main!(benches);
