//! What is trained: a network, and what is done to its pictures.

use std::num::NonZeroUsize;

use candle_core::Device;
use clap::{Args, ValueEnum};
use feedline_pipeline::Transform;
use feedline_pipeline::dataset::{Cifar10, Dataset};
use feedline_trainer::nn::Sequential;
use feedline_trainer::{Error, Result, models};
use serde::{Deserialize, Serialize};

use crate::numbers::at_least_one;
use crate::own::Kind;
use crate::training::ScheduleName;

/// The classes of the sets in MNIST's format.
const TEN: usize = 10;

/// The widest [`Network::Resnet9`]: twice as wide no longer fits into most machines' memory.
const WIDEST: usize = 1024;

/// A network by name, as it is written down with a run: [`build`](Self::build) makes it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Network {
    /// [`models::softmax`].
    Softmax,
    /// [`models::mnist_cnn`].
    MnistCnn {
        /// Share of features that dropout drops in training.
        dropout: f32,
    },
    /// [`models::cifar_cnn`].
    CifarCnn {
        /// Share of features that each dropout drops in training.
        dropout: f32,
    },
    /// [`models::resnet9`].
    Resnet9 {
        /// Filters of the first layer.
        width: usize,
    },
    /// A network that a program has written itself.
    Own {
        /// What the program calls it.
        title: String,
    },
}

impl Network {
    /// Builds the network with fresh weights, for pictures of so many classes.
    ///
    /// ```
    /// use feedline::recipe::Network;
    ///
    /// let network = Network::Resnet9 { width: 32 };
    /// let network = network.build(100, 42, &candle_core::Device::Cpu)?;
    /// assert_eq!(network.summary().parameters(), 1_672_612);
    /// # Ok::<(), feedline_trainer::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidModel`] for settings that can't work, and for a network that only its own program can build.
    pub fn build(&self, classes: usize, seed: u64, device: &Device) -> Result<Sequential> {
        match self {
            Self::Softmax | Self::MnistCnn { .. } if classes != TEN => Err(Error::InvalidModel {
                layer: "the network".into(),
                reason: format!("it is for {TEN} classes, the pictures have {classes}"),
            }),
            Self::Softmax => models::softmax(seed, device),
            Self::MnistCnn { dropout } => models::mnist_cnn(*dropout, seed, device),
            Self::CifarCnn { dropout } => models::cifar_cnn_for(classes, *dropout, seed, device),
            Self::Resnet9 { width } if *width > WIDEST => Err(Error::InvalidModel {
                layer: "resnet9".into(),
                reason: format!("the width is {width}, expected at most {WIDEST}"),
            }),
            Self::Resnet9 { width } => models::resnet9_for(classes, *width, seed, device),
            Self::Own { title } => Err(Error::InvalidModel {
                layer: title.clone(),
                reason:
                    "a network that a program has written itself; only that program can build it"
                        .into(),
            }),
        }
    }
}

/// A network, what is done to its pictures, and how it is trained unless told otherwise.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The network.
    pub network: Network,
    /// What is done to pictures to train on.
    pub train: Transform,
    /// What is done to pictures to test on, and to those that are predicted.
    pub test: Transform,
    /// Whether what goes beyond the network's proportions is cut off pictures that are predicted, as it is of a folder's
    /// own; else they are squashed.
    pub cropped: bool,
    /// Epochs.
    pub epochs: u64,
    /// Rows of a batch.
    pub batch_size: usize,
    /// The learning rate, if it is not the optimizer's usual one.
    pub learning_rate: Option<f32>,
    /// The schedule.
    pub schedule: ScheduleName,
}

impl Recipe {
    /// The network with pictures changed by these transforms, trained for an epoch in batches of 32.
    pub fn new(network: Network, train: Transform, test: Transform) -> Self {
        Self {
            network,
            train,
            test,
            cropped: false,
            epochs: 1,
            batch_size: 32,
            learning_rate: None,
            schedule: ScheduleName::Constant,
        }
    }

    /// Softmax regression on pictures like MNIST's.
    pub fn softmax() -> Self {
        Self::of_digits(Network::Softmax)
    }

    /// A small convolutional network on pictures like MNIST's.
    pub fn mnist_cnn(dropout: f32) -> Self {
        Self::of_digits(Network::MnistCnn { dropout })
    }

