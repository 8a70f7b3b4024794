//! What steps leave to the next ones.

use super::*;
use crate::optim::{Adam, Optimizer};

#[test]
fn numbers_that_are_uploaded_are_downloaded() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let (values, statistics) = engine::Engine::read(&network).unwrap();
    assert_eq!(
        engine.download().unwrap(),
        (values.clone(), statistics.clone())
    );
    let [values, statistics] = [values, statistics].map(|own| {
        let numbers = own.iter().enumerate();
        numbers.map(|(i, x)| x + i as f32).collect::<Vec<_>>()
    });
    engine.upload(&values, &statistics).unwrap();
    assert_eq!(engine.download().unwrap(), (values, statistics));
}

#[test]
fn batches_of_other_sizes_leave_nothing_behind() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let (values, statistics) = engine::Engine::read(&network).unwrap();
    let mut kept = engine::<f32>(&network, &gpu);
    for count in [3, 9, 2, 9, 1] {
        let rows = rows(&network, count, count as u64);
        kept.upload(&values, &statistics).unwrap();
        let step = step_of(&mut kept, &network, &rows);
        let fresh = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
        assert_eq!(step, fresh, "{count} rows");
    }
}

#[test]
fn what_is_beyond_the_rows_does_not_count() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let rows = rows(&network, 7, 1);
    let batch = OnDevice::new(&gpu, &network, &rows);
    let mut padded = engine::<f32>(&network, &gpu);
    batch.gradients(&mut padded, 4, SHARE, &rows.pass);
    let rows = Rows {
        images: rows.images[..4 * 84].to_vec(),
        labels: rows.labels[..4].to_vec(),
        pass: rows.pass,
    };
    let step = step_of(&mut engine::<f32>(&network, &gpu), &network, &rows);
    assert_eq!(gradients(&padded), step.gradients);
}

#[test]
fn evaluation_adds_up_until_it_is_read() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut cpu = engine::Engine::new(&network).unwrap();
    let (values, statistics) = engine::Engine::read(&network).unwrap();
    let mut engine = engine::<f32>(&network, &gpu);
    for _ in 0..2 {
        let mut expected = Totals::default();
        for count in [6, 2] {
            let rows = rows(&network, count, count as u64);
            let batch = OnDevice::new(&gpu, &network, &rows);
            let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
            engine.evaluate(&images, &labels, count).unwrap();
            let batch = crate::engine::Batch {
                images: &rows.images,
                labels: &rows.labels,
            };
            let own = cpu.evaluate(&values, &statistics, batch).unwrap();
            expected.loss += own.loss;
            expected.correct += own.correct;
        }
        let totals = engine.read_totals().unwrap();
        assert_eq!(totals.correct, expected.correct);
        assert!(
            (totals.loss - expected.loss).abs() < 1e-5,
            "{totals:?}, expected {expected:?}"
        );
    }
}

/// Steps that are warm work on a device that has no memory left.
fn step_without_memory<T: Real>(gpu: &Gpu) {
    let network = small();
    let mut engine = engine::<T>(&network, gpu);
    let rule = Adam::default().rule().unwrap();
    let batch = OnDevice::<T>::new(gpu, &network, &rows(&network, 9, 1));
    let mut step = |rows| {
        batch.gradients(&mut engine, rows, 0.1, &Pass::training(1, 2, 3));
        engine.step(&rule, 1.0).unwrap();
        let (images, labels) = (batch.images.as_view(), batch.labels.as_view());
        engine.evaluate(&images, &labels, rows).unwrap();
        engine.totals_later().unwrap().wait().unwrap();
    };
    // Algorithms of smaller batches may take more memory.
    [9, 4].into_iter().for_each(&mut step);
    let (free, _) = gpu.stream().context().mem_get_info().unwrap();
    let rest = gpu.stream().alloc_zeros::<u8>(free).unwrap();
    assert!(gpu.stream().alloc_zeros::<u8>(1).is_err());
    [9, 4, 4, 9].into_iter().for_each(&mut step);
    drop(rest);
}

#[test]
fn steps_allocate_nothing_once_they_are_warm() {
    const ALONE: &str = "FEEDLINE_TEST_ALONE";
    let Some(gpu) = gpu() else { return };
    if !gpu.name().unwrap().to_lowercase().contains("simulated") {
        return eprintln!("skipped: nobody may take all memory of a real device");
    }
    if std::env::var_os(ALONE).is_some() {
        step_without_memory::<f32>(&gpu);
        return step_without_memory::<bf16>(&gpu);
    }
    // Other tests need memory: in a process of its own, with 128 MiB.
    let path = module_path!().split_once("::").unwrap().1;
    let name = format!("{path}::steps_allocate_nothing_once_they_are_warm");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(ALONE, "1")
        .env("FEEDLINE_SIMULATED_MEMORY", "128")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}

#[test]
fn many_totals_can_be_on_their_way() {
    let Some(gpu) = gpu() else { return };
    let network = small();
    let mut engine = engine::<f32>(&network, &gpu);
    let rule = Adam::new(0.05).rule().unwrap();
    let rows = rows(&network, 9, 1);
    let batch = OnDevice::new(&gpu, &network, &rows);
    let mut run = |at_once: bool| {
        let (values, statistics) = engine::Engine::read(&network).unwrap();
        engine.upload(&values, &statistics).unwrap();
        engine.optimizer = None;
        let mut pending = Vec::new();
        let mut totals = Vec::new();
        for step in 0..6 {
            batch.gradients(&mut engine, 9, 0.1, &Pass::training(1, step, 0));
            let own = engine.totals_later().unwrap();
            // Nobody has to want them.
            drop(engine.totals_later().unwrap());
            engine.step(&rule, 1.0).unwrap();
            match at_once {
                true => totals.push(own.wait().unwrap()),
                false => pending.push(own),
            }
        }
        gpu.synchronize().unwrap();
        assert!(pending.iter().all(|own| own.is_ready().unwrap()));
        totals.extend(pending.into_iter().map(|own| own.wait().unwrap()));
        totals
    };
    assert_eq!(run(true), run(false));
}
