//! Data-parallel training of networks on candle, fed by `feedline-pipeline`.

mod error;

pub mod collective;
pub mod nn;
pub mod parallel;

pub use error::{Error, Result};
