//! Groups of samples that take turns by weight: class-balanced sampling, and mixtures of sources.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Draw, Kind, Order, Permutation};
use crate::error::{Result, invalid};
use crate::random::Random;

/// Samples that are drawn from as one, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which samples.
    pub members: Members,
    /// How many draws of a round are this group's. Only ratios count: 2 and 4 are the same as 1 and 2.
    pub weight: u32,
}

/// Which samples belong to a [`Group`].
#[derive(Clone, PartialEq, Eq)]
pub enum Members {
    /// Consecutive ones, as those of one source in a [`Concat`](crate::source::Concat).
    Range(Range<usize>),
    /// Any others: 4 bytes for each.
    List(Arc<[u32]>),
}

impl Members {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::List(list) => list.len(),
        }
    }

    fn get(&self, number: usize) -> usize {
        match self {
            Self::Range(range) => range.start + number,
            Self::List(list) => list[number] as usize,
        }
    }

    fn largest(&self) -> Option<usize> {
        match self {
            Self::Range(range) => range.clone().next_back(),
            Self::List(list) => list.iter().max().map(|&index| index as usize),
        }
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => write!(f, "Range({range:?})"),
            Self::List(list) => write!(f, "List({} samples)", list.len()),
        }
    }
}

impl Order {
    /// Groups take turns: of every round of as many draws as the weights sum up to, each group gets as many as
    /// its weight says, in shuffled order. A group's draws go through all its members in shuffled order, then
    /// through all of them again in another, and so on: the number of that cycle is [`Draw::repeat`].
    ///
    /// An epoch is `samples` draws long, unless [`take`](Self::take) says otherwise. A sample that belongs to
    /// two groups, or to one group twice, can be drawn twice with the same [`Draw::repeat`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if a group with a weight has no members, a
    /// member is not below `samples`, or no group has a weight.
    ///
    /// ```
    /// use feedline_pipeline::order::{Group, Members, Order};
    ///
    /// // Sample 9 is hard: one draw in four is for it.
    /// let order = Order::grouped(10, vec![
    ///     Group { members: Members::Range(0..9), weight: 3 },
    ///     Group { members: Members::List([9].into()), weight: 1 },
    /// ], 42)?.take(12)?;
    /// let epoch = order.epoch(0);
    /// let hard: Vec<u64> = (0..12)
    ///     .map(|position| epoch.draw(position))
    ///     .filter(|draw| draw.index == 9)
    ///     .map(|draw| draw.repeat)
    ///     .collect();
    /// assert_eq!(hard, [0, 1, 2]);
    /// # Ok::<(), feedline_pipeline::Error>(())
    /// ```
    pub fn grouped(samples: usize, groups: Vec<Group>, seed: u64) -> Result<Self> {
        Self::of_groups(samples, groups, "group", seed)
    }

    /// `noun` is what a group is called in errors.
    pub(super) fn of_groups(
        samples: usize,
        groups: Vec<Group>,
        noun: &'static str,
        seed: u64,
    ) -> Result<Self> {
        let groups = Groups::new(samples, groups, noun)?;
        Ok(Self::new(Kind::Groups(Arc::new(groups)), samples, seed))
    }
}

/// Groups, and which slots of a round belong to which.
pub(super) struct Groups {
    groups: Vec<Group>,
    /// The first slot of each group, and last their number.
    starts: Vec<u64>,
}

impl Groups {
    fn new(samples: usize, groups: Vec<Group>, noun: &'static str) -> Result<Self> {
        for (number, group) in groups.iter().enumerate() {
            if group.weight > 0 && group.members.len() == 0 {
                let found = format!("0 in {noun} {number}");
                return Err(invalid(
                    "number of samples",
                    found,
                    "at least 1, or a weight of 0",
                ));
            }
            if let Some(index) = group.members.largest().filter(|&index| index >= samples) {
                let found = format!("{index} in {noun} {number}");
                let expected = format!("below {samples}, the number of samples");
                return Err(invalid("sample index", found, expected));
            }
        }
        let weights = || groups.iter().map(|group| u64::from(group.weight));
        // The shortest rounds that give the same shares.
        let unit = weights().fold(0, gcd);
        if unit == 0 {
            return Err(invalid(
                "sum of weights",
                0,
                format!("a {noun} with a weight"),
            ));
        }
        let mut starts = vec![0];
        starts.extend(weights().scan(0, |sum, weight| {
            *sum += weight / unit;
            Some(*sum)
        }));
        Ok(Self { groups, starts })
    }

    fn round(&self) -> u64 {
        self.starts[self.groups.len()]
    }

