//! The machine's limit: bytes from pinned memory to the device, and nothing else.

use std::error::Error;

use feedline_pipeline::cuda::Gpu;

use crate::clock::{self, Length};
use crate::figures::Figure;
use crate::loaders::{Loading, PICTURE};
use crate::report::RATE;

/// In tables.
pub(crate) const SYSTEM: &str = "bare copy";

/// Copies so many pictures at a time, one batch after the other from two buffers in turn.
pub(crate) fn measure(
    gpu: &Gpu,
    batch: usize,
    length: Length,
) -> Result<Vec<Figure>, Box<dyn Error>> {
    let (stream, bytes) = (gpu.stream(), batch * PICTURE);
    let pinned = || {
        // SAFETY: any bytes are bytes, and these are written before they are read.
        unsafe { stream.context().alloc_pinned_with_flags::<u8>(bytes, 0) }
    };
    let mut sources = [pinned()?, pinned()?];
    for source in &mut sources {
        source.as_mut_slice()?.fill(1);
    }
    let mut target = stream.alloc_zeros::<u8>(bytes)?;
    let mut turn = 0;
    let milliseconds = clock::milliseconds(gpu, length, || {
        // As plain bytes: the pinned slice would record an event for each copy.
        stream.memcpy_htod(sources[turn].as_slice()?, &mut target)?;
        turn = 1 - turn;
        Ok(())
    })?;
    let (work, per_second) = (Loading::work(batch), batch as f64 * 1e3 / milliseconds);
    let bytes_per_second = per_second * PICTURE as f64;
    Ok(vec![
        Figure::new(&work, SYSTEM, RATE, per_second),
        Figure::new(&work, SYSTEM, "GB/s on the bus", bytes_per_second / 1e9),
    ])
}
