//! How exactly networks are computed.

/// How exactly a network is computed on a GPU. What is trained is kept, and changed, in `f32` in any case; on the CPU all
/// is `f32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// `f32` throughout, as on the CPU.
    #[default]
    F32,
    /// `f32`, but products of convolutions and fully connected layers are of numbers that are rounded to 10 bits of
    /// mantissa. GPUs since Ampere have units for it.
    Tf32,
    /// Pictures and their gradients are `bf16`, which has the range of `f32` and 7 bits of mantissa; sums, and the loss,
    /// are `f32`. So are gradients of what is trained, but that of a convolution's filters is rounded to `bf16` once: cuDNN
    /// adds it up in `f32`, and hands it out as `bf16`.
    Bf16,
}