    pub(super) fn draw(&self, key: u64, position: u64) -> Draw {
        let permutation = |len, key: Random| Permutation::new(len, key.clone().next_u64());
        let (round, slot) = (position / self.round(), position % self.round());
        let slot = permutation(self.round(), Random::new([key, round])).apply(slot);
        // The last one that starts there: groups of weight 0 start where the next one does.
        let number = self.starts.partition_point(|&start| start <= slot) - 1;
        let (start, weight) = (
            self.starts[number],
            self.starts[number + 1] - self.starts[number],
        );
        let members = &self.groups[number].members;
        let (nth, len) = (round * weight + (slot - start), members.len() as u64);
        let cycle = nth / len;
        let member = permutation(len, Random::new([key, number as u64, cycle])).apply(nth % len);
        Draw {
            index: members.get(member as usize),
            repeat: cycle,
        }
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups")
            .field("groups", &self.groups.len())
            .field("round", &self.round())
            .finish()
    }
}

/// The greatest common divisor (Euclid); of 0 and a number, that number.
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The draws of an epoch that are of one group, in order of their place in the group's row.
    fn draws_of(epoch: &super::super::EpochOrder, len: usize, members: Range<usize>) -> Vec<Draw> {
        (0..len)
            .map(|position| epoch.draw(position))
            .filter(|draw| members.contains(&draw.index))
            .collect()
    }

    proptest! {
        #[test]
        fn every_round_gives_each_source_its_share(
            sources in prop::collection::vec((1usize..20, 0u32..6), 1..6), factor in 1u32..4, seed: u64,
        ) {
            let round: u32 = sources.iter().map(|source| source.1).sum();
            prop_assume!(round > 0);
            let scaled: Vec<_> = sources.iter().map(|&(len, weight)| (len, weight * factor)).collect();
            let order = Order::mixed(&scaled, seed).unwrap().take(3 * round as usize).unwrap();
            let epoch = order.epoch(2);
            for first in (0..order.len()).step_by(round as usize) {
                let mut start = 0;
                for &(len, weight) in &sources {
                    let drawn = (first..first + round as usize)
                        .filter(|&position| (start..start + len).contains(&epoch.index(position)))
                        .count();
                    prop_assert_eq!(drawn, weight as usize);
                    start += len;
                }
            }
        }

        #[test]
        fn a_group_is_gone_through_before_any_member_comes_again(
            (small, large) in (1usize..20, 1usize..40), weights in (1u32..5, 1u32..5), seed: u64,
        ) {
            let order = Order::mixed(&[(small, weights.0), (large, weights.1)], seed).unwrap();
            // As many rounds as there are members: each group's cycles are then complete.
            let round = order.clone().take((small * large * (weights.0 + weights.1) as usize).max(1)).unwrap();
            let epoch = round.epoch(0);
            for members in [0..small, small..small + large] {
                let mut draws = draws_of(&epoch, round.len(), members.clone());
                draws.sort_by_key(|draw| (draw.repeat, draw.index));
                let cycles = draws.len() / members.len();
                let expected = (0..cycles as u64).flat_map(|repeat| {
                    members.clone().map(move |index| Draw { index, repeat })
                });
                prop_assert!(draws.into_iter().eq(expected));
            }
        }

        #[test]
        fn huge_positions_and_weights_do_not_overflow(
            a in 1usize..1 << 62, b in 1usize..1 << 62, weights: (u32, u32), position in 0usize..usize::MAX,
        ) {
            prop_assume!(weights != (0, 0));
            let order = Order::mixed(&[(a, weights.0), (b, weights.1)], 1).unwrap();
            let epoch = order.take(usize::MAX).unwrap().epoch(0);
            prop_assert!(epoch.index(position) < a + b);
        }
    }

    #[test]
    fn each_cycle_of_a_group_has_an_order_of_its_own() {
        let order = Order::mixed(&[(100, 1)], 3).unwrap().take(200).unwrap();
        let epoch = order.epoch(0);
        let same = (0..100)
            .filter(|&position| epoch.index(position) == epoch.index(position + 100))
            .count();
        assert!(same < 8, "{same} of 100 samples kept their place");
    }

    #[test]
    fn groups_that_cannot_be_drawn_from_are_errors_that_name_them() {
        let error = |list: &[u32], weight| {
            let members = Members::List(list.into());
            let result = Order::grouped(10, vec![Group { members, weight }], 0);
            result.unwrap_err().to_string()
        };
        let beyond = error(&[0, 10], 1);
        assert!(beyond.contains("sample index is 10 in group 0"), "{beyond}");
        let empty = error(&[], 1);
        assert!(empty.contains("samples is 0 in group 0"), "{empty}");
        let unweighted = error(&[0], 0);
        assert!(unweighted.contains("sum of weights is 0"), "{unweighted}");
    }
}
