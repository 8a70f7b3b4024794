//! What groups are good for: balance between classes, and between sources.

#[cfg(doc)]
use super::Draw;
use super::{Group, Members, Order};
use crate::error::{Result, invalid};

impl Order {
    /// Every class is drawn equally often, whatever its number of samples: one of each in every round.
    /// `labels` has the class of each sample in turn.
    ///
    /// Samples of a class come in shuffled order, all of them before any comes again. So rare ones come several
    /// times in an epoch, each time with a [`Draw::repeat`] of its own, and not all frequent ones come in every
    /// epoch. Classes without samples are left out, as a part of a data set may well lack some. Takes 4 bytes a
    /// sample.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if a label is not below `classes`, or there are
    /// no samples, or more than 2³².
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// // 90 samples of class 0, and 10 of class 1.
    /// let labels = [vec![0; 90], vec![1; 10]].concat();
    /// let epoch = Order::class_balanced(labels.iter().copied(), 2, 42)?.epoch(0);
    /// let of_class_1 = (0..100).filter(|&position| labels[epoch.index(position)] == 1).count();
    /// assert_eq!(of_class_1, 50);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn class_balanced(
        labels: impl IntoIterator<Item = u32>,
        classes: usize,
        seed: u64,
    ) -> Result<Self> {
        let mut members = vec![Vec::new(); classes];
        let mut samples = 0;
        for label in labels {
            let Some(class) = members.get_mut(label as usize) else {
                let found = format!("{label} for sample {samples}");
                let expected = format!("below {classes}, the number of classes");
                return Err(invalid("label", found, expected));
            };
            let index = u32::try_from(samples)
                .map_err(|_| invalid("number of samples", "more", "at most 2^32"))?;
            class.push(index);
            samples += 1;
        }
        if samples == 0 {
            return Err(invalid("number of samples", 0, "at least 1"));
        }
        let groups = members.into_iter().map(|list| Group {
            weight: u32::from(!list.is_empty()),
            members: Members::List(list.into()),
        });
        Self::of_groups(samples, groups.collect(), "class", seed)
    }

    /// Draws from several sources in fixed shares. `sources` has the length and the weight of each: the samples
    /// of the first come first in the order's indices, then those of the second, as in a
    /// [`Concat`](crate::source::Concat). Weights 7 and 3 give the first source exactly 7 of every 10 draws.
    ///
    /// Each source is gone through again and again, however long the others are, and a source of weight 0 is
    /// left out. An epoch is as long as all sources together, unless [`take`](Self::take) says otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if a source with a weight is empty, no source
    /// has a weight, or the lengths add up to more than can be counted.
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// // A million photographs, and a thousand drawings that are to be a tenth of each epoch.
    /// let epoch = Order::mixed(&[(1_000_000, 9), (1_000, 1)], 42)?.take(5_000)?.epoch(0);
    /// let drawings = (0..5_000).filter(|&position| epoch.index(position) >= 1_000_000).count();
    /// assert_eq!(drawings, 500);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn mixed(sources: &[(usize, u32)], seed: u64) -> Result<Self> {
        let mut samples = 0usize;
        let mut groups = Vec::with_capacity(sources.len());
        for &(len, weight) in sources {
            let end = samples.checked_add(len).ok_or_else(|| {
                invalid(
                    "number of samples",
                    "more",
                    format!("at most {}", usize::MAX),
                )
            })?;
            groups.push(Group {
                members: Members::Range(samples..end),
                weight,
            });
            samples = end;
        }
        Self::of_groups(samples, groups, "source", seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn classes_are_balanced_and_absent_ones_left_out(labels in prop::collection::vec(0u32..7, 1..200), seed: u64) {
            let order = Order::class_balanced(labels.iter().copied(), 9, seed).unwrap();
            let epoch = order.epoch(1);
            let mut counts = [0usize; 9];
            (0..order.len()).for_each(|position| counts[labels[epoch.index(position)] as usize] += 1);
            let present = || counts.iter().filter(|&&count| count > 0);
            let (least, most) = (present().min().unwrap(), present().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", counts);
        }
    }

    #[test]
    fn sources_that_cannot_be_mixed_are_errors_that_name_them() {
        let message = |result: Result<Order>| result.unwrap_err().to_string();
        let error = message(Order::mixed(&[(5, 1), (0, 2)], 0));
        assert!(error.contains("0 in source 1"), "{error}");
        let error = message(Order::mixed(&[(5, 0), (3, 0)], 0));
        assert!(error.contains("sum of weights is 0"), "{error}");
        assert!(Order::mixed(&[], 0).is_err());
        assert!(Order::mixed(&[(usize::MAX, 1), (1, 1)], 0).is_err());
        assert!(Order::mixed(&[(5, 1), (0, 0)], 0).is_ok());
    }

    #[test]
    fn labels_that_are_no_class_are_errors_that_name_the_sample() {
        let error = Order::class_balanced([0, 1, 2], 2, 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("label is 2 for sample 2"), "{error}");
        assert!(Order::class_balanced([], 2, 0).is_err());
    }
}
