//! A transform outside of a loader.

use super::{Program, SampleKey, Scratch, Transform};
use crate::error::{Error, Result, invalid};
use crate::source::{Sample, Shape};

/// A [`Transform`] that is applied to one sample at a time, without a loader: for a loop of one's own, for a look at what
/// an augmentation does, or for a single picture. Made by [`Transform::prepare`].
///
/// A sample becomes what it becomes in a loader with the same seed, to the bit.
///
/// ```
/// use feedline_pipeline::{Sample, Shape, Transform};
///
/// let grey = Shape::new(1, 2, 2);
/// let mut transform = Transform::new().random_flip().scale().prepare(grey, 7)?;
/// let sample = Sample { pixels: &[0, 255, 0, 255], label: 1 };
/// let mut values = vec![0.0; transform.output_shape().elements()];
/// // Sample 12 of its source, in the first epoch.
/// transform.apply(sample, 0, 12, &mut values)?;
/// assert!(values == [0.0, 1.0, 0.0, 1.0] || values == [1.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug)]
pub struct PreparedTransform {
    program: Program,
    scratch: Scratch,
    seed: u64,
}

impl Transform {
    /// Makes the transform ready for samples of shape `input`, whose random choices follow from `seed`.
    ///
    /// # Errors
    ///
    /// As [`output_shape`](Self::output_shape).
    pub fn prepare(&self, input: Shape, seed: u64) -> Result<PreparedTransform> {
        let program = Program::new(self, input)?;
        Ok(PreparedTransform {
            scratch: program.scratch(),
            program,
            seed,
        })
    }
}

impl PreparedTransform {
    /// The shape of what [`apply`](Self::apply) writes.
    pub fn output_shape(&self) -> Shape {
        self.program.output_shape()
    }

    /// Writes into `values` (CHW, of the [output shape](Self::output_shape)) what becomes of a `sample` that is number
    /// `index` of its source, in `epoch`.
    ///
    /// # Errors
    ///
    /// [`Error::Sample`] if the sample does not have the shape that the transform was prepared for, or a
    /// [`map`](Transform::map) fails; [`Error::InvalidArgument`] if `values` is too long or too short.
    ///
    /// # Panics
    ///
    /// Only if a [`map`](Transform::map) does.
    pub fn apply(
        &mut self,
        sample: Sample<'_>,
        epoch: u64,
        index: usize,
        values: &mut [f32],
    ) -> Result<()> {
        let (input, output) = (self.program.input_shape(), self.output_shape());
        if sample.pixels.len() != input.elements() {
            let found = sample.pixels.len();
            let problem = format!(
                "it has {found} bytes, but the transform is for {input}, which has {}",
                input.elements()
            );
            return Err(Error::Sample {
                index,
                stage: "transform",
                source: problem.into(),
            });
        }
        if values.len() != output.elements() {
            let expected = format!("{}, as {output} has", output.elements());
            return Err(invalid("number of values", values.len(), expected));
        }
        let key = SampleKey {
            seed: self.seed,
            epoch,
            index,
            repeat: 0,
        };
        self.program.apply(sample, key, &mut self.scratch, values)
    }
}

// A loader's threads are the model checker's in its build.
#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::source::InMemory;
    use crate::{Loader, Source};

    #[test]
    fn a_sample_becomes_what_it_becomes_in_a_loader() {
        let shape = Shape::new(3, 5, 4);
        let pixels: Vec<u8> = (0..30 * shape.elements())
            .map(|at| (at * 37 % 251) as u8)
            .collect();
        let source = InMemory::new(shape, 3, pixels, (0..30).map(|at| at % 3).collect()).unwrap();
        let source = std::sync::Arc::new(source);
        let transform = Transform::new()
            .random_crop(4, 3, 1)
            .random_flip()
            .scale()
            .random_brightness(0.3)
            .random_contrast(0.2, 1.8)
            .map(|mut sample| {
                sample.pixels[0] += sample.random.unit() + sample.epoch as f32;
                Ok(())
            })
            .standardize();
        let mut prepared = transform.prepare(shape, 11).unwrap();
        let row = prepared.output_shape().elements();
        let builder = Loader::builder(source.clone()).seed(11).shuffle(true);
        let mut loader = builder.batch_size(6).transform(transform).build().unwrap();
        let (mut values, mut scratch) = (vec![0.0; row], Vec::new());
        for epoch in [0, 3] {
            for batch in loader.epoch(epoch) {
                let batch = batch.unwrap();
                for (&index, expected) in batch.indices().iter().zip(batch.pixels().chunks(row)) {
                    let sample = source.sample(index, &mut scratch).unwrap();
                    prepared.apply(sample, epoch, index, &mut values).unwrap();
                    assert_eq!(values, expected);
                }
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        let mut prepared = Transform::new().prepare(Shape::new(1, 2, 2), 0).unwrap();
        let mut apply = |pixels: &[u8], values: usize| {
            let sample = Sample { pixels, label: 0 };
            prepared.apply(sample, 0, 5, &mut vec![0.0; values])
        };
        assert!(apply(&[1, 2, 3, 4], 4).is_ok());
        let error = apply(&[1, 2, 3], 4).unwrap_err();
        assert!(matches!(error, Error::Sample { index: 5, .. }), "{error}");
        for values in [3, 5] {
            let error = apply(&[1, 2, 3, 4], values).unwrap_err();
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        }
    }
}
