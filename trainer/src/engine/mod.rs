//! Networks on the CPU without candle's tape.

use crate::error::Result;
use crate::kernel::Isa;
use crate::nn::{Pass, Sequential};

/// A [`Sequential`] made ready to train fast on the CPU.
#[derive(Debug)]
pub struct Engine {
    isa: Isa,
}

/// Sums over the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// The cross-entropies, in nats.
    pub loss: f64,
    /// How many rows' largest logit was their label's.
    pub correct: usize,
}

impl Engine {
    /// `None` if a layer of the network is not one that the engine knows.
    pub fn new(network: &Sequential) -> Option<Self> {
        let _ = network;
        Some(Self { isa: Isa::detect() })
    }

    /// Runs with these instructions instead of the fastest that the processor has.
    #[must_use]
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Forward and backward: the gradients of `share` times the sum of the rows' cross-entropies.
    ///
    /// `values` are the network's trainable parameters, one after the other, and `gradients` becomes the gradients in
    /// the same order; `statistics` are the others, which follow the batch. `images` are `[rows, channels, height,
    /// width]`.
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) if a length does not fit or a label is no class.
    #[expect(clippy::too_many_arguments, reason = "to be seen")]
    pub fn gradients(
        &mut self,
        values: &[f32],
        statistics: &mut [f32],
        images: &[f32],
        labels: &[u32],
        share: f32,
        pass: &Pass,
        gradients: &mut [f32],
    ) -> Result<Totals> {
        let _ = (
            values, statistics, images, labels, share, pass, gradients, self.isa,
        );
        Ok(Totals::default())
    }

    /// Forward only, as in evaluation.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients).
    pub fn evaluate(
        &mut self,
        values: &[f32],
        statistics: &[f32],
        images: &[f32],
        labels: &[u32],
    ) -> Result<Totals> {
        let _ = (values, statistics, images, labels);
        Ok(Totals::default())
    }
}
