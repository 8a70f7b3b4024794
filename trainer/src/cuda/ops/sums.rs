//! Sums over pixels, channel by channel, in the same order each time.

use cudarc::driver::{CudaViewMut, LaunchConfig, PushKernelArg};

use super::{check, count, run};
use crate::cuda::context::Context;
use crate::error::{Result, invalid};

/// Threads of a block.
const BLOCK: usize = 256;

/// Channels that a block has at most.
const LANES: usize = 32;

/// How many blocks there are at most, unless there are very many channels: a few for each processor of any GPU.
const BLOCKS: usize = 1024;

/// Pixels that are worth a thread.
const PIXELS: usize = 8;

/// Quantities that are summed up at once at most.
const QUANTITIES: usize = 3;

/// How many numbers of scratch memory the operations that sum up need, for this many channels.
pub(crate) fn scratch_len(channels: usize) -> usize {
    QUANTITIES * channels.max(BLOCKS * LANES)
}

/// How the sums of a batch are shared out among blocks of threads, as `kernels/sums.cuh` has it. It follows from the sizes
/// alone, and so does the order of additions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts {
    pub(super) pixels: u32,
    pub(super) channels: u32,
    /// Channels of a block.
    pub(super) lanes: u32,
    /// How many parts of a sum there are.
    pub(super) count: u32,
}

impl Parts {
    /// For this many numbers in all.
    pub(super) fn new(numbers: usize, channels: usize) -> Result<Self> {
        count("numbers of a batch", &[numbers])?;
        if channels == 0 || numbers == 0 || !numbers.is_multiple_of(channels) {
            let expected = format!("one or more for each of {channels} channels");
            return Err(invalid("numbers to sum up", numbers, expected));
        }
        let pixels = numbers / channels;
        let lanes = channels.next_power_of_two().min(LANES);
        let lines = BLOCK / lanes;
        let most = (BLOCKS / channels.div_ceil(lanes)).max(1);
        let count = pixels.div_ceil(PIXELS * lines).min(most);
        Ok(Self {
            pixels: pixels as u32,
            channels: channels as u32,
            lanes: lanes as u32,
            count: count as u32,
        })
    }

    /// Blocks of the kernel that makes the parts.
    pub(super) fn config(&self) -> LaunchConfig {
        // So many channels that there are too many blocks have no parts, and are no network.
        grid(self.count, self.channels.div_ceil(self.lanes))
    }

    /// Blocks of the kernel that adds up the parts of some quantities.
    pub(super) fn sum_config(&self, quantities: u32) -> LaunchConfig {
        grid(self.channels.div_ceil(LANES as u32), quantities)
    }

    /// An error if there is too little room for the parts.
    pub(super) fn check(&self, scratch: &CudaViewMut<'_, f32>) -> Result<()> {
        let needed = scratch_len(self.channels as usize);
        if scratch.len() >= needed {
            return Ok(());
        }
        Err(invalid(
            "scratch memory",
            scratch.len(),
            format!("{needed} numbers"),
        ))
    }

    /// Adds up the parts of `quantities`: `sums[quantity][channel]`.
    pub(super) fn sum(
        &self,
        context: &Context,
        quantities: u32,
        scratch: &CudaViewMut<'_, f32>,
        sums: &mut CudaViewMut<'_, f32>,
    ) -> Result<()> {
        self.check(scratch)?;
        check(
            "sums of channels",
            sums.len(),
            (quantities * self.channels) as usize,
        )?;
        let parts = scratch.as_view();
        let mut launch = context
            .gpu
            .stream()
            .launch_builder(context.kernel("sum_parts", "")?);
        launch
            .arg(&self.count)
            .arg(&self.channels)
            .arg(&parts)
            .arg(sums);
        // SAFETY: as `sum_parts` has them; the lengths were compared, and there are at most three quantities.
        unsafe { run(&mut launch, self.sum_config(quantities)) }
    }
}

fn grid(columns: u32, rows: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (columns, rows, 1),
        block_dim: (BLOCK as u32, 1, 1),
        shared_mem_bytes: 0,
    }
}
