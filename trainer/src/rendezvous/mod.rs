//! How the processes of a run find each other, and notice who fails.

mod fault;

pub use fault::RendezvousFault;
