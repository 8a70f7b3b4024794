//! Layers, and networks made of them.
//!
//! A [`Layer`] is a plain description; a [`Sequential`] holds what it learns. Shapes are `[channels, height, width]`
//! or `[features]`, without the batch, which is always the first dimension. A network of your own that is written
//! with candle alone is a [`Model`] too.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use feedline_trainer::nn::{Conv2d, Flatten, Linear, MaxPool2d, Model, Padding, Pass, Relu, Sequential};
//!
//! let network = Sequential::builder([1, 28, 28])
//!     .add(Conv2d::new(8, 3).padding(Padding::Same))
//!     .add(Relu)
//!     .add(MaxPool2d::new(2, 2))
//!     .add(Flatten)
//!     .add(Linear::new(10))
//!     .build(42, &Device::Cpu)?;
//! println!("{}", network.summary());
//!
//! let images = Tensor::zeros((5, 1, 28, 28), candle_core::DType::F32, &Device::Cpu)?;
//! let logits = network.forward(&images, &Pass::evaluation())?;
//! assert_eq!(logits.dims(), [5, 10]);
//! # Ok::<(), feedline_trainer::Error>(())
//! ```

mod batch_norm;
mod conv2d;
mod convolution;
mod dropout;
pub(crate) mod flat;
mod flatten;
pub(crate) mod geometry;
#[cfg(test)]
mod gradients;
mod layer;
mod linear;
mod loss;
mod max_pool2d;
mod model;
mod normalization;
#[cfg(test)]
mod on_tape;
pub(crate) mod pass;
pub(crate) mod pooling;
mod relu;
mod residual;
mod sequential;
mod storage;
mod summary;

pub use batch_norm::BatchNorm;
pub use conv2d::Conv2d;
pub use dropout::Dropout;
pub use flatten::Flatten;
pub use geometry::Padding;
pub use layer::{Initializer, Layer, ParameterShape};
pub use linear::Linear;
pub use loss::{Loss, cross_entropy, smoothed_cross_entropy};
pub use max_pool2d::MaxPool2d;
pub use model::{Model, Parameter};
pub use pass::Pass;
pub use relu::Relu;
pub use residual::Residual;
pub use sequential::{Sequential, SequentialBuilder};
pub use summary::Summary;
