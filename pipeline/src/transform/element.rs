//! What the values of a batch are stored as.

use std::fmt::Debug;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::affine::Affine;
use super::simd::Simd;

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

    /// What eight stored bytes become.
    #[inline(always)]
    fn convert_eight(_simd: impl Simd, channel: &Self::Channel, bytes: [u8; 8]) -> [Self; 8] {
        bytes.map(|byte| Self::convert(channel, byte))
    }

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

    #[inline(always)]
    fn convert_eight(simd: impl Simd, channel: &Affine, bytes: [u8; 8]) -> [f32; 8] {
        simd.affine(bytes, *channel)
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

/// How many values are computed in `f32` before they are rounded together: few enough to stay in the nearest cache.
const BLOCK: usize = 256;

/// A type of two bytes, for which values are rounded after they are computed.
trait Rounded: Element {
    /// Rounds `values` into `output`, which is as long, to nearest, ties to even.
    fn round(values: &[f32], output: &mut [Self]);
}

impl Rounded for f16 {
    fn round(values: &[f32], output: &mut [f16]) {
        // With the processor's own instructions where it has them.
        output.convert_from_f32_slice(values);
    }
}

impl Rounded for bf16 {
    #[inline(always)]
    fn round(values: &[f32], output: &mut [bf16]) {
        for (output, value) in output.iter_mut().zip(values) {
            // The upper half of the bits, and one more if the lower half is more than a half, or just that and the
            // upper one is odd. A NaN could become an infinity so: it keeps its upper half, and stays one.
            let bits = value.to_bits();
            let odd = (bits >> 16) & 1;
            let rounded = bits.wrapping_add(0x7fff + odd) >> 16;
            let quiet = (bits >> 16) | 0x40;
            *output = bf16::from_bits(if value.is_nan() { quiet } else { rounded } as u16);
        }
    }
}

macro_rules! half_precision {
    ($type:ident, $name:literal) => {
        impl Element for $type {
            const NAME: &'static str = $name;
        }

        impl Convert for $type {
            type Channel = Affine;
            const TAKES_VALUES: bool = true;
            const SCRATCH_VALUES: usize = 1;

            fn channel(affine: Affine) -> Affine {
                affine
            }

            #[inline(always)]
            fn convert(channel: &Affine, byte: u8) -> $type {
                $type::from_f32(channel.apply(f32::from(byte)))
            }

            #[inline(always)]
            fn convert_eight(simd: impl Simd, channel: &Affine, bytes: [u8; 8]) -> [$type; 8] {
                let mut output = [$type::ZERO; 8];
                $type::round(&simd.affine(bytes, *channel), &mut output);
                output
            }

            #[inline(always)]
            fn convert_all(channel: &Affine, bytes: &[u8], output: &mut [$type]) {
                let mut values = [0.0; BLOCK];
                for (bytes, output) in bytes.chunks(BLOCK).zip(output.chunks_mut(BLOCK)) {
                    let values = &mut values[..bytes.len()];
                    f32::convert_all(channel, bytes, values);
                    $type::round(values, output);
                }
            }

            fn with_values<R>(
                row: &mut [$type],
                scratch: &mut [f32],
                write: impl FnOnce(&mut [f32]) -> R,
            ) -> R {
                let result = write(scratch);
                $type::round(scratch, row);
                result
            }
        }
    };
}

half_precision!(f16, "f16");
half_precision!(bf16, "bf16");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_are_rounded_to_the_nearest(bits in prop::collection::vec(any::<u32>(), 1..40)) {
            let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let mut output = vec![bf16::ZERO; values.len()];
            bf16::round(&values, &mut output);
            for (found, value) in output.into_iter().zip(values) {
                let expected = bf16::from_f32(value);
                prop_assert!(
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                    "{value}: {found} {expected}"
                );
            }
        }
    }
}
