//! Whole numbers on the command line, refused in words that say which ones would do.

use std::str::FromStr;

/// For clap: a number of things, of which there must be one, as one of the types of [`NonZero`](std::num::NonZero).
///
/// ```
/// use std::num::NonZeroUsize;
/// use feedline::numbers::at_least_one;
///
/// assert_eq!(at_least_one("3"), Ok(NonZeroUsize::new(3).unwrap()));
/// assert_eq!(at_least_one::<NonZeroUsize>("0"), Err("expected a whole number of at least 1"));
/// ```
///
/// # Errors
///
/// What is expected, if the text is something else, or a number that is too large.
pub fn at_least_one<N: FromStr>(text: &str) -> Result<N, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number of at least 1")
}

/// For clap: what random numbers follow from.
///
/// ```
/// assert_eq!(feedline::numbers::seed("7"), Ok(7));
/// assert_eq!(feedline::numbers::seed("-1"), Err("expected a whole number from 0 to 18446744073709551615"));
/// ```
///
/// # Errors
///
/// What is expected, if the text is something else.
pub fn seed(text: &str) -> Result<u64, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number from 0 to 18446744073709551615")
}
