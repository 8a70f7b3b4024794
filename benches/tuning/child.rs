//! One loader on one shape of work.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cold::bytes_read;
use crate::common::machine::cpu_time;
use crate::input::BATCH_SIZE;
use crate::setting::Setting;
use crate::work::Work;

/// The least seconds of a slice.
const SLICE: f64 = 0.2;

/// What a child measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// While it was timed.
    pub(crate) samples_per_second: f64,
    /// Processors that were busy meanwhile, the consumer's included.
    pub(crate) cores: f64,
    /// Workers and batches ahead in the end.
    pub(crate) workers: usize,
    pub(crate) ahead: usize,
    /// Bytes that came from the disk, for each byte of a sample: of a file that was to be cold.
    pub(crate) from_disk: Option<f64>,
    /// The whole run.
    pub(crate) slices: Vec<Slice>,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// From the start of the run to the end of the slice.
    pub(crate) seconds: f64,
    pub(crate) samples_per_second: f64,
    /// At the end of the slice.
    pub(crate) workers: usize,
    pub(crate) ahead: usize,
}

/// Where the work stood at a moment.
#[derive(Clone, Copy)]
struct Mark {
    seconds: f64,
    batches: usize,
    cpu: f64,
    read: f64,
}

/// Runs for `warm_up` seconds and then for `seconds`, each to the next end of a period of the work.
pub(crate) fn measure(
    work: &Work,
    setting: Setting,
    file: &Path,
    (warm_up, seconds): (f64, f64),
) -> Result<Figures, Box<dyn Error>> {
    let (builder, cold) = work.input.open(file)?;
    let start = Instant::now();
    let mut loader = setting.apply(builder).build()?;
    let period = work.period(loader.plan().steps);
    let mark = |batches| Mark {
        seconds: start.elapsed().as_secs_f64(),
        batches,
        cpu: cpu_time(),
        read: bytes_read(),
    };
    let mut number = 0;
    let mut slice = mark(0);
    let mut slices = Vec::new();
    let mut timed_from = None;
    let mut epoch = 0;
    let (from, to) = 'run: loop {
        if let Some(cold) = &cold {
            cold.forget()?;
        }
        let mut batches = loader.epoch(epoch);
        while let Some(batch) = batches.next() {
            let batch = batch?;
            work.consumer.consume(number);
            drop(batch);
            number += 1;
            let due = start.elapsed().as_secs_f64() - slice.seconds >= SLICE;
            if !due || !number.is_multiple_of(period) {
                continue;
            }
            let now = mark(number);
            let stats = batches.stats();
            slices.push(Slice {
                seconds: now.seconds,
                samples_per_second: rate(slice, now),
                workers: stats.workers,
                ahead: stats.slots - 1,
            });
            slice = now;
            match timed_from {
                None if now.seconds >= warm_up => timed_from = Some(now),
                Some(from) if now.seconds >= from.seconds + seconds => break 'run (from, now),
                _ => {}
            }
        }
        epoch += 1;
    };
    let stats = loader.stats();
    let samples = ((to.batches - from.batches) * BATCH_SIZE) as f64;
    Ok(Figures {
        samples_per_second: rate(from, to),
        cores: (to.cpu - from.cpu) / (to.seconds - from.seconds),
        workers: stats.workers,
        ahead: stats.slots - 1,
        from_disk: cold.map(|cold| (to.read - from.read) / (samples * cold.record_length() as f64)),
        slices,
    })
}

/// Samples per second between two moments.
fn rate(from: Mark, to: Mark) -> f64 {
    ((to.batches - from.batches) * BATCH_SIZE) as f64 / (to.seconds - from.seconds)
}
