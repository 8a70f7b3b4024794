//! Draws with replacement from any distribution.
//!
//! An alias table (Walker: "An efficient method for generating discrete random variables with general
//! distributions", ACM Trans. Math. Softw. 1977) has one column for each sample. A draw picks a column, all with
//! the same probability, and then by a threshold the column's own sample or one other: two numbers and one
//! look-up, however many samples there are. It is built in linear time (Vose: "A linear algorithm for generating
//! random numbers with a given distribution", IEEE Trans. Softw. Eng. 1991).

use std::fmt;
use std::sync::Arc;

use super::{Draw, Kind, Order};
use crate::error::{Result, invalid};
use crate::random::Random;

impl Order {
    /// Every position draws a sample anew, with a probability in proportion to its weight. So a sample can come
    /// several times in an epoch, each time with a [`Draw::repeat`] of its own (the position), or not at all. A
    /// sample of weight 0 never comes.
    ///
    /// An epoch is as long as there are weights, unless [`take`](Self::take) says otherwise. The table takes 8
    /// bytes a sample, and up to 12 more while it is made. Probabilities are exact to 2⁻³² of an average
    /// sample's.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if a weight is negative, infinite or not a
    /// number (the error names its sample), if all are 0, or if there are more than 2³² of them.
    ///
    /// ```
    /// use feedline_pipeline::order::Order;
    ///
    /// let epoch = Order::weighted(&[1.0, 0.0, 3.0], 42)?.take(1000)?.epoch(0);
    /// let mut counts = [0; 3];
    /// (0..1000).for_each(|position| counts[epoch.index(position)] += 1);
    /// assert!((200..300).contains(&counts[0]) && counts[1] == 0);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn weighted(weights: &[f64], seed: u64) -> Result<Self> {
        let table = AliasTable::new(weights)?;
        Ok(Self::new(
            Kind::Weights(Arc::new(table)),
            weights.len(),
            seed,
        ))
    }
}

pub(super) struct AliasTable {
    columns: Box<[Column]>,
}

#[derive(Clone, Copy)]
struct Column {
    /// The column is its own sample's with a probability of `threshold` / 2³²,
    threshold: u32,
    /// and else this one's. If a sample has its column for itself, that is the same one.
    alias: u32,
}

impl AliasTable {
    fn new(weights: &[f64]) -> Result<Self> {
        let mut heaviest = 0;
        for (index, &weight) in weights.iter().enumerate() {
            if !(weight >= 0.0 && weight.is_finite()) {
                let found = format!("{weight} for sample {index}");
                return Err(invalid("weight", found, "a finite number, 0 or more"));
            }
            if weight > weights[heaviest] {
                heaviest = index;
            }
        }
        let most = weights.get(heaviest).copied().unwrap_or(0.0);
        if most == 0.0 {
            return Err(invalid(
                "sum of weights",
                0,
                "a sample with a weight above 0",
            ));
        }
        if u32::try_from(weights.len() - 1).is_err() {
            return Err(invalid("number of weights", weights.len(), "at most 2^32"));
        }

        // In units of a column. Divided by the largest first, as the sum may be too large for a number.
        let sum: f64 = weights.iter().map(|weight| weight / most).sum();
        let mut left: Vec<f64> = weights
            .iter()
            .map(|weight| weight / most * (weights.len() as f64 / sum))
            .collect();
        let mut columns: Box<[Column]> = (0..)
            .zip(weights)
            .map(|(index, &weight)| Column {
                threshold: 0,
                // Rounding can leave a column that nobody fills: it must not be one of weight 0 then.
                alias: if weight > 0.0 { index } else { heaviest as u32 },
            })
            .collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..columns.len() as u32).partition(|&index| left[index as usize] < 1.0);
        // What a small sample leaves of its column is filled by a large one, which may become small by that.
        while let (Some(&from), Some(to)) = (large.last(), small.pop()) {
            let (to, donor) = (to as usize, from as usize);
            columns[to] = Column {
                threshold: (left[to] * 2f64.powi(32)) as u32,
                alias: from,
            };
            left[donor] = (left[donor] + left[to]) - 1.0;
            if left[donor] < 1.0 {
                large.pop();
                small.push(from);
            }
        }
        Ok(Self { columns })
    }

    pub(super) fn draw(&self, key: u64, position: u64) -> Draw {
        let mut random = Random::new([key, position]);
        let own = random.below(self.columns.len() as u64) as usize;
        let column = self.columns[own];
        let index = if ((random.next_u64() >> 32) as u32) < column.threshold {
            own
        } else {
            column.alias as usize
        };
        Draw {
            index,
            repeat: position,
        }
    }
}

