//! What the command `feedline` and the examples share: data sets by name, networks that are ready to train with what is
//! done to their pictures, and a training run from its options to its report.
//!
//! To use Feedline in a program of your own, depend on `feedline-pipeline` and, for its training loop, on
//! `feedline-trainer`: this package is not published.
//!
//! | module | what it has |
//! |---|---|
//! | [`data`] | the data sets by name, and how the command line names them |
//! | [`own`] | pictures of one's own, from a folder |
//! | [`recipe`] | what is trained: a network, and the transforms of its pictures |
//! | [`training`] | the options of every training program, and the run that they describe |
//! | [`config`] | what is kept of a run's settings, so that its network can be used later |
//! | [`watching`] | what the libraries say while they work, and traces of when they do what |
//! | [`numbers`] | whole numbers on the command line |

pub mod config;
mod console;
pub mod data;
mod error;
pub mod numbers;
pub mod own;
pub mod recipe;
pub mod training;
pub mod watching;

pub use console::{is_first, print, print_once, report, say};
pub use error::{Error, Result};
pub use recipe::Recipe;
pub use training::Training;
pub use watching::Watching;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Compiles the example of the page about several processes.
#[cfg(doctest)]
#[doc = include_str!("../docs/processes.md")]
mod processes {}
