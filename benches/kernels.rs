//! The trainer's own operations: a step of each network with each set of instructions, and Adam.
//!
//!     cargo bench --bench kernels
//!     cargo bench --bench kernels -- adam
//!
//! The engine's pool has as many threads as the machine has cores, or `RAYON_NUM_THREADS`. `training` measures whole
//! steps beside other systems.

use candle_core::Device;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use feedline_pipeline::Random;
use feedline_trainer::engine::Isa;
use feedline_trainer::engine::{Batch, Engine};
use feedline_trainer::nn::{Pass, Sequential};
use feedline_trainer::optim::{Adam, Optimizer};
use feedline_trainer::{Result, models};

const DROPOUT: f32 = 0.5;

/// From -1 to 1.
fn noise(length: usize) -> Vec<f32> {
    let mut random = Random::new([1]);
    let number = || random.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    std::iter::repeat_with(number).take(length).collect()
}

/// Forward and backward.
fn engine(criterion: &mut Criterion) {
    let device = &Device::Cpu;
    let networks: [(&str, Result<Sequential>, usize); 3] = [
        ("softmax", models::softmax(1, device), 28 * 28),
        ("mnist_cnn", models::mnist_cnn(DROPOUT, 1, device), 28 * 28),
        (
            "cifar_cnn",
            models::cifar_cnn(DROPOUT, 1, device),
            3 * 24 * 24,
        ),
    ];
    for (name, network, pixels) in networks {
        let network = network.expect("the CPU can hold it");
        let mut group = criterion.benchmark_group(name);
        for rows in [32, 128] {
            let (images, labels) = (noise(rows * pixels), vec![3; rows]);
            let batch = Batch {
                images: &images,
                labels: &labels,
            };
            group.throughput(Throughput::Elements(rows as u64));
            for isa in Isa::available() {
                let engine = Engine::new(&network).expect("layers of ours only");
                let mut engine = engine.isa(isa);
                let (values, mut statistics) =
                    Engine::read(&network).expect("parameters on the CPU");
                let mut gradients = vec![0.0; values.len()];
                let pass = Pass::training(0, 0, 0);
                let share = 1.0 / rows as f32;
                let name = BenchmarkId::new(format!("{isa:?}").to_lowercase(), rows);
                group.bench_function(name, |bencher| {
                    bencher.iter(|| {
                        let gradients = &mut gradients;
                        engine.gradients(&values, &mut statistics, batch, share, &pass, gradients)
                    });
                });
            }
        }
        group.finish();
    }
}

/// The update, of as many numbers as the networks have.
fn adam(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adam");
    for parameters in [93_322, 1_068_554] {
        let (mut values, gradients) = (noise(parameters), noise(parameters));
        let mut adam = Adam::default();
        group.throughput(Throughput::Elements(parameters as u64));
        group.bench_function(parameters.to_string(), |bencher| {
            bencher.iter(|| adam.step(&mut values, &gradients, 1.0));
        });
    }
    group.finish();
}

criterion_group!(benches, engine, adam);
criterion_main!(benches);
