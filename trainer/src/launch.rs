//! What a launcher says about a process that it started.

/// What a launcher says about this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {}
