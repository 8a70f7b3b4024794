//! What each rank calls, call by call.

use std::collections::VecDeque;
use std::ops::Range;

use crate::collective::meeting::Call;
use crate::error::Error;

/// NCCL does not notice ranks that call different things: it mixes up their values, or waits for ever. So calls are
/// compared before they are made. Ranks need not wait for each other for that. Only ranks of one process are compared: those
/// of others would have to be asked at every call.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Those who make calls here.
    ranks: Range<usize>,
    /// The number of the first call in `calls`.
    first: u64,
    /// What each rank called, of calls that not all have made yet.
    calls: VecDeque<Vec<Option<Call>>>,
    /// How many calls each rank has made.
    made: Vec<u64>,
}

impl Ledger {
    /// Of the ranks `ranks` in a world of `world_size`.
    pub(super) fn new(ranks: Range<usize>, world_size: usize) -> Self {
        Self {
            ranks,
            first: 0,
            calls: VecDeque::new(),
            made: vec![0; world_size],
        }
    }

    /// Notes the next call of `rank`, and compares it with those of all who came before.
    pub(super) fn note(&mut self, rank: usize, call: Call) -> Result<(), Error> {
        let place = (self.made[rank] - self.first) as usize;
        self.made[rank] += 1;
        if place == self.calls.len() {
            self.calls.push_back(vec![None; self.made.len()]);
        }
        self.calls[place][rank] = Some(call);
        let mismatch = Call::mismatch(&self.calls[place]);
        // Only the oldest call can be one that now all have made: a rank makes one after the other.
        while let Some(calls) = self.calls.front()
            && calls[self.ranks.clone()].iter().all(Option::is_some)
        {
            self.calls.pop_front();
            self.first += 1;
        }
        mismatch.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranks_that_call_the_same_in_any_interleaving_are_not_told_apart(
            turns in prop::collection::vec(1usize..5, 0..200),
        ) {
            let mut ledger = Ledger::new(1..5, 7);
            let mut made = [0; 7];
            for rank in turns {
                let call = Call { name: "sum", values: "values", length: made[rank] };
                made[rank] += 1;
                prop_assert!(ledger.note(rank, call).is_ok());
            }
            let ahead = made.iter().max().unwrap() - made[1..5].iter().min().unwrap();
            prop_assert_eq!(ledger.calls.len(), ahead);
        }

        #[test]
        fn the_first_two_ranks_that_differ_are_named(
            order in Just([4usize, 5, 6]).prop_shuffle(),
            different in 4usize..7,
        ) {
            let mut ledger = Ledger::new(4..7, 7);
            let mut errors = order.iter().filter_map(|&rank| {
                let length = if rank == different { 7 } else { 8 };
                ledger.note(rank, Call { name: "sum", values: "values", length }).err()
            });
            let error = errors.next().unwrap().to_string();
            let named = format!("replica {different} ");
            prop_assert!(error.contains(&named) && error.contains("sum with 7 values"), "{}", error);
        }
    }
}
