//! What a trained network makes of the test set.

use crate::error::{Result, invalid};

/// What a trained network makes of the test set, as plain numbers. What is empty is not drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    /// The classes' names, by label.
    pub classes: Vec<String>,
    /// How often each class (row) was taken for each class (column).
    pub confusion: Vec<Vec<u64>>,
    /// Some pictures with what they were taken for. The first 100 are drawn.
    pub samples: Vec<Sample>,
    /// The kernels of the first layer.
    pub filters: Option<Filters>,
}

/// A picture and what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Channels, rows and columns. Three channels are red, green and blue, one is grey; of another number the first is
    /// drawn.
    pub shape: [usize; 3],
    /// The pixels, channel after channel.
    pub pixels: Vec<u8>,
    /// The predicted class.
    pub predicted: usize,
    /// The true class.
    pub label: usize,
}

/// The kernels of a convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Filters {
    /// Channels out and in, rows and columns. Kernels on three channels are drawn in colour, others channel by channel; the
    /// first 256 pictures of all.
    pub shape: [usize; 4],
    /// The weights, in this order.
    pub values: Vec<f32>,
}

impl Evaluation {
    /// Checks that lengths and classes fit each other.
    pub(super) fn check(&self) -> Result<()> {
        let classes = self.classes.len();
        let square = self.confusion.len() == classes
            && self.confusion.iter().all(|row| row.len() == classes);
        if !self.confusion.is_empty() && !square {
            let longest = self
                .confusion
                .iter()
                .map(Vec::len)
                .max()
                .unwrap_or_default();
            let found = format!("{} rows of up to {longest}", self.confusion.len());
            return Err(invalid(
                "Evaluation::confusion",
                found,
                format!("{classes}x{classes}, as there are classes"),
            ));
        }
        for (index, sample) in self.samples.iter().enumerate() {
            let [channels, rows, columns] = sample.shape;
            if product(&sample.shape) != Some(sample.pixels.len()) || sample.pixels.is_empty() {
                let found = format!("{} pixels for sample {index}", sample.pixels.len());
                let expected = format!("{channels}x{rows}x{columns}, and at least one");
                return Err(invalid("Sample::pixels", found, expected));
            }
            let largest = sample.predicted.max(sample.label);
            if largest >= classes {
                let found = format!("class {largest} for sample {index}");
                return Err(invalid(
                    "Evaluation::samples",
                    found,
                    format!("classes below {classes}"),
                ));
            }
        }
        match &self.filters {
            Some(filters)
                if product(&filters.shape) != Some(filters.values.len())
                    || filters.values.is_empty() =>
            {
                let found = format!("{} weights", filters.values.len());
                Err(invalid(
                    "Filters::values",
                    found,
                    format!("{:?}, and at least one", filters.shape),
                ))
            }
            _ => Ok(()),
        }
    }
}

fn product(shape: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |all, &length| all.checked_mul(length))
}
