//! What a rank calls, in numbers, by which the others notice that it calls something else than they.

use super::buffers::Buffers;
use crate::collective::meeting::Call;
use crate::error::Result;

/// What can be called. The numbers travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sum,
    SumDouble,
    Broadcast,
    Barrier,
    Duplicate,
    /// It calls nothing any more.
    End,
}

/// How many numbers say what is called.
pub(super) const WORDS: usize = 2;

impl Kind {
    const ALL: [Self; 6] = [
        Self::Sum,
        Self::SumDouble,
        Self::Broadcast,
        Self::Barrier,
        Self::Duplicate,
        Self::End,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sum => "all_reduce_sum",
            Self::SumDouble => "all_reduce_sum_f64",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
            Self::Duplicate => "duplicate",
            Self::End => "end",
        }
    }

    /// Writes down that this is called with `length` values.
    pub(super) fn announce(self, length: usize, world_size: usize, words: &mut Buffers<u64>) {
        words.reserve(WORDS, WORDS * world_size);
        words.sent[0] = self as u64;
        words.sent[1] = length as u64;
    }

    fn find(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as u64 == number)
    }
}

/// The first rank that has announced its end.
pub(super) fn ended(words: &Buffers<u64>) -> Option<usize> {
    let mut ranks = words.received.chunks_exact(WORDS);
    ranks.position(|words| words[0] == Kind::End as u64)
}

/// Refuses if the ranks have announced different calls.
pub(super) fn compare(words: &Buffers<u64>) -> Result<()> {
    let mut ranks = words.received.chunks_exact(WORDS);
    let Some(first) = ranks.next() else {
        return Ok(());
    };
    if ranks.all(|words| words == first) {
        return Ok(());
    }
    let call = |words: &[u64]| Call {
        name: Kind::find(words[0]).map_or("something unknown", Kind::name),
        values: "values",
        length: usize::try_from(words[1]).unwrap_or(usize::MAX),
    };
    let calls: Vec<_> = words
        .received
        .chunks_exact(WORDS)
        .map(call)
        .map(Some)
        .collect();
    Call::mismatch(&calls).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn who_calls_something_else_or_with_other_lengths_is_named() {
        let words = |received: &[u64]| Buffers {
            sent: vec![],
            received: received.to_vec(),
        };
        assert!(compare(&words(&[0, 5, 0, 5, 0, 5])).is_ok());
        for (different, found) in [
            ([0, 5, 0, 5, 0, 6], "all_reduce_sum with 6 values"),
            ([0, 5, 0, 5, 3, 5], "barrier with 5 values"),
            ([0, 5, 0, 5, 99, 5], "something unknown with 5 values"),
        ] {
            let error = compare(&words(&different)).unwrap_err();
            let Error::Mismatch {
                rank: 2,
                found: own,
                other: 0,
                ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(own, found);
        }
        assert_eq!(ended(&words(&[0, 5, Kind::End as u64, 0])), Some(1));
        assert_eq!(ended(&words(&[5, 5, 0, 5])), Some(0));
        assert_eq!(ended(&words(&[0, 5, 0, 5])), None);
    }
}