    fn of_digits(network: Network) -> Self {
        let scaled = Transform::new().scale();
        Self {
            epochs: 5,
            ..Self::new(network, scaled.clone(), scaled)
        }
    }

    /// A convolutional network on crops of 24×24 pixels of pictures like CIFAR-10's.
    pub fn cifar_cnn(options: &CifarCnn) -> Self {
        let dropout = options.dropout;
        let [train, test] = options.augmentation.transforms();
        Self {
            epochs: 4,
            batch_size: 128,
            ..Self::new(Network::CifarCnn { dropout }, train, test)
        }
    }

    /// A residual network on pictures like CIFAR-10's, padded by 4 pixels and cropped, half of them mirrored.
    pub fn resnet9(options: &Resnet9) -> Self {
        let width = options.width;
        let normalize =
            |values: Transform| values.normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION);
        let augmented = Transform::new()
            .random_crop(32, 32, 4)
            .random_flip()
            .scale();
        let plain = Transform::new().scale();
        Self {
            epochs: 12,
            batch_size: 128,
            learning_rate: Some(0.008),
            schedule: ScheduleName::OneCycle,
            ..Self::new(
                Network::Resnet9 { width },
                normalize(augmented),
                normalize(plain),
            )
        }
    }

    /// What builds the network for a data set on any device, as [`Trainer::new`](feedline_trainer::Trainer::new) takes it.
    pub fn model(
        &self,
        dataset: &Dataset,
        seed: u64,
    ) -> impl Fn(&Device) -> Result<Sequential> + Send + Sync + use<> {
        let (network, classes) = (self.network.clone(), dataset.class_names.len());
        move |device| network.build(classes, seed, device)
    }

    /// The recipe for a set of the user's own, which may have fewer pictures than a batch.
    #[must_use]
    pub fn for_own(mut self, kind: Kind, dataset: &Dataset) -> Self {
        self.cropped = kind == Kind::Images;
        self.batch_size = self.batch_size.min(dataset.train.len());
        self
    }

    /// The recipe for the few pictures of the generated set.
    #[must_use]
    pub fn for_generated(mut self) -> Self {
        match self.network {
            Network::CifarCnn { .. } => self.batch_size = 64,
            Network::Resnet9 { .. } => self.epochs = 2,
            _ => {}
        }
        self
    }
}

/// Options of [`Recipe::cifar_cnn`].
#[derive(Args, Debug, Clone)]
pub struct CifarCnn {
    /// How training pictures are changed, each time in another way
    #[arg(long, value_enum, default_value_t)]
    pub augmentation: Augmentation,
    /// Share of features that each dropout drops in training, from 0 to below 1; against learning pictures by heart
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 0.5,
        allow_negative_numbers = true
    )]
    pub dropout: f32,
}

/// Options of [`Recipe::resnet9`].
#[derive(Args, Debug, Clone)]
pub struct Resnet9 {
    /// Filters of the first layer; the last ones have eight times as many. Twice as wide takes four times as long
    #[arg(long, value_name = "N", default_value_t = 32, allow_negative_numbers = true,
        value_parser = |text: &str| at_least_one::<NonZeroUsize>(text).map(usize::from))]
    pub width: usize,
}

/// Ways to change pictures, by name.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Augmentation {
    /// Crops of 24×24 pixels, half of them mirrored
    #[default]
    Flip,
    /// The same with other brightness and contrast, each picture then standardized: that of TensorFlow's CIFAR-10 tutorial
    Color,
}

impl Augmentation {
    /// What is done to pictures to train on, and to those to test on.
    fn transforms(self) -> [Transform; 2] {
        let train = Transform::new()
            .random_crop(24, 24, 0)
            .random_flip()
            .scale();
        let test = Transform::new().center_crop(24, 24).scale();
        match self {
            Self::Flip => [train, test]
                .map(|values| values.normalize(Cifar10::MEAN, Cifar10::STANDARD_DEVIATION)),
            Self::Color => {
                let train = train
                    .random_brightness(63.0 / 255.0)
                    .random_contrast(0.2, 1.8);
                [train, test].map(Transform::standardize)
            }
        }
    }
}
