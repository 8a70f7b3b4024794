//! What can go wrong when processes meet.

use serde::{Deserialize, Serialize};

/// Why the processes of a run did not come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RendezvousFault {
    /// Process 0 can't listen there.
    #[error("can't meet")]
    Taken,
    /// Some did not come in time.
    #[error("did not all come")]
    Late,
    /// One was refused, or does not fit the others.
    #[error("did not come together")]
    Refused,
    /// One ended before all had come.
    #[error("lost one of them")]
    Lost,
}
