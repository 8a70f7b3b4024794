//! Several sources as one.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Sample, Shape, Source, fingerprint};
use crate::error::{Result, invalid};

/// Sources one behind the other: the five files of CIFAR-10's training set as one.
#[derive(Clone)]
pub struct Concat {
    parts: Vec<Arc<dyn Source>>,
    /// Where each part ends.
    ends: Vec<usize>,
}

impl Concat {
    /// The samples of all `parts`, in order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there is no part, or if they differ in the
    /// shape of their samples or in the number of classes.
    pub fn new(parts: Vec<Arc<dyn Source>>) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Err(invalid("number of sources", 0, "at least 1"));
        };
        let kind = |source: &Arc<dyn Source>| {
            format!("{} in {} classes", source.shape(), source.classes())
        };
        let expected = kind(first);
        if let Some(other) = parts.iter().map(kind).find(|other| *other != expected) {
            return Err(invalid(
                "source",
                other,
                format!("{expected}, as the first one"),
            ));
        }
        let mut end = 0;
        let ends = parts.iter().map(|part| {
            end += part.len();
            end
        });
        let ends = ends.collect();
        Ok(Self { parts, ends })
    }

    /// The part of sample `index`, and its index there.
    fn locate(&self, index: usize) -> (&Arc<dyn Source>, usize) {
        let part = self.ends.partition_point(|&end| end <= index);
        let start = if part == 0 { 0 } else { self.ends[part - 1] };
        (&self.parts[part], index - start)
    }

    /// Calls `with` with each part that has some of `samples`, and which of its own they are.
    fn for_each_part(&self, samples: Range<usize>, with: impl Fn(&dyn Source, Range<usize>)) {
        let mut start = 0;
        for (part, &end) in self.parts.iter().zip(&self.ends) {
            let own = samples.start.max(start)..samples.end.min(end);
            if !own.is_empty() {
                with(&**part, own.start - start..own.end - start);
            }
            start = end;
        }
    }
}

impl Source for Concat {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn shape(&self) -> Shape {
        self.parts[0].shape()
    }

    fn classes(&self) -> usize {
        self.parts[0].classes()
    }

    fn sample<'a>(&'a self, index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
        let (part, index) = self.locate(index);
        part.sample(index, scratch)
    }

    fn label(&self, index: usize) -> Result<u32> {
        let (part, index) = self.locate(index);
        part.label(index)
    }

    fn scratch_bytes(&self) -> usize {
        let parts = self.parts.iter().map(Source::scratch_bytes);
        parts.max().unwrap_or(0)
    }

    /// Follows from those of the parts, so that the same samples have another one if they are cut elsewhere.
    fn fingerprint(&self) -> Result<u64> {
        self.parts.iter().try_fold(0, |hash, part| {
            Ok(fingerprint::add(hash, part.fingerprint()?))
        })
    }

    fn verify(&self) -> Result<()> {
        self.parts.iter().try_for_each(Source::verify)
    }

    fn prefetch(&self, index: usize) {
        let (part, index) = self.locate(index);
        part.prefetch(index);
    }

    fn will_need(&self, samples: Range<usize>) {
        self.for_each_part(samples, |part, samples| part.will_need(samples));
    }

    fn done_with(&self, samples: Range<usize>) {
        self.for_each_part(samples, |part, samples| part.done_with(samples));
    }
}

impl fmt::Debug for Concat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Concat").field("ends", &self.ends).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{InMemory, Subset};

    fn numbered(labels: std::ops::Range<u32>) -> Arc<dyn Source> {
        let pixels = labels.clone().map(|label| label as u8).collect();
        Arc::new(InMemory::new(Shape::new(1, 1, 1), 100, pixels, labels.collect()).unwrap())
    }

    #[test]
    fn samples_follow_each_other_across_the_parts() {
        let concat = Concat::new(vec![
            numbered(0..3),
            numbered(3..3),
            numbered(3..4),
            numbered(4..9),
        ])
        .unwrap();
        let labels: Vec<u32> = (0..concat.len())
            .map(|index| concat.label(index).unwrap())
            .collect();
        assert_eq!(labels, (0..9).collect::<Vec<_>>());
        assert_eq!(concat.sample(8, &mut Vec::new()).unwrap().pixels, [8]);
    }

    /// Decodes, for which it needs room.
    struct Decoding;

    impl Source for Decoding {
        fn len(&self) -> usize {
            1
        }

        fn shape(&self) -> Shape {
            Shape::new(1, 1, 1)
        }

        fn classes(&self) -> usize {
            100
        }

        fn sample<'a>(&'a self, _index: usize, scratch: &'a mut Vec<u8>) -> Result<Sample<'a>> {
            scratch.resize(40, 0);
            Ok(Sample {
                pixels: &scratch[..1],
                label: 0,
            })
        }

        fn scratch_bytes(&self) -> usize {
            40
        }
    }

    #[test]
    fn sources_of_sources_need_the_scratch_of_the_one_that_needs_most() {
        let parts = vec![numbered(0..3), Arc::new(Decoding), numbered(3..4)];
        let concat = Concat::new(parts).unwrap();
        assert_eq!(concat.scratch_bytes(), 40);
        let subset = Arc::new(Subset::new(concat, vec![0]).unwrap());
        assert_eq!(subset.scratch_bytes(), 40);
        assert_eq!(numbered(0..3).scratch_bytes(), 1);
    }

    #[test]
    fn parts_of_different_kind_are_refused() {
        let other = Arc::new(InMemory::new(Shape::new(1, 1, 2), 100, vec![], vec![]).unwrap());
        let error = Concat::new(vec![numbered(0..3), other])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("1x1x2 in 100 classes, expected 1x1x1 in 100 classes"),
            "{error}"
        );
        assert!(Concat::new(vec![]).is_err());
    }
}