impl fmt::Debug for AliasTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AliasTable")
            .field("samples", &self.columns.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The probability of each sample that the table really gives it.
    fn probabilities(table: &AliasTable) -> Vec<f64> {
        let mut probabilities = vec![0.0; table.columns.len()];
        for (own, column) in table.columns.iter().enumerate() {
            let own_part = f64::from(column.threshold) / 2f64.powi(32);
            probabilities[own] += own_part / table.columns.len() as f64;
            probabilities[column.alias as usize] += (1.0 - own_part) / table.columns.len() as f64;
        }
        probabilities
    }

    fn weight() -> impl Strategy<Value = f64> {
        prop_oneof![
            Just(0.0),
            0.0..1.0,
            0.0..1e6,
            Just(f64::MAX),
            Just(f64::MIN_POSITIVE)
        ]
    }

    proptest! {
        #[test]
        fn the_table_is_the_distribution(weights in prop::collection::vec(weight(), 1..200)) {
            let most = weights.iter().copied().fold(0.0, f64::max);
            prop_assume!(most > 0.0);
            let table = AliasTable::new(&weights).unwrap();
            let sum: f64 = weights.iter().map(|weight| weight / most).sum();
            for (got, weight) in probabilities(&table).into_iter().zip(&weights) {
                prop_assert!((got - weight / most / sum).abs() < 1e-9, "{} for {}", got, weight);
                prop_assert!(*weight > 0.0 || got == 0.0);
            }
        }
    }

    #[test]
    fn samples_come_as_often_as_their_weights_say() {
        let weights: Vec<f64> = (0..20).map(f64::from).collect();
        let order = Order::weighted(&weights, 5).unwrap().take(190_000).unwrap();
        let epoch = order.epoch(0);
        let mut counts = [0u32; 20];
        (0..order.len()).for_each(|position| counts[epoch.index(position)] += 1);
        assert_eq!(counts[0], 0);
        // 18 degrees of freedom: above 56 with a probability of 1e-5.
        let chi: f64 = (1..20)
            .map(|n| (f64::from(counts[n]) - 1000.0 * n as f64).powi(2) / (1000.0 * n as f64))
            .sum();
        assert!(chi < 56.0, "{chi}: {counts:?}");
    }

    #[test]
    fn a_million_equal_weights_with_a_zero_among_them_never_draw_it() {
        // 0.1 is not exact, so that sums are rounded.
        let mut weights = vec![0.1; 1_000_003];
        weights[777] = 0.0;
        let table = AliasTable::new(&weights).unwrap();
        assert_eq!(probabilities(&table)[777], 0.0);
        assert_eq!(size_of_val(&*table.columns), 8 * weights.len());
    }

    #[test]
    fn weights_that_are_no_weights_are_errors_that_name_the_sample() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Order::weighted(&[1.0, bad], 0).unwrap_err().to_string();
            assert!(error.contains("for sample 1"), "{error}");
        }
        for none in [&[0.0, 0.0][..], &[]] {
            let error = Order::weighted(none, 0).unwrap_err().to_string();
            assert!(error.contains("sum of weights is 0"), "{error}");
        }
    }
}
