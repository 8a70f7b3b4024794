//! A user's own operation.

use std::fmt;
use std::sync::Arc;

use crate::error::{BoxError, Result};
use crate::random::Random;
use crate::source::Shape;

/// What a [`map`](super::Transform::map) function gets: one sample's values, to be changed in place.
#[derive(Debug)]
pub struct MapSample<'a> {
    /// The values, CHW, as the operations before left them.
    pub pixels: &'a mut [f32],
    /// Their shape.
    pub shape: Shape,
    /// The sample's class.
    pub label: u32,
    /// The sample's index in its source.
    pub index: usize,
    /// The epoch.
    pub epoch: u64,
    /// Random numbers of this sample's own: the same for the same seed, epoch and sample.
    pub random: Random,
}

type Function = dyn Fn(MapSample<'_>) -> Result<(), BoxError> + Send + Sync;

#[derive(Clone)]
pub(super) struct Map(Arc<Function>);

impl Map {
    pub(super) fn new<F>(function: F) -> Self
    where
        F: Fn(MapSample<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        Self(Arc::new(function))
    }

    pub(super) fn call(&self, sample: MapSample<'_>) -> Result<(), BoxError> {
        (self.0)(sample)
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Map(..)")
    }
}
