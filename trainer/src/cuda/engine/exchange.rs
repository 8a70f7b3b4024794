//! What replicas do together while one of them computes.

use cudarc::driver::CudaSlice;

use crate::error::Result;

/// Sums numbers over all replicas while an [`Engine`](super::Engine) computes. `()` is for a replica that is alone.
///
/// What it queues on other streams it has to order against the GPU's own stream itself.
pub trait Exchange {
    /// The numbers of `sums` from `from` on are final, once what is queued is done: gradients in the device's order, and
    /// behind them the totals. It is called after each layer that has parameters, the last time with 0; each time with
    /// all of the buffer, whose first numbers are still to come.
    ///
    /// # Errors
    ///
    /// Whatever they are, the engine passes them on.
    fn ready(&mut self, sums: &mut CudaSlice<f32>, from: usize) -> Result<()>;

    /// Replaces the numbers by the sums over all replicas, in the order of the GPU's stream: for
    /// [synchronized](crate::nn::BatchNorm::synchronized) batch normalization.
    ///
    /// # Errors
    ///
    /// Whatever they are, the engine passes them on.
    fn sum(&mut self, numbers: &mut CudaSlice<f32>) -> Result<()>;
}

impl Exchange for () {
    fn ready(&mut self, _: &mut CudaSlice<f32>, _: usize) -> Result<()> {
        Ok(())
    }

    fn sum(&mut self, _: &mut CudaSlice<f32>) -> Result<()> {
        Ok(())
    }
}
