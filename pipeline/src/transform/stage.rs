//! Operations on values that follow each other, folded into one multiplication and one addition per value.
//!
//! Scale, normalize, brightness, contrast and standardize all move the values of a channel along a line. Where it
//! lies depends on random numbers and on the mean and variance of the sample's channels, which change along the
//! same line. So however many of them there are, a sample is gone through once for its moments, if need be, and
//! once to be written.

use super::affine::Line;
use super::moments::Moments;
use super::program::SampleKey;

/// One operation, its numbers checked.
#[derive(Debug)]
pub(super) enum ValueOperation {
    /// A line for each channel.
    Lines(Vec<Line>),
    Brightness {
        max_delta: f32,
    },
    Contrast {
        low: f32,
        high: f32,
    },
    Standardize,
}

/// Operations that follow each other, each with its place in the user's list.
#[derive(Debug, Default)]
pub(super) struct Stage {
    operations: Vec<(usize, ValueOperation)>,
}

impl Stage {
    pub(super) fn push(&mut self, place: usize, operation: ValueOperation) {
        self.operations.push((place, operation));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Whether all samples share the same lines.
    pub(super) fn is_constant(&self) -> bool {
        let lines = |operation: &ValueOperation| matches!(operation, ValueOperation::Lines(_));
        self.operations
            .iter()
            .all(|(_, operation)| lines(operation))
    }

    /// Whether the lines depend on the moments of a sample's channels.
    pub(super) fn needs_moments(&self) -> bool {
        let needs = |operation: &ValueOperation| {
            matches!(
                operation,
                ValueOperation::Contrast { .. } | ValueOperation::Standardize
            )
        };
        self.operations
            .iter()
            .any(|(_, operation)| needs(operation))
    }

    /// The operations, in order.
    pub(super) fn operations(&self) -> impl ExactSizeIterator<Item = &ValueOperation> {
        self.operations.iter().map(|(_, operation)| operation)
    }

    /// One number for each operation: what it draws for the sample of `key`, or 0.
    pub(super) fn draw(&self, key: SampleKey) -> impl Iterator<Item = f32> {
        self.operations
            .iter()
            .map(move |(place, operation)| match operation {
                ValueOperation::Brightness { max_delta } => {
                    key.random(*place).uniform(-max_delta, *max_delta)
                }
                ValueOperation::Contrast { low, high } => key.random(*place).uniform(*low, *high),
                ValueOperation::Lines(_) | ValueOperation::Standardize => 0.0,
            })
    }

    /// Writes one line per channel into `lines`, with the numbers that were [drawn](Self::draw). `moments` are those
    /// before this stage, of channels of `plane` values; they matter only if [`needs_moments`](Self::needs_moments).
    pub(super) fn fold(
        &self,
        drawn: impl Iterator<Item = f32>,
        moments: &[Moments],
        plane: usize,
        lines: &mut [Line],
    ) {
        lines.fill(Line::IDENTITY);
        for (operation, drawn) in self.operations().zip(drawn) {
            match operation {
                ValueOperation::Lines(next) => {
                    for (line, next) in lines.iter_mut().zip(next) {
                        *line = line.then(*next);
                    }
                }
                ValueOperation::Brightness { .. } => {
                    for line in &mut *lines {
                        line.offset += f64::from(drawn);
                    }
                }
                ValueOperation::Contrast { .. } => {
                    let factor = f64::from(drawn);
                    for (line, moments) in lines.iter_mut().zip(moments) {
                        let mean = line.apply(moments.mean);
                        *line = line.then(Line::around(mean, factor, mean));
                    }
                }
                ValueOperation::Standardize => standardize(lines, moments, plane),
            }
        }
    }
}

/// Mean 0 and standard deviation 1 over all channels; the deviation counts as at least `1 / sqrt(values)`.
fn standardize(lines: &mut [Line], moments: &[Moments], plane: usize) {
    let channels = lines.len() as f64;
    let each = || lines.iter().zip(moments);
    let mean = each().map(|(line, own)| line.apply(own.mean)).sum::<f64>() / channels;
    // Within the channels, and between them.
    let spread = |(line, own): (&Line, &Moments)| {
        line.factor.powi(2) * own.variance + (line.apply(own.mean) - mean).powi(2)
    };
    let variance = each().map(spread).sum::<f64>() / channels;
    let least = 1.0 / (plane as f64 * channels).sqrt();
    let next = Line::around(mean, 1.0 / variance.sqrt().max(least), 0.0);
    for line in lines {
        *line = line.then(next);
    }
}
