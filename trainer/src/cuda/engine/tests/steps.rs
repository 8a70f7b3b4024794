//! Several steps, and what replicas do in them.

use super::*;
use crate::optim::{Adam, Optimizer, Sgd};

/// Five steps on the device and on the CPU: the parameters after them.
fn train(gpu: &Gpu, network: &Sequential, optimizer: &impl Optimizer) -> [Vec<f32>; 2] {
    let mut engine = engine::<f32>(network, gpu);
    let rule = optimizer.rule().unwrap();
    let mut cpu = engine::Engine::new(network).unwrap();
    let mut optimizer = optimizer.clone();
    let (mut values, mut statistics) = engine::Engine::read(network).unwrap();
    let mut slopes = vec![0.0; values.len()];
    for step in 0..5 {
        let rows = Rows {
            pass: Pass::training(3, step, 0),
            ..rows(network, 8, step)
        };
        let factor = 1.0 - step as f32 / 10.0;
        OnDevice::new(gpu, network, &rows).gradients(&mut engine, 8, 0.125, &rows.pass);
        engine.step(&rule, factor).unwrap();
        let batch = crate::engine::Batch {
            images: &rows.images,
            labels: &rows.labels,
        };
        cpu.gradients(
            &values,
            &mut statistics,
            batch,
            0.125,
            &rows.pass,
            &mut slopes,
        )
        .unwrap();
        optimizer.step(&mut values, &slopes, factor);
    }
    let (own, others) = engine.download().unwrap();
    [[own, others].concat(), [values, statistics].concat()]
}

#[test]
fn steps_are_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let near = |[own, expected]: [Vec<f32>; 2]| {
        for (own, expected) in own.into_iter().zip(expected) {
            assert!((own - expected).abs() < 1e-5, "{own}, expected {expected}");
        }
    };
    near(train(&gpu, &network, &Sgd::new(0.1)));
    near(train(
        &gpu,
        &network,
        &Sgd::new(0.05).momentum(0.9).nesterov(),
    ));
    // Or it would make whole steps of gradients that are nothing but rounding.
    near(train(&gpu, &network, &Adam::new(0.01).epsilon(1e-2)));
}

#[test]
fn bf16_learns_and_its_copies_follow_the_values() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<bf16>(&network, &gpu);
    let rows = Rows {
        pass: Pass::evaluation(),
        ..rows(&network, 12, 1)
    };
    let batch = OnDevice::new(&gpu, &network, &rows);
    let rule = Sgd::new(0.5).rule().unwrap();
    let mut losses = Vec::new();
    for _ in 0..20 {
        batch.gradients(&mut engine, 12, 1.0 / 12.0, &rows.pass);
        losses.push(engine.totals_later().unwrap());
        engine.step(&rule, 1.0).unwrap();
    }
    let losses: Vec<_> = losses
        .into_iter()
        .map(|own| own.wait().unwrap().loss)
        .collect();
    assert!(losses[19] < 0.9 * losses[0], "{losses:?}");
    let values = gpu.stream().clone_dtoh(&engine.numbers.values).unwrap();
    let copies = engine.numbers.copies.as_ref().unwrap();
    let copies = gpu.stream().clone_dtoh(copies).unwrap();
    assert!(values.into_iter().map(bf16::from_f32).eq(copies));
}

/// Remembers what it was told was final.
#[derive(Default)]
struct Watch {
    seen: Vec<(usize, Vec<f32>)>,
}

impl Exchange for Watch {
    fn ready(&mut self, sums: &mut CudaSlice<f32>, from: usize) -> Result<()> {
        let sums = sums.stream().clone_dtoh(&sums.slice(from..)).unwrap();
        self.seen.push((from, sums));
        Ok(())
    }

    fn sum(&mut self, _: &mut CudaSlice<f32>) -> Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_said_to_be_ready_is() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let rows = rows(&network, 5, 1);
    let batch = OnDevice::new(&gpu, &network, &rows);
    let mut watch = Watch::default();
    let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
    engine
        .gradients(&images, &labels, 5, 1.0, &rows.pass, &mut watch)
        .unwrap();
    let sums = gpu.stream().clone_dtoh(&engine.sums).unwrap();
    let froms: Vec<_> = watch.seen.iter().map(|(from, _)| *from).collect();
    // Five layers have parameters.
    assert_eq!((froms.len(), froms[4]), (5, 0));
    assert!(froms.is_sorted_by(|a, b| a > b), "{froms:?}");
    for (from, seen) in watch.seen {
        assert_eq!(seen, sums[from..], "from {from}");
    }
}

/// As if there were another replica with the same rows.
struct Twin;

impl Exchange for Twin {
    fn ready(&mut self, _: &mut CudaSlice<f32>, _: usize) -> Result<()> {
        Ok(())
    }

    fn sum(&mut self, numbers: &mut CudaSlice<f32>) -> Result<()> {
        let stream = numbers.stream().clone();
        let doubled = stream.clone_dtoh(numbers).unwrap();
        let doubled: Vec<_> = doubled.into_iter().map(|x| 2.0 * x).collect();
        stream.memcpy_htod(&doubled, numbers).unwrap();
        Ok(())
    }
}

#[test]
fn synchronized_statistics_are_those_of_all_replicas() {
    let Some(gpu) = gpu() else { return };
    let network = |synchronized| {
        Sequential::builder([2, 4, 4])
            .add(Conv2d::new(3, 3))
            .add(BatchNorm::new().synchronized(synchronized))
            .add(Relu)
            .add(Flatten)
            .add(Linear::new(3))
            .build(1, &Device::Cpu)
            .unwrap()
    };
    let (alone, synchronized) = (network(false), network(true));
    let rows = rows(&alone, 4, 1);
    let twice = Rows {
        images: rows.images.repeat(2),
        labels: rows.labels.repeat(2),
        pass: rows.pass,
    };
    let expected = step_of(&mut engine::<f32>(&alone, &gpu), &alone, &twice);
    let mut engine = engine::<f32>(&synchronized, &gpu);
    let batch = OnDevice::new(&gpu, &synchronized, &rows);
    let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
    engine
        .gradients(&images, &labels, 4, SHARE, &rows.pass, &mut Twin)
        .unwrap();
    let halves = gradients(&engine).into_iter().zip(expected.gradients);
    for (half, whole) in halves {
        assert!((2.0 * half - whole).abs() < 1e-5, "{half}, half of {whole}");
    }
    let statistics = engine.download().unwrap().1.into_iter();
    for (found, expected) in statistics.zip(expected.statistics) {
        assert!(
            (found - expected).abs() < 1e-5,
            "{found}, expected {expected}"
        );
    }
}
