//! The examples, the tests across crates and the benchmarks of Feedline. To use it, depend on `feedline-pipeline` and, for
//! its training loop, on `feedline-trainer`.

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
