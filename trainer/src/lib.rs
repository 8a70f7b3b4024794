//! Data-parallel training of networks on candle, fed by `feedline-pipeline`.

mod error;

pub mod collective;
pub mod fit;
pub mod models;
pub mod nn;
pub mod optim;
pub mod parallel;

pub use error::{Error, Result};
