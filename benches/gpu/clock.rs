//! How time is taken on a device.
//!
//! Work on a GPU is asked for and done later, so that a clock on the host would time the asking. Events are put between
//! pieces of work; the device notes when it came to them. Between two of them are several pieces, as their own cost is
//! some microseconds.

use std::error::Error;
use std::time::Instant;

use clap::Args;
use feedline_pipeline::cuda::Gpu;
use feedline_pipeline::cuda::cudarc::driver::sys;

use crate::common::median;

/// Pieces between two events.
const GROUP: usize = 10;
/// Groups to take a median of, at least.
const LEAST: usize = 5;

/// How long to measure.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Length {
    /// For how long to time each system at each piece of work
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// How many times to do it, in groups of 10, instead of --seconds
    #[arg(long)]
    pub(crate) steps: Option<usize>,
}

impl Length {
    fn is_reached(self, groups: usize, since: Instant) -> bool {
        match self.steps {
            Some(steps) => groups * GROUP >= steps,
            None => groups >= LEAST && since.elapsed().as_secs_f64() >= self.seconds,
        }
    }

    /// As arguments of another program.
    pub(crate) fn arguments(self) -> Vec<String> {
        match self.steps {
            Some(steps) => vec!["--steps".into(), steps.to_string()],
            None => vec!["--seconds".into(), self.seconds.to_string()],
        }
    }
}

/// Milliseconds of the device that one piece of work takes: the median of the groups. `work` puts it on the GPU's
/// stream; it is done a fifth of the time before anything is timed, since first times make buffers and choose
/// algorithms. With a number of steps, it is done exactly as often everywhere.
pub(crate) fn milliseconds(
    gpu: &Gpu,
    length: Length,
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let stream = gpu.stream();
    let event = || {
        let timed = sys::CUevent_flags::CU_EVENT_DEFAULT;
        stream.context().new_event(Some(timed))
    };
    let (before, after) = (event()?, event()?);
    let mut group = || -> Result<f64, Box<dyn Error>> {
        before.record(stream)?;
        for _ in 0..GROUP {
            work()?;
        }
        after.record(stream)?;
        after.synchronize()?;
        Ok(f64::from(before.elapsed_ms(&after)?) / GROUP as f64)
    };

    let start = Instant::now();
    group()?;
    while length.steps.is_none() && start.elapsed().as_secs_f64() < length.seconds / 5.0 {
        group()?;
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while !length.is_reached(times.len(), start) {
        times.push(group()?);
    }
    Ok(median(times))
}
