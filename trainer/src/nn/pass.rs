//! What a layer must know about the moment.

/// One pass of one batch through a network: training or evaluation, and what random choices follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    training: bool,
    seed: u64,
    step: u64,
    first_row: usize,
    layer: usize,
}

impl Pass {
    /// Nothing is random, and nothing is learnt.
    pub fn evaluation() -> Self {
        Self {
            training: false,
            seed: 0,
            step: 0,
            first_row: 0,
            layer: 0,
        }
    }

    /// Training step `step`, counted over all epochs, on rows of a global batch that begin with row `first_row`.
    /// A dropped-out feature depends on the row of the global batch, so that the number of replicas doesn't matter.
    pub fn training(seed: u64, step: u64, first_row: usize) -> Self {
        Self {
            training: true,
            seed,
            step,
            first_row,
            layer: 0,
        }
    }

    /// The same pass in the layer at place `layer`.
    #[must_use]
    pub fn in_layer(self, layer: usize) -> Self {
        Self { layer, ..self }
    }

    /// A place for the layer at `place` inside of this pass' layer, which no other layer has.
    pub(crate) fn place_inside(&self, place: usize) -> usize {
        place_inside(self.layer, place)
    }

    /// Whether this is training.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// The training step, counted over all epochs.
    pub(crate) fn step(&self) -> u64 {
        self.step
    }

    /// The key of the random choices for the batch's row `row`.
    pub fn key(&self, row: usize) -> [u64; 4] {
        let row = self.first_row + row;
        [self.seed, self.step, self.layer as u64, row as u64]
    }
}

/// The place of the layer at place `inner` inside the one at place `outer`. Networks have less layers than 2¹⁶.
pub(crate) fn place_inside(outer: usize, inner: usize) -> usize {
    (outer + 1).wrapping_mul(1 << 16).wrapping_add(inner)
}
