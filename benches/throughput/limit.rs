//! What one could hope for: a plain loop on as many threads that reads the same samples in a random order, too, and
//! writes the same values into as many reused buffers as the loader has slots, and nothing else.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use feedline_pipeline::Source;
use feedline_pipeline::order::Order;

use crate::workload::Plain;

/// What the loop shares with the loader that it is compared with.
pub(crate) struct Limit<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) batch_size: usize,
    pub(crate) threads: usize,
    pub(crate) slots: usize,
    pub(crate) epochs: u64,
}

impl Limit<'_> {
    pub(crate) fn samples_per_second(&self, plain: Plain) -> f64 {
        match plain {
            Plain::Copy => self.run(|pixels, output: &mut [u8]| output.copy_from_slice(pixels)),
            Plain::Normalize { mean, std } => {
                let scales = mean.iter().zip(std);
                let scales: Vec<(f32, f32)> = scales
                    .map(|(mean, std)| (1.0 / (255.0 * std), -mean / std))
                    .collect();
                let plane = self.source.shape().elements() / scales.len();
                self.run(|pixels, output: &mut [f32]| {
                    let planes = pixels.chunks_exact(plane);
                    let outputs = output.chunks_exact_mut(plane);
                    for ((pixels, output), (factor, offset)) in planes.zip(outputs).zip(&scales) {
                        for (value, &pixel) in output.iter_mut().zip(pixels) {
                            *value = f32::from(pixel) * factor + offset;
                        }
                    }
                })
            }
        }
    }

    fn run<T: Clone + Default + Send>(&self, fill: impl Fn(&[u8], &mut [T]) + Sync) -> f64 {
        let elements = self.source.shape().elements();
        let order = Order::shuffled(self.source.len(), 1).epoch(0);
        let indices: Vec<usize> = (0..self.source.len())
            .map(|position| order.index(position))
            .collect();
        let batches: Vec<&[usize]> = indices.chunks_exact(self.batch_size).collect();
        // Dealt out in turn: of five slots, one of two threads has three.
        let mut buffers: Vec<Vec<Vec<T>>> = vec![Vec::new(); self.threads];
        for slot in 0..self.slots.max(self.threads) {
            let buffer = vec![T::default(); self.batch_size * elements];
            buffers[slot % self.threads].push(buffer);
        }
        let mut epochs = |epochs: u64| {
            let next = AtomicUsize::new(0);
            let total = batches.len() * epochs as usize;
            std::thread::scope(|scope| {
                for own in &mut buffers {
                    scope.spawn(|| {
                        let mut scratch = Vec::new();
                        for turn in 0.. {
                            let step = next.fetch_add(1, Ordering::Relaxed);
                            if step >= total {
                                break;
                            }
                            let turn = turn % own.len();
                            let buffer = &mut own[turn];
                            let rows = buffer.chunks_exact_mut(elements);
                            for (row, &index) in rows.zip(batches[step % batches.len()]) {
                                let sample = self.source.sample(index, &mut scratch);
                                fill(sample.expect("a sample").pixels, row);
                            }
                            black_box(buffer);
                        }
                    });
                }
            });
            total * self.batch_size
        };
        epochs(1);
        let start = Instant::now();
        let samples = epochs(self.epochs);
        samples as f64 / start.elapsed().as_secs_f64()
    }
}
