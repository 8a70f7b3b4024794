//! What a sample becomes: from the bytes of its record to the numbers of its row in the batch.
//!
//! A [`Transform`] is a list of operations. Crops and flips come first, since they only say where a pixel is
//! read from. All other built-in operations are one multiplication and one addition per value, whose numbers are
//! folded together beforehand: so a list without [`map`](Transform::map) is one pass that reads each byte and
//! writes each value once, with a pass over the bytes before it for the means that contrast and standardize need.
//!
//! Random choices are keyed by (seed, epoch, sample index, place of the operation in the list). They do not
//! depend on workers, on the batch or on what happened before.

mod affine;
mod element;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod lowered;
mod map;
mod moments;
mod prepared;
mod program;
mod simd;
mod stage;
mod window;

pub use element::Element;
pub use map::MapSample;
pub use prepared::PreparedTransform;
pub(crate) use program::{Program, SampleKey, Scratch};

use serde::{Deserialize, Serialize};

use crate::error::{BoxError, Result};
use crate::source::Shape;
use map::Map;

/// The operations that turn a stored sample into a row of a batch, in order.
///
/// The values start as the stored bytes, `0.0..=255.0`.
///
/// ```
/// use feedline_pipeline::{Shape, Transform};
///
/// // What the CIFAR-10 literature calls standard augmentation.
/// let transform = Transform::new()
///     .random_crop(32, 32, 4)
///     .random_flip()
///     .scale()
///     .normalize([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
/// assert_eq!(transform.output_shape(Shape::new(3, 32, 32))?, Shape::new(3, 32, 32));
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
///
/// With serde a list without [`map`](Self::map) can be kept beside what was trained with it: in JSON the one above is
/// `[{"random_crop": {"height": 32, "width": 32, "padding": 4}}, "random_flip", "scale", …]`. What is read is checked where
/// it is used, as every list is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Transform {
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Operation {
    RandomCrop {
        height: usize,
        width: usize,
        padding: usize,
    },
    CenterCrop {
        height: usize,
        width: usize,
    },
    RandomFlip,
    Scale,
    Normalize {
        mean: Vec<f32>,
        std: Vec<f32>,
    },
    RandomBrightness {
        max_delta: f32,
    },
    RandomContrast {
        low: f32,
        high: f32,
    },
    Standardize,
    /// A function can't be written down: to serialize it is an error.
    #[serde(skip)]
    Map(Map),
}

impl Transform {
    /// No operation: the stored bytes as numbers from 0 to 255.
    pub fn new() -> Self {
        Self::default()
    }

    /// Surrounds the picture with `padding` rows and columns of zero bytes, and cuts out `height` × `width`
    /// pixels at a random place.
    #[must_use]
    pub fn random_crop(self, height: usize, width: usize, padding: usize) -> Self {
        self.then(Operation::RandomCrop {
            height,
            width,
            padding,
        })
    }

    /// Cuts out the middle `height` × `width` pixels: the usual counterpart of
    /// [`random_crop`](Self::random_crop) for evaluation.
    #[must_use]
    pub fn center_crop(self, height: usize, width: usize) -> Self {
        self.then(Operation::CenterCrop { height, width })
    }

    /// Mirrors left and right with a probability of one half.
    #[must_use]
    pub fn random_flip(self) -> Self {
        self.then(Operation::RandomFlip)
    }

    /// Divides by 255: bytes become numbers from 0 to 1.
    #[must_use]
    pub fn scale(self) -> Self {
        self.then(Operation::Scale)
    }

    /// `(value - mean) / std`, with one mean and one standard deviation per channel, in the units that the
    /// values have at this point of the list: behind [`scale`](Self::scale), means between 0 and 1.
    #[must_use]
    pub fn normalize(self, mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Self {
        self.then(Operation::Normalize {
            mean: mean.into(),
            std: std.into(),
        })
    }

    /// Adds one random number from `-max_delta..max_delta` to all values of a sample (as
    /// `tf.image.random_brightness` does).
    #[must_use]
    pub fn random_brightness(self, max_delta: f32) -> Self {
        self.then(Operation::RandomBrightness { max_delta })
    }

    /// Moves each value away from its channel's mean by one random factor from `low..high` (as
    /// `tf.image.random_contrast` does).
    #[must_use]
    pub fn random_contrast(self, low: f32, high: f32) -> Self {
        self.then(Operation::RandomContrast { low, high })
    }

    /// Gives each sample mean 0 and standard deviation 1 over all its values. The deviation is taken as at
    /// least `1 / sqrt(values)`, so that an even picture becomes zeros (as `tf.image.per_image_standardization`
    /// does).
    #[must_use]
    pub fn standardize(self) -> Self {
        self.then(Operation::Standardize)
    }

    /// A function of your own that changes a sample's values in place.
    ///
    /// An error that it returns, or a panic, reaches whoever iterates over the batches, with the sample's index.
    ///
    /// ```
    /// use feedline_pipeline::Transform;
    ///
    /// let invert = Transform::new().scale().map(|sample| {
    ///     sample.pixels.iter_mut().for_each(|value| *value = 1.0 - *value);
    ///     Ok(())
    /// });
    /// ```
    #[must_use]
    pub fn map<F>(self, function: F) -> Self
    where
        F: Fn(MapSample<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        self.then(Operation::Map(Map::new(function)))
    }

    /// The shape that samples of shape `input` get.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the operations do not fit the shape or each
    /// other: a crop larger than the padded picture, a second crop, a crop or flip behind an operation on
    /// values, not one mean and deviation per channel, a deviation that is not positive, a range that is empty.
    pub fn output_shape(&self, input: Shape) -> Result<Shape> {
        Ok(Program::<f32>::new(self, input)?.output_shape())
    }

    fn then(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }
}

impl Operation {
    fn name(&self) -> &'static str {
        match self {
            Self::RandomCrop { .. } => "random_crop",
            Self::CenterCrop { .. } => "center_crop",
            Self::RandomFlip => "random_flip",
            Self::Scale => "scale",
            Self::Normalize { .. } => "normalize",
            Self::RandomBrightness { .. } => "random_brightness",
            Self::RandomContrast { .. } => "random_contrast",
            Self::Standardize => "standardize",
            Self::Map(_) => "map",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_written_down_is_read_as_it_was() {
        let all = Transform::new()
            .random_crop(24, 20, 4)
            .center_crop(16, 16)
            .random_flip()
            .scale()
            .random_brightness(63.0 / 255.0)
            .random_contrast(0.2, 1.8)
            .normalize([0.4914, 0.4822, 0.1], [0.2470, 1e-9, f32::MAX])
            .standardize();
        let text = serde_json::to_string(&all).unwrap();
        assert!(
            text.starts_with(r#"[{"random_crop":{"height":24"#),
            "{text}"
        );
        let read: Transform = serde_json::from_str(&text).unwrap();
        assert_eq!(format!("{read:?}"), format!("{all:?}"));
    }

    #[test]
    fn a_function_of_ones_own_is_not_lost_in_silence() {
        let transform = Transform::new().scale().map(|_| Ok(()));
        assert!(serde_json::to_string(&transform).is_err());
        let unknown: Result<Transform, _> = serde_json::from_str(r#"["scale", "Map"]"#);
        assert!(unknown.is_err());
    }
}
