//! What can go wrong when processes meet.

/// Why the processes of a run did not come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousFault {
    /// Process 0 can't listen there.
    #[error("can't meet")]
    Taken,
    /// Some did not come in time.
    #[error("did not all come")]
    Late,
    /// One was refused.
    #[error("did not come together")]
    Refused,
}
