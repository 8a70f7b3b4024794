//! The network that learns to tell animals apart: small, as training is not to be what takes the time.

use candle_core::Device;
use feedline_trainer::Result;
use feedline_trainer::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Padding, Relu, Sequential,
};

/// Pixels of each side that a photograph is decoded to, and of what is cropped from it.
pub(crate) const DECODED: usize = 72;
pub(crate) const CROP: usize = 64;

/// Four convolutions, each of which sees twice as far as the one before.
pub(crate) fn network(classes: usize, seed: u64) -> Result<Sequential> {
    let mut network = Sequential::builder([3, CROP, CROP]);
    for filters in [8, 16, 32, 64] {
        network = network
            .add(Conv2d::new(filters, 3).padding(Padding::Same))
            .add(Relu)
            .add(MaxPool2d::new(2, 2))
            .add(BatchNorm::new());
    }
    network
        .add(Flatten)
        .add(Linear::new(64))
        .add(Relu)
        .add(Dropout::new(0.25))
        .add(Linear::new(classes))
        .build(seed, &Device::Cpu)
}
