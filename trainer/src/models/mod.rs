//! Networks that are ready to train. [`softmax`], [`mnist_cnn`] and [`cifar_cnn`] are those of a university course, where
//! they were written in TensorFlow: same layers, same numbers of parameters. [`resnet9`] learns CIFAR-10 fast.

use candle_core::Device;

use crate::error::Result;
use crate::nn::{
    BatchNorm, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Padding, Relu, Residual, Sequential,
    SequentialBuilder,
};

/// Softmax regression on MNIST's pictures: 7,850 parameters.
///
/// ```
/// let model = feedline_trainer::models::softmax(1, &candle_core::Device::Cpu)?;
/// assert_eq!(model.summary().parameters(), 7_850);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Candle`](crate::Error::Candle) if `device` can't hold it.
pub fn softmax(seed: u64, device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 28, 28])
        .add(Flatten)
        .add(Linear::new(10))
        .build(seed, device)
}

/// A small convolutional network for MNIST's pictures: 93,322 parameters.
///
/// ```
/// let model = feedline_trainer::models::mnist_cnn(0.5, 1, &candle_core::Device::Cpu)?;
/// assert_eq!(model.summary().parameters(), 93_322);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidModel`](crate::Error::InvalidModel) if `dropout` is no rate;
/// [`Error::Candle`](crate::Error::Candle) if `device` can't hold it.
pub fn mnist_cnn(dropout: f32, seed: u64, device: &Device) -> Result<Sequential> {
    Sequential::builder([1, 28, 28])
        .add(Conv2d::new(32, 3))
        .add(Relu)
        .add(MaxPool2d::new(2, 2))
        .add(Conv2d::new(64, 3))
        .add(Relu)
        .add(MaxPool2d::new(2, 2))
        .add(Conv2d::new(64, 3))
        .add(Relu)
        .add(Flatten)
        .add(Linear::new(64))
        .add(Relu)
        .add(Dropout::new(dropout))
        .add(Linear::new(10))
        .build(seed, device)
}

/// A convolutional network for crops of 24×24 pixels of CIFAR-10's pictures: 1,068,810 parameters, 256 of which are
/// running statistics.
///
/// ```
/// let model = feedline_trainer::models::cifar_cnn(0.5, 1, &candle_core::Device::Cpu)?;
/// assert_eq!(model.summary().parameters(), 1_068_810);
/// assert_eq!(model.summary().not_trainable(), 256);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// As [`mnist_cnn`].
pub fn cifar_cnn(dropout: f32, seed: u64, device: &Device) -> Result<Sequential> {
    cifar_cnn_for(10, dropout, seed, device)
}

/// As [`cifar_cnn`], for pictures of so many classes, such as CIFAR-100's.
///
/// # Errors
///
/// As [`mnist_cnn`], and [`Error::InvalidModel`](crate::Error::InvalidModel) if `classes` is 0.
pub fn cifar_cnn_for(
    classes: usize,
    dropout: f32,
    seed: u64,
    device: &Device,
) -> Result<Sequential> {
    let mut network = Sequential::builder([3, 24, 24]);
    for _ in 0..2 {
        network = network
            .add(Conv2d::new(64, 5).padding(Padding::Same))
            .add(Relu)
            .add(MaxPool2d::new(3, 2).padding(Padding::Same))
            .add(BatchNorm::new());
    }
    network = network.add(Flatten);
    for outputs in [384, 192] {
        network = network
            .add(Linear::new(outputs))
            .add(Relu)
            .add(Dropout::new(dropout));
    }
    network.add(Linear::new(classes)).build(seed, device)
}

/// A residual network for CIFAR-10's pictures, padded and cropped to 32×32 pixels: that of David Page's ["How to Train
/// Your ResNet"](https://myrtle.ai/learn/how-to-train-your-resnet/), with max-pools right behind their convolutions,
/// where they cost next to nothing. `width` filters in the first layer become `2·width`, `4·width` and `8·width`; Page's
/// width is 64. Half of it has 1,649,482 parameters, 2,240 of which are running statistics.
///
/// ```
/// let model = feedline_trainer::models::resnet9(32, 1, &candle_core::Device::Cpu)?;
/// assert_eq!(model.summary().parameters(), 1_649_482);
/// assert_eq!(model.summary().not_trainable(), 2_240);
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidModel`](crate::Error::InvalidModel) if `width` is 0;
/// [`Error::Candle`](crate::Error::Candle) if `device` can't hold it.
pub fn resnet9(width: usize, seed: u64, device: &Device) -> Result<Sequential> {
    resnet9_for(10, width, seed, device)
}

/// As [`resnet9`], for pictures of so many classes, such as CIFAR-100's.
///
/// # Errors
///
/// As [`resnet9`], also if `classes` is 0.
pub fn resnet9_for(classes: usize, width: usize, seed: u64, device: &Device) -> Result<Sequential> {
    let convolution = |filters| Conv2d::new(filters, 3).padding(Padding::Same);
    let residual = |filters| {
        let mut residual = Residual::new();
        for _ in 0..2 {
            let layer = residual.add(convolution(filters));
            residual = layer.add(BatchNorm::new()).add(Relu);
        }
        residual
    };
    let pooled = |network: SequentialBuilder, filters| {
        let network = network.add(convolution(filters));
        let network = network.add(MaxPool2d::new(2, 2));
        network.add(BatchNorm::new()).add(Relu)
    };
    let network = Sequential::builder([3, 32, 32])
        .add(convolution(width))
        .add(BatchNorm::new())
        .add(Relu);
    let network = pooled(network, 2 * width).add(residual(2 * width));
    let network = pooled(network, 4 * width);
    let network = pooled(network, 8 * width).add(residual(8 * width));
    network
        .add(MaxPool2d::new(4, 4))
        .add(Flatten)
        .add(Linear::new(classes))
        .build(seed, device)
}
