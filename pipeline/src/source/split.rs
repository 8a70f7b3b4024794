//! Splits into a training and a validation part.

use std::fmt;
use std::sync::Arc;

use super::{Source, Subset};
use crate::error::{Result, invalid};
use crate::random::Random;

/// The two parts of a source: disjoint, and together all of it.
#[derive(Clone)]
pub struct Split {
    /// What to train on.
    pub train: Subset<Arc<dyn Source>>,
    /// What to validate on.
    pub validation: Subset<Arc<dyn Source>>,
}

/// Sets a random `fraction` of the samples aside for validation. The same seed gives the same split.
///
/// # Errors
///
/// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if one of the parts would be empty.
pub fn split(source: Arc<dyn Source>, fraction: f64, seed: u64) -> Result<Split> {
    let count = part(source.len(), fraction)?;
    let mut indices: Vec<usize> = (0..source.len()).collect();
    shuffle(&mut indices, &mut Random::new([seed]));
    let train = indices.split_off(count);
    finish(source, train, indices)
}

/// As [`split`], but every class gives the same fraction of its samples, as exactly as whole samples allow.
///
/// # Errors
///
/// As [`split`], and what the source says if it cannot read a label.
///
/// ```
/// use std::sync::Arc;
/// use feedline_pipeline::source::{InMemory, split_stratified};
/// use feedline_pipeline::{Shape, Source};
///
/// // 90 samples of class 0, and 10 of class 1.
/// let labels = [vec![0; 90], vec![1; 10]].concat();
/// let source = Arc::new(InMemory::new(Shape::new(1, 1, 1), 2, vec![0; 100], labels)?);
/// let split = split_stratified(source, 0.2, 7)?;
/// let of_class_1 = (0..20).filter(|&index| split.validation.label(index).unwrap() == 1).count();
/// assert_eq!((split.validation.len(), of_class_1), (20, 2));
/// # Ok::<(), feedline_pipeline::Error>(())
/// ```
pub fn split_stratified(source: Arc<dyn Source>, fraction: f64, seed: u64) -> Result<Split> {
    let count = part(source.len(), fraction)?;
    let mut classes = vec![Vec::new(); source.classes()];
    for index in 0..source.len() {
        let label = source.label(index)? as usize;
        let Some(class) = classes.get_mut(label) else {
            return Err(invalid(
                "label",
                label,
                format!("below {}, the source's classes", source.classes()),
            ));
        };
        class.push(index);
    }
    // Walking over the classes, as many are taken as the fraction of all samples so far: each class is off by
    // less than one sample, and the total is right.
    let mut random = Random::new([seed]);
    let (mut train, mut validation) = (Vec::new(), Vec::new());
    let mut seen = 0;
    for mut class in classes {
        shuffle(&mut class, &mut random);
        seen += class.len();
        let due = (seen as u128 * count as u128 / source.len() as u128) as usize;
        let taken = due - validation.len();
        train.extend(class.drain(taken..));
        validation.extend(class);
    }
    finish(source, train, validation)
}

/// How many of `len` samples are `fraction` of them.
fn part(len: usize, fraction: f64) -> Result<usize> {
    let count = (len as f64 * fraction).round();
    if count >= 1.0 && count < len as f64 {
        Ok(count as usize)
    } else {
        let expected = format!("a fraction that leaves samples of the {len} for both parts");
        Err(invalid("validation fraction", fraction, expected))
    }
}

/// The shuffle of Fisher and Yates.
fn shuffle(indices: &mut [usize], random: &mut Random) {
    for last in (1..indices.len()).rev() {
        indices.swap(last, random.below(last as u64 + 1) as usize);
    }
}

fn finish(
    source: Arc<dyn Source>,
    mut train: Vec<usize>,
    mut validation: Vec<usize>,
) -> Result<Split> {
    // In the order of the file: it is read forwards, and neither part hints at the seed.
    train.sort_unstable();
    validation.sort_unstable();
    Ok(Split {
        train: Subset::new(Arc::clone(&source), train)?,
        validation: Subset::new(source, validation)?,
    })
}

impl fmt::Debug for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Split")
            .field("train", &self.train.len())
            .field("validation", &self.validation.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{InMemory, Shape};
    use proptest::prelude::*;

    fn source(labels: Vec<u32>) -> Arc<dyn Source> {
        Arc::new(InMemory::new(Shape::new(1, 1, 1), 5, vec![0; labels.len()], labels).unwrap())
    }

    proptest! {
        #[test]
        fn both_parts_together_are_the_whole(
            labels in prop::collection::vec(0u32..5, 2..100), fraction in 0.0f64..1.0, seed: u64,
        ) {
            for split in [split, split_stratified] {
                let Ok(parts) = split(source(labels.clone()), fraction, seed) else { continue };
                let mut all = [parts.train.indices(), parts.validation.indices()].concat();
                all.sort_unstable();
                prop_assert!(all.into_iter().eq(0..labels.len()));
                let again = split(source(labels.clone()), fraction, seed).unwrap();
                prop_assert_eq!(again.train.indices(), parts.train.indices());
            }
        }

        #[test]
        fn every_class_gives_its_share(
            labels in prop::collection::vec(0u32..5, 2..100), fraction in 0.0f64..1.0, seed: u64,
        ) {
            if let Ok(parts) = split_stratified(source(labels.clone()), fraction, seed) {
                let share = parts.validation.len() as f64 / labels.len() as f64;
                for class in 0..5 {
                    let all = labels.iter().filter(|&&label| label == class).count() as f64;
                    let taken = parts.validation.indices().iter().filter(|&&i| labels[i] == class).count();
                    prop_assert!((taken as f64 - share * all).abs() < 1.0);
                }
            }
        }
    }

    #[test]
    fn a_split_with_an_empty_part_is_refused() {
        for fraction in [0.0, 0.01, 0.99, 1.0, -1.0, 2.0, f64::NAN] {
            assert!(
                split(source(vec![0; 10]), fraction, 0).is_err(),
                "{fraction}"
            );
        }
    }
}
