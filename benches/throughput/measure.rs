//! The loader itself.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Device;
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::sink::Sink;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Loader, Result, Shape};
use half::{bf16, f16};

use crate::workload::{BATCH_SIZE, Values, Workload};
use crate::{limit, machine, median};

const EPOCHS: u64 = 8;

/// One measurement of one system on one workload.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) system: String,
    pub(crate) samples_per_second: f64,
    /// What only our own loader is asked.
    pub(crate) own: Option<Own>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Own {
    pub(crate) samples_per_core_second: f64,
    /// How long the consumer waited for a batch, in microseconds.
    pub(crate) wait_p50: f64,
    pub(crate) wait_p99: f64,
    /// From `build` to the first batch, in milliseconds.
    pub(crate) first_batch: f64,
    /// Bytes of the plan, and how much the process' memory besides mapped files grew.
    pub(crate) planned: usize,
    pub(crate) grown: usize,
    pub(crate) allocations_per_batch: f64,
}

/// Measures the limit, the loader as host buffers and, for `f32`, as tensors.
pub(crate) fn workload(workload: &Workload, workers: usize) -> Result<Vec<Row>> {
    let row = |system: &str, samples_per_second, own| Row {
        workload: workload.name.into(),
        system: system.into(),
        samples_per_second,
        own,
    };
    let mut rows = Vec::new();
    if let Some(rate) = limit::samples_per_second(workload, workers, EPOCHS, 1) {
        rows.push(row("limit", rate, None));
    }
    let builder = Loader::builder(Arc::clone(&workload.source))
        .batch_size(BATCH_SIZE)
        .shuffle(true)
        .seed(1)
        .workers(workers)
        .transform(workload.transform.clone());
    let (rate, own) = match workload.values {
        Values::F32 => loader(builder.clone())?,
        Values::F16 => loader(builder.clone().element::<f16>())?,
        Values::Bf16 => loader(builder.clone().element::<bf16>())?,
        Values::U8 => loader(builder.clone().element::<u8>())?,
    };
    rows.push(row("feedline", rate, Some(own)));
    if workload.values == Values::F32 {
        let (rate, own) = loader(builder.device(&Device::Cpu))?;
        rows.push(row("feedline, tensors", rate, Some(own)));
    }
    Ok(rows)
}

fn loader<K: Sink>(builder: LoaderBuilder<K>) -> Result<(f64, Own)> {
    let memory = machine::anonymous_memory();
    let start = Instant::now();
    let mut loader = builder.build()?;
    let first = loader.epoch(0).next();
    let first_batch = start.elapsed().as_secs_f64() * 1e3;
    drop(first.transpose()?);
    loader.epoch(0).try_for_each(|batch| batch.map(drop))?;

    let steps = loader.plan().steps as u64 * EPOCHS;
    let mut waits = Vec::with_capacity(steps as usize);
    let cpu = machine::cpu_time();
    let (allocations, start) = (machine::allocations(), Instant::now());
    let mut batches = loader.epochs(1..1 + EPOCHS);
    loop {
        let before = Instant::now();
        let Some(batch) = batches.next() else { break };
        waits.push(before.elapsed().as_secs_f64() * 1e6);
        black_box(batch?);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let allocations = machine::allocations() - allocations;
    let cpu = machine::cpu_time() - cpu;
    let samples = (steps * BATCH_SIZE as u64) as f64;
    waits.sort_by(f64::total_cmp);
    let percentile = |share: f64| waits[(share * (waits.len() - 1) as f64) as usize];
    let own = Own {
        samples_per_core_second: samples / cpu.max(1e-9),
        wait_p50: percentile(0.5),
        wait_p99: percentile(0.99),
        first_batch,
        planned: loader.plan().bytes(),
        grown: machine::anonymous_memory().saturating_sub(memory),
        allocations_per_batch: allocations as f64 / steps as f64,
    };
    Ok((samples / elapsed, own))
}

/// What a batch costs that has next to nothing in it, in microseconds.
pub(crate) fn overhead(workers: usize) -> Result<f64> {
    let source = Arc::new(InMemory::new(
        Shape::new(1, 1, 1),
        2,
        vec![1; 200_000],
        vec![1; 200_000],
    )?);
    let mut loader = Loader::builder(source)
        .batch_size(1)
        .workers(workers)
        .build()?;
    loader.epoch(0).try_for_each(|batch| batch.map(drop))?;
    let mut times = Vec::new();
    for epoch in 1..6 {
        let start = Instant::now();
        loader.epoch(epoch).try_for_each(|batch| batch.map(drop))?;
        let per_batch: Duration = start.elapsed() / 200_000;
        times.push(per_batch.as_secs_f64() * 1e6);
    }
    Ok(median(times))
}
