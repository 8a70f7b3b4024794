//! Batches on GPUs are those of the host to the bit, in any order of events. Skipped where there is no GPU.
#![cfg(feature = "cuda")]

#[path = "../common/mod.rs"]
mod common;
mod epochs;
mod faults;
mod memory;
mod slots;
mod transforms;

use feedline_pipeline::cuda::{CudaBatch, CudaElement, CudaLoader, CudaLoaderBuilder, Gpu, Layout};
use feedline_pipeline::loader::LoaderBuilder;
use feedline_pipeline::{BatchInfo, Element, Error, HostBatch, Shape, bf16};

/// The GPUs there are, or none, said so.
fn gpus() -> Vec<Gpu> {
    match Gpu::visible() {
        Err(error @ Error::NoGpu { .. }) => {
            eprintln!("skipped: {error}");
            Vec::new()
        }
        gpus => gpus.unwrap(),
    }
}

/// A value's bits.
trait Bits: CudaElement {
    fn bits(self) -> u32;
}

impl Bits for f32 {
    fn bits(self) -> u32 {
        self.to_bits()
    }
}

impl Bits for bf16 {
    fn bits(self) -> u32 {
        self.to_bits().into()
    }
}

/// What a batch is: values as bits, plane after plane, labels and indices.
type Content = (BatchInfo, Vec<u32>, Vec<u32>, Vec<usize>);

fn host_content<T: Bits>(batch: &HostBatch<T>) -> Content {
    let bits = batch.pixels().iter().map(|value| value.bits()).collect();
    let indices = batch.indices().to_vec();
    (batch.info(), bits, batch.labels().to_vec(), indices)
}

fn content<T: Bits>(batch: &CudaBatch<T>) -> Content {
    let stream = batch.stream();
    let values = stream.clone_dtoh(&batch.images()).unwrap();
    let labels = stream.clone_dtoh(&batch.labels()).unwrap();
    let bits = planes(&values, batch.shape(), batch.layout());
    (batch.info(), bits, labels, batch.indices().to_vec())
}

/// The bits of rows in any layout, plane after plane.
fn planes<T: Bits>(values: &[T], shape: Shape, layout: Layout) -> Vec<u32> {
    let (channels, plane) = (shape.channels, shape.height * shape.width);
    let place = |i: usize| {
        let (row, i) = (i / shape.elements(), i % shape.elements());
        let (channel, pixel) = (i / plane, i % plane);
        row * shape.elements() + pixel * channels + channel
    };
    match layout {
        Layout::Nchw => values.iter().map(|value| value.bits()).collect(),
        Layout::Nhwc => (0..values.len()).map(|i| values[place(i)].bits()).collect(),
    }
}

/// Some epochs as the host's own loader has them.
fn host_epochs<T: Bits + Element>(
    builder: &LoaderBuilder,
    epochs: std::ops::Range<u64>,
) -> Vec<Content> {
    let mut loader = builder.clone().element::<T>().build().unwrap();
    let batches = loader.epochs(epochs);
    batches.map(|batch| host_content(&batch.unwrap())).collect()
}

fn epochs<T: Bits>(loader: &mut CudaLoader<T>, epochs: std::ops::Range<u64>) -> Vec<Content> {
    let batches = loader.epochs(epochs);
    batches.map(|batch| content(&batch.unwrap())).collect()
}

/// Streamed, and from a resident source.
fn both<T: CudaElement>(builder: CudaLoaderBuilder<T>) -> [CudaLoader<T>; 2] {
    let resident = builder.clone().resident(true);
    [builder, resident].map(|builder| builder.build().unwrap())
}
