//! By which algorithms networks are computed.

/// How cuDNN's algorithms for convolutions are chosen, of those that give the same bits whenever they are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithms {
    /// By the library's rules of thumb: the same in every run, on the same kind of GPU with the same library.
    #[default]
    Heuristic,
    /// By measuring each when it is first needed. Another run may find another one the fastest, so that its results
    /// differ by rounding.
    Measured,
}
