//! What one could hope for at most: a plain loop on as many threads that reads the same samples in the same order and
//! writes the same bytes into as many reused buffers, and nothing else.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use feedline_pipeline::order::Order;

use crate::workload::{BATCH_SIZE, Values, Workload};

/// Samples per second, or `None` where there is no such loop for the workload.
pub(crate) fn samples_per_second(
    workload: &Workload,
    threads: usize,
    epochs: u64,
    seed: u64,
) -> Option<f64> {
    let source = &workload.source;
    let elements = source.shape().elements();
    let plane = elements / source.shape().channels;
    let scales: Vec<(f32, f32)> = match (&workload.normalize, workload.values) {
        (Some((mean, std)), Values::F32) => mean
            .iter()
            .zip(std)
            .map(|(mean, std)| (1.0 / (255.0 * std), -mean / std))
            .collect(),
        (None, Values::U8) if workload.name == "u8" => Vec::new(),
        _ => return None,
    };
    let order = Order::shuffled(source.len(), seed).epoch(0);
    let indices: Vec<usize> = (0..source.len())
        .map(|position| order.index(position))
        .collect();
    let batches: Vec<&[usize]> = indices.chunks_exact(BATCH_SIZE).collect();
    let buffers_per_thread = (2 * threads + 1).div_ceil(threads);
    let run = |epochs: u64| {
        let next = AtomicUsize::new(0);
        let total = batches.len() * epochs as usize;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut floats = vec![vec![0f32; BATCH_SIZE * elements]; buffers_per_thread];
                    let mut bytes = vec![vec![0u8; BATCH_SIZE * elements]; buffers_per_thread];
                    let mut scratch = Vec::new();
                    for turn in 0.. {
                        let step = next.fetch_add(1, Ordering::Relaxed);
                        if step >= total {
                            break;
                        }
                        let floats = &mut floats[turn % buffers_per_thread];
                        let bytes = &mut bytes[turn % buffers_per_thread];
                        for (row, &index) in batches[step % batches.len()].iter().enumerate() {
                            let sample = source.sample(index, &mut scratch).expect("a sample");
                            let row = row * elements..(row + 1) * elements;
                            if scales.is_empty() {
                                bytes[row].copy_from_slice(sample.pixels);
                                continue;
                            }
                            let planes = sample.pixels.chunks_exact(plane);
                            let outputs = floats[row].chunks_exact_mut(plane);
                            for ((pixels, output), (factor, offset)) in
                                planes.zip(outputs).zip(&scales)
                            {
                                for (value, &pixel) in output.iter_mut().zip(pixels) {
                                    *value = f32::from(pixel) * factor + offset;
                                }
                            }
                        }
                        black_box((floats, bytes));
                    }
                });
            }
        });
        total * BATCH_SIZE
    };
    run(1);
    let start = std::time::Instant::now();
    let samples = run(epochs);
    Some(samples as f64 / start.elapsed().as_secs_f64())
}
