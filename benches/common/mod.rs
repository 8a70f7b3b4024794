//! What the benchmarks share that are programs of their own.

#![allow(dead_code, reason = "each of them uses a part")]

pub(crate) mod chart;
pub(crate) mod machine;
pub(crate) mod process;

/// The median; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
