//! What the values of a batch are stored as.

use std::fmt::Debug;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::affine::Affine;

/// A type that a batch's values can have: `f32`, `f16`, `bf16`, or `u8` for bytes as they are stored.
///
/// Operations work in `f32`; `f16` and `bf16` are rounded to nearest, ties to even, when a value is written. `u8`
/// takes crops and flips alone: it is for a device that converts for itself, at a quarter of the traffic.
///
/// The trait is sealed: these four are all.
pub trait Element: Convert + Copy + Default + PartialEq + Debug + Send + Sync + 'static {
    /// The type's name, as in "bf16".
    const NAME: &'static str;
}

/// How stored bytes become elements. Public only because [`Element`] is; it cannot be named outside.
pub trait Convert: Sized {
    /// One channel's conversion, made ready.
    type Channel: Debug + Send + Sync;

    /// Whether operations on values can be stored in this type.
    const TAKES_VALUES: bool;

    /// Values of scratch that [`with_values`](Self::with_values) needs for each element.
    const SCRATCH_VALUES: usize;

    /// Makes one channel's conversion ready.
    fn channel(affine: Affine) -> Self::Channel;

    /// What a stored byte becomes.
    fn convert(channel: &Self::Channel, byte: u8) -> Self;

    /// Converts `bytes` into `output`, which is as long.
    #[inline(always)]
    fn convert_all(channel: &Self::Channel, bytes: &[u8], output: &mut [Self]) {
        for (value, &byte) in output.iter_mut().zip(bytes) {
            *value = Self::convert(channel, byte);
        }
    }

    /// Lets `write` write the values of `row` as `f32`: in place, or by way of `scratch`, which must be as long.
    fn with_values<R>(
        row: &mut [Self],
        scratch: &mut [f32],
        write: impl FnOnce(&mut [f32]) -> R,
    ) -> R;
}

impl Element for f32 {
    const NAME: &'static str = "f32";
}

impl Convert for f32 {
    type Channel = Affine;
    const TAKES_VALUES: bool = true;
    const SCRATCH_VALUES: usize = 0;

    fn channel(affine: Affine) -> Affine {
        affine
    }

    #[inline(always)]
    fn convert(channel: &Affine, byte: u8) -> f32 {
        channel.apply(f32::from(byte))
    }

    fn with_values<R>(
        row: &mut [f32],
        _scratch: &mut [f32],
        write: impl FnOnce(&mut [f32]) -> R,
    ) -> R {
        write(row)
    }
}

impl Element for u8 {
    const NAME: &'static str = "u8";
}

impl Convert for u8 {
    type Channel = ();
    const TAKES_VALUES: bool = false;
    const SCRATCH_VALUES: usize = 0;

    fn channel(_affine: Affine) {}

    #[inline(always)]
    fn convert((): &(), byte: u8) -> u8 {
        byte
    }

    #[inline(always)]
    fn convert_all((): &(), bytes: &[u8], output: &mut [u8]) {
        output.copy_from_slice(bytes);
    }

    fn with_values<R>(
        _row: &mut [u8],
        scratch: &mut [f32],
        write: impl FnOnce(&mut [f32]) -> R,
    ) -> R {
        // A program of operations on values is not made for bytes.
        write(scratch)
    }
}

/// The half-precision types: there are but 256 bytes, so a channel is a table of what each becomes.
macro_rules! half_precision {
    ($type:ident, $name:literal) => {
        impl Element for $type {
            const NAME: &'static str = $name;
        }

        impl Convert for $type {
            type Channel = Box<[$type; 256]>;
            const TAKES_VALUES: bool = true;
            const SCRATCH_VALUES: usize = 1;

            fn channel(affine: Affine) -> Self::Channel {
                Box::new(std::array::from_fn(|byte| {
                    $type::from_f32(affine.apply(byte as f32))
                }))
            }

            #[inline(always)]
            fn convert(channel: &Self::Channel, byte: u8) -> $type {
                channel[usize::from(byte)]
            }

            fn with_values<R>(
                row: &mut [$type],
                scratch: &mut [f32],
                write: impl FnOnce(&mut [f32]) -> R,
            ) -> R {
                let result = write(scratch);
                row.convert_from_f32_slice(scratch);
                result
            }
        }
    };
}

half_precision!(f16, "f16");
half_precision!(bf16, "bf16");
