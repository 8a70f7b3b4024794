//! The loader itself.

use std::fmt;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::Device;
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::sink::Sink;
use feedline_pipeline::source::InMemory;
use feedline_pipeline::{Loader, Result, Shape, Source};
use half::{bf16, f16};

use crate::common::machine::{anonymous_memory, cpu_time};
use crate::common::median;
use crate::limit::Limit;
use crate::machine;
use crate::workload::{Values, Workload};

/// One measurement of one system on one workload.
#[derive(Clone, Default)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) system: String,
    pub(crate) samples_per_second: f64,
    /// For each second of processor time.
    pub(crate) samples_per_core_second: Option<f64>,
    /// What only our own loader is asked.
    pub(crate) own: Option<Own>,
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Own {
    /// How long the consumer waited for a batch, in microseconds.
    pub(crate) wait_p50: f64,
    pub(crate) wait_p99: f64,
    /// From `build` to the first batch, in milliseconds.
    pub(crate) first_batch: f64,
    /// Into how many parts a batch is cut, for as many workers.
    pub(crate) parts: f64,
    /// Bytes of memory besides mapped files, at the most, less what the process had before `build`.
    pub(crate) peak: f64,
    /// By how much that rose after the first epoch.
    pub(crate) grown: f64,
    /// Bytes of the plan, and of the budget that it keeps to.
    pub(crate) planned: f64,
    pub(crate) budget: f64,
    pub(crate) allocations_per_batch: f64,
}

/// What a child measured, which it prints as a line of numbers with tabs between them.
pub(crate) struct Figures {
    pub(crate) samples_per_second: f64,
    pub(crate) samples_per_core_second: Option<f64>,
    pub(crate) own: Option<Own>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.samples_per_second)?;
        if let (Some(per_core), Some(own)) = (self.samples_per_core_second, &self.own) {
            let figures = [
                per_core,
                own.wait_p50,
                own.wait_p99,
                own.first_batch,
                own.parts,
                own.peak,
                own.grown,
                own.planned,
                own.budget,
                own.allocations_per_batch,
            ];
            for figure in figures {
                write!(f, "\t{figure}")?;
            }
        }
        Ok(())
    }
}

impl Figures {
    pub(crate) fn parse(line: &str) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let figures = line.trim().split('\t').map(str::parse);
        let figures: Vec<f64> = figures.collect::<std::result::Result<_, _>>()?;
        let own = match figures[1..] {
            [] => None,
            [
                _,
                wait_p50,
                wait_p99,
                first_batch,
                parts,
                peak,
                grown,
                planned,
                budget,
                allocations_per_batch,
            ] => Some(Own {
                wait_p50,
                wait_p99,
                first_batch,
                parts,
                peak,
                grown,
                planned,
                budget,
                allocations_per_batch,
            }),
            _ => return Err(format!("not the figures of a child: {line}").into()),
        };
        Ok(Self {
            samples_per_second: figures[0],
            samples_per_core_second: figures.get(1).copied(),
            own,
        })
    }
}

/// The plain loop, with as many buffers as the loader would have.
pub(crate) fn limit(
    workload: &Workload,
    source: &Arc<dyn Source>,
    workers: usize,
    epochs: u64,
) -> Result<Figures> {
    let plain = workload.plain.expect("a workload with a plain loop");
    let builder = workload.loader(source, workers);
    let slots = match workload.values {
        Values::U8 => builder.element::<u8>().build()?.plan().slots,
        _ => builder.build()?.plan().slots,
    };
    let limit = Limit {
        source: &**source,
        batch_size: workload.batch_size,
        threads: workers,
        slots,
        epochs,
    };
    Ok(Figures {
        samples_per_second: limit.samples_per_second(plain),
        samples_per_core_second: None,
        own: None,
    })
}

/// The loader, as plain buffers.
pub(crate) fn host(
    workload: &Workload,
    source: &Arc<dyn Source>,
    workers: usize,
    epochs: u64,
) -> Result<Figures> {
    let builder = workload.loader(source, workers);
    match workload.values {
        Values::F32 => loader(builder, workload, source, epochs),
        Values::F16 => loader(builder.element::<f16>(), workload, source, epochs),
        Values::Bf16 => loader(builder.element::<bf16>(), workload, source, epochs),
        Values::U8 => loader(builder.element::<u8>(), workload, source, epochs),
    }
}

/// The loader, as tensors of `f32`.
pub(crate) fn tensors(
    workload: &Workload,
    source: &Arc<dyn Source>,
    workers: usize,
    epochs: u64,
) -> Result<Figures> {
    let builder = workload.loader(source, workers).device(&Device::Cpu);
    loader(builder, workload, source, epochs)
}

fn loader<K: Sink>(
    builder: LoaderBuilder<K>,
    workload: &Workload,
    source: &Arc<dyn Source>,
    epochs: u64,
) -> Result<Figures> {
    let steps = source.len() / workload.batch_size;
    // Written to before memory is measured: its pages are no memory of the loader's.
    let mut waits = black_box(vec![f64::NAN; steps * epochs as usize]);
    let before = anonymous_memory();

    let start = Instant::now();
    let mut loader = builder.build()?;
    let first = loader.epoch(0).next();
    let first_batch = start.elapsed().as_secs_f64() * 1e3;
    drop(first.transpose()?);
    let early_peak = watched_epoch(&mut loader, 0)?.max(anonymous_memory());

    let mut peak = early_peak;
    let cpu = cpu_time();
    let (allocations, start) = (machine::allocations(), Instant::now());
    let mut batches = loader.epochs(1..1 + epochs);
    for (step, wait) in waits.iter_mut().enumerate() {
        let before = Instant::now();
        let batch = batches.next().expect("as many batches as epochs have");
        *wait = before.elapsed().as_secs_f64() * 1e6;
        let _held = black_box(batch?);
        if (step + 1) % steps == 0 {
            // Some microseconds, but only once an epoch.
            peak = peak.max(anonymous_memory());
        }
    }
    let elapsed = start.elapsed().as_secs_f64();
    let allocations = machine::allocations() - allocations;
    let cpu = cpu_time() - cpu;
    drop(batches);
    peak = peak.max(watched_epoch(&mut loader, 1 + epochs)?);

    let samples = (waits.len() * workload.batch_size) as f64;
    let allocations_per_batch = allocations as f64 / waits.len() as f64;
    waits.sort_by(f64::total_cmp);
    let percentile = |share: f64| waits[(share * (waits.len() - 1) as f64) as usize];
    let own = Own {
        wait_p50: percentile(0.5),
        wait_p99: percentile(0.99),
        first_batch,
        parts: loader.plan().parts as f64,
        peak: peak.saturating_sub(before) as f64,
        grown: (peak - early_peak) as f64,
        planned: loader.plan().bytes() as f64,
        budget: workload.budget as f64,
        allocations_per_batch,
    };
    Ok(Figures {
        samples_per_second: samples / elapsed,
        samples_per_core_second: Some(samples / cpu.max(1e-9)),
        own: Some(own),
    })
}

/// Reads an epoch and returns the most memory that there was while one of its batches was held.
fn watched_epoch<K: Sink>(loader: &mut Loader<K>, epoch: u64) -> Result<usize> {
    let mut peak = 0;
    for batch in loader.epoch(epoch) {
        let _held = batch?;
        peak = peak.max(anonymous_memory());
    }
    Ok(peak)
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
