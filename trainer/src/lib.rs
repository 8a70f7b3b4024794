//! Data-parallel training of networks on candle, fed by `feedline-pipeline`.
//!
//! A [`Trainer`] builds one copy of a network per replica. In each step every replica reads its shard of the global
//! batch, computes gradients, sums them with the others' and makes the same update. Seeds decide everything else, so a
//! run repeats to the bit, and the number of replicas changes its speed and, rounding aside, nothing else.
//!
//! ```
//! use feedline_pipeline::Transform;
//! use feedline_pipeline::dataset::Generated;
//! use feedline_trainer::nn::{Conv2d, Flatten, Linear, MaxPool2d, Relu, Sequential};
//! use feedline_trainer::{Input, Replicas, Trainer};
//!
//! let data = Generated::open(500, 100)?;
//! let transform = Transform::new().scale();
//! let fitted = Trainer::new(|device| {
//!     Sequential::builder([3, 32, 32])
//!         .add(Conv2d::new(4, 5))
//!         .add(Relu)
//!         .add(MaxPool2d::new(4, 4))
//!         .add(Flatten)
//!         .add(Linear::new(10))
//!         .build(42, device)
//! })
//! .epochs(1)
//! .batch_size(50)
//! .replicas(Replicas::cpu(2)?)
//! .progress(false)
//! .fit(
//!     Input::new(data.train, transform.clone()),
//!     Some(Input::new(data.test, transform)),
//! )?;
//! println!("{}", fitted.history);
//! assert_eq!(fitted.history.epochs[0].train.samples, 500);
//! # Ok::<(), feedline_trainer::Error>(())
//! ```
//!
//! Each module can be used by itself:
//!
//! | module | what it has |
//! |---|---|
//! | [`fit`] | the training loop: [`Trainer`], and what it returns |
//! | [`inference`] | predictions for pictures, and weights in PyTorch's and Keras' layouts |
//! | [`checkpoint`] | what a run needs to go on after it was stopped, in a folder; and the weights in it |
//! | [`nn`] | layers, networks made of them, and the trait [`Model`](nn::Model) for one of your own |
//! | [`engine`] | what trains a [`Sequential`](nn::Sequential) on the CPU: for a training loop of your own |
//! | [`models`] | networks that are ready to train |
//! | [`optim`] | Adam, SGD and Muon, the trait [`Optimizer`](optim::Optimizer), and schedules of the learning rate |
//! | [`parallel`] | [`Replicas`]: the same code on several devices, each with its own threads |
//! | [`collective`] | how replicas talk: sums, broadcasts and barriers that fail instead of hanging, and sums of gradients while they are still computed |
//! | [`launch`] | what torchrun, Slurm and Open MPI say about a process that they started |
//! | [`rendezvous`] | how such processes find each other, and notice who fails |
//! | [`run`] | a folder that shows what a run has done: metrics, TensorBoard's curves, pictures, a report |
//! | `cuda` | with the feature `cuda`: what trains a [`Sequential`](nn::Sequential) on an NVIDIA GPU |
//!
//! Features, all off by default: `report` (pictures and a report of a run); `cuda` (networks on GPUs), `cudnn` (with
//! convolutions) and `nccl` (replicas on all GPUs), which need the CUDA toolkit to build.

mod error;

pub mod checkpoint;
pub mod collective;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod engine;
pub mod fit;
pub mod inference;
mod kernel;
pub mod launch;
pub mod models;
pub mod nn;
pub mod optim;
pub mod parallel;
mod precision;
pub mod rendezvous;
mod replace;
pub mod run;

pub use error::{Error, Result};
pub use fit::{Input, Trainer};
pub use parallel::Replicas;
pub use precision::Precision;
pub use replace::replace_file;
