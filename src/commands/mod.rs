//! The subcommands, one a file, and what they share.

pub(crate) mod bench;
pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod export;
mod output;
pub(crate) mod predict;
mod preview;
pub(crate) mod report;
pub(crate) mod train;

pub(crate) use output::{Output, count, loading, text};

use std::path::PathBuf;

use clap::ValueEnum;
use feedline::data::DataName;
use feedline::recipe::{CifarCnn, Resnet9};
use feedline::{Error, Recipe, Result};
use feedline_pipeline::Shape;
use feedline_pipeline::dataset::Dataset;

/// Where data sets are looked for that are named without a folder.
fn usual_folder() -> PathBuf {
    std::env::var_os("FEEDLINE_DATA").map_or("data".into(), PathBuf::from)
}

/// The networks, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelName {
    /// Softmax regression on pictures like MNIST's: 7,850 parameters, seconds an epoch, about 92.5 % on MNIST
    Softmax,
    /// A convolutional network on pictures like MNIST's: 93,322 parameters, about 99 % on MNIST
    MnistCnn,
    /// A convolutional network on crops of 24×24 pixels of pictures like CIFAR-10's: 1,068,810 parameters
    CifarCnn,
    /// A residual network on pictures like CIFAR-10's: 1,649,482 parameters at its usual width
    Resnet9,
}

impl ModelName {
    /// The data set that the network was made for.
    fn usual_data(self) -> DataName {
        match self {
            Self::Softmax | Self::MnistCnn => DataName::Mnist,
            Self::CifarCnn | Self::Resnet9 => DataName::Cifar10,
        }
    }

    /// Refuses a data set whose pictures the network does not take.
    fn check(self, dataset: &Dataset) -> Result<()> {
        let shape = dataset.train.shape();
        let (fits, expected, other) = match self {
            Self::Softmax | Self::MnistCnn => (
                shape == Shape::new(1, 28, 28),
                "1x28x28, as MNIST's",
                "cifar-cnn and resnet9 take larger ones in colour",
            ),
            Self::CifarCnn => (
                shape.channels == 3 && shape.height >= 24 && shape.width >= 24,
                "3x24x24 or larger, as CIFAR-10's",
                "softmax and mnist-cnn take those of MNIST",
            ),
            Self::Resnet9 => (
                shape == Shape::new(3, 32, 32),
                "3x32x32, as CIFAR-10's",
                "softmax and mnist-cnn take those of MNIST",
            ),
        };
        match fits {
            true => Ok(()),
            false => Err(Error::Usage(format!(
                "the network is for pictures of {expected}; {} has {shape}: {other}",
                dataset.name
            ))),
        }
    }

    /// What to train, with the options of those that have some. Both kinds of dropout are one option.
    fn recipe(self, cifar_cnn: &CifarCnn, resnet9: &Resnet9) -> Recipe {
        match self {
            Self::Softmax => Recipe::softmax(),
            Self::MnistCnn => Recipe::mnist_cnn(cifar_cnn.dropout),
            Self::CifarCnn => Recipe::cifar_cnn(cifar_cnn),
            Self::Resnet9 => Recipe::resnet9(resnet9),
        }
    }

    /// Whether the network has the option with this name.
    fn has(self, option: &str) -> bool {
        match option {
            "augmentation" => self == Self::CifarCnn,
            "dropout" => matches!(self, Self::MnistCnn | Self::CifarCnn),
            "width" => self == Self::Resnet9,
            _ => true,
        }
    }
}
