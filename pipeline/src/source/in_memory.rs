//! Samples that the program already holds.

use super::prefetch::prefetch;
use super::{Sample, Shape, Source, fingerprint};
use crate::error::{Result, invalid};

/// Samples in memory.
///
/// ```
/// use feedline_pipeline::source::InMemory;
/// use feedline_pipeline::{Shape, Source};
///
/// let source = InMemory::new(Shape::new(1, 1, 2), 10, vec![1, 2, 3, 4], vec![7, 9])?;
/// assert_eq!(source.sample(1, &mut Vec::new())?.pixels, [3, 4]);
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct InMemory {
    shape: Shape,
    classes: usize,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl InMemory {
    /// The samples of `labels.len()` pictures, whose `pixels` (CHW) follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if pixels and labels do not belong to the same
    /// number of pictures, or a label is not below `classes`.
    pub fn new(shape: Shape, classes: usize, pixels: Vec<u8>, labels: Vec<u32>) -> Result<Self> {
        let elements = shape.checked_elements().filter(|&elements| elements > 0);
        let expected = elements.and_then(|elements| labels.len().checked_mul(elements));
        if expected != Some(pixels.len()) {
            let expected = format!("the pixels of {} pictures of {shape}", labels.len());
            return Err(invalid(
                "pixels",
                format!("{} bytes", pixels.len()),
                expected,
            ));
        }
        if let Some((index, label)) = labels
            .iter()
            .enumerate()
            .find(|(_, label)| **label as usize >= classes)
        {
            return Err(invalid(
                "label",
                format!("{label} at sample {index}"),
                format!("below {classes}"),
            ));
        }
        Ok(Self {
            shape,
            classes,
            pixels,
            labels,
        })
    }
}

impl Source for InMemory {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn shape(&self) -> Shape {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn sample<'a>(&'a self, index: usize, _scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let start = index * self.shape.elements();
        let pixels = &self.pixels[start..start + self.shape.elements()];
        Ok(Sample {
            pixels,
            label: self.labels[index],
        })
    }

    fn label(&self, index: usize) -> Result<u32> {
        Ok(self.labels[index])
    }

    fn fingerprint(&self) -> Result<u64> {
        let labels = fingerprint::of_labels(self.labels.iter().copied());
        Ok(fingerprint::add(fingerprint::of_probes(self), labels))
    }

    fn prefetch(&self, index: usize) {
        let start = index * self.shape.elements();
        prefetch(&self.pixels[start..start + self.shape.elements()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_and_labels_must_fit_each_other() {
        let shape = Shape::new(1, 1, 2);
        assert!(InMemory::new(shape, 10, vec![0; 4], vec![0; 2]).is_ok());
        assert!(InMemory::new(shape, 10, vec![0; 5], vec![0; 2]).is_err());
        assert!(InMemory::new(Shape::new(0, 1, 2), 10, vec![], vec![0; 2]).is_err());
        let error = InMemory::new(shape, 10, vec![0; 4], vec![9, 10])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "label is 10 at sample 1, expected below 10");
    }
}
