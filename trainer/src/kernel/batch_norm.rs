//! Sums over pixels and lines per channel, of which batch normalization is made.

use super::tile::{Panel, panels};
use super::{Isa, Kernel, Vector, run};

/// Adds up, per channel: `Σ (x − center)` of all pixels, or their squares.
pub(crate) fn sum(isa: Isa, square: bool, input: &[f32], center: &[f32], sums: &mut [f32]) {
    check(input.len(), center.len());
    assert_eq!(center.len(), sums.len());
    run(
        isa,
        Sum {
            square,
            input,
            center,
            sums,
        },
    );
}

struct Sum<'a> {
    square: bool,
    input: &'a [f32],
    center: &'a [f32],
    sums: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.center.len(), &mut self) }
    }
}

impl Panel for Sum<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        // SAFETY: every pixel has as many numbers as there are centers and sums.
        unsafe {
            let center: [V; WIDE] = load(self.center, column);
            let mut sums: [V; WIDE] = load(self.sums, column);
            for pixel in self.input.chunks_exact(self.center.len()) {
                let values: [V; WIDE] = load(pixel, column);
                for wide in 0..WIDE {
                    let distance = values[wide].sub(center[wide]);
                    sums[wide] = match self.square {
                        true => distance.mul_add(distance, sums[wide]),
                        false => sums[wide].add(distance),
                    };
                }
            }
            store(sums, self.sums, column);
        }
    }
}

/// `output = (input − center) · factor + offset` per channel.
pub(crate) fn normalize(
    isa: Isa,
    input: &[f32],
    (center, factor, offset): (&[f32], &[f32], &[f32]),
    output: &mut [f32],
) {
    check(input.len(), center.len());
    assert_eq!([factor.len(), offset.len()], [center.len(); 2]);
    assert_eq!(input.len(), output.len());
    run(
        isa,
        Normalize {
            input,
            center,
            factor,
            offset,
            output,
        },
    );
}

struct Normalize<'a> {
    input: &'a [f32],
    center: &'a [f32],
    factor: &'a [f32],
    offset: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.center.len(), &mut self) }
    }
}

impl Panel for Normalize<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let stride = self.center.len();
        // SAFETY: every pixel has as many numbers as there are centers, factors and offsets.
        unsafe {
            let center: [V; WIDE] = load(self.center, column);
            let factor: [V; WIDE] = load(self.factor, column);
            let offset: [V; WIDE] = load(self.offset, column);
            let pixels = self.input.chunks_exact(stride);
            for (pixel, output) in pixels.zip(self.output.chunks_exact_mut(stride)) {
                let mut values: [V; WIDE] = load(pixel, column);
                for wide in 0..WIDE {
                    let distance = values[wide].sub(center[wide]);
                    values[wide] = distance.mul_add(factor[wide], offset[wide]);
                }
                store(values, output, column);
            }
        }
    }
}

/// Adds up, per channel: the gradients, and the gradients times `input − center`.
pub(crate) fn gradient_sums(
    isa: Isa,
    input: &[f32],
    center: &[f32],
    gradient: &[f32],
    (sums, products): (&mut [f32], &mut [f32]),
) {
    check(input.len(), center.len());
    assert_eq!(input.len(), gradient.len());
    assert_eq!((center.len(), center.len()), (sums.len(), products.len()));
    run(
        isa,
        GradientSums {
            input,
            center,
            gradient,
            sums,
            products,
        },
    );
}

struct GradientSums<'a> {
    input: &'a [f32],
    center: &'a [f32],
    gradient: &'a [f32],
    sums: &'a mut [f32],
    products: &'a mut [f32],
}

impl Kernel for GradientSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.center.len(), &mut self) }
    }
}

impl Panel for GradientSums<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let stride = self.center.len();
        // SAFETY: every pixel has as many numbers as there are centers and sums.
        unsafe {
            let center: [V; WIDE] = load(self.center, column);
            let mut sums: [V; WIDE] = load(self.sums, column);
            let mut products: [V; WIDE] = load(self.products, column);
            let pixels = self.input.chunks_exact(stride);
            for (pixel, gradient) in pixels.zip(self.gradient.chunks_exact(stride)) {
                let values: [V; WIDE] = load(pixel, column);
                let gradients: [V; WIDE] = load(gradient, column);
                for wide in 0..WIDE {
                    let distance = values[wide].sub(center[wide]);
                    sums[wide] = sums[wide].add(gradients[wide]);
                    products[wide] = distance.mul_add(gradients[wide], products[wide]);
                }
            }
            store(sums, self.sums, column);
            store(products, self.products, column);
        }
    }
}

/// `gradient = gradient · factor + (input − center) · slope + offset` per channel.
pub(crate) fn gradient(
    isa: Isa,
    input: &[f32],
    lines: &GradientLines<'_>,
    gradient: &[f32],
    d_input: &mut [f32],
) {
    let stride = lines.factor.len();
    check(input.len(), stride);
    assert_eq!((input.len(), input.len()), (gradient.len(), d_input.len()));
    assert_eq!(
        [lines.center.len(), lines.slope.len(), lines.offset.len()],
        [stride; 3]
    );
    run(
        isa,
        Gradient {
            input,
            lines,
            gradient,
            d_input,
        },
    );
}

/// What [`gradient`] does, per channel.
pub(crate) struct GradientLines<'a> {
    pub(crate) center: &'a [f32],
    pub(crate) factor: &'a [f32],
    pub(crate) slope: &'a [f32],
    pub(crate) offset: &'a [f32],
}

struct Gradient<'a> {
    input: &'a [f32],
    lines: &'a GradientLines<'a>,
    gradient: &'a [f32],
    d_input: &'a mut [f32],
}

impl Kernel for Gradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(mut self) {
        // SAFETY: the caller's.
        unsafe { panels::<V>(self.lines.factor.len(), &mut self) }
    }
}

impl Panel for Gradient<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector, const WIDE: usize>(&mut self, column: usize) {
        let stride = self.lines.factor.len();
        // SAFETY: every pixel has as many numbers as there are of each line.
        unsafe {
            let center: [V; WIDE] = load(self.lines.center, column);
            let factor: [V; WIDE] = load(self.lines.factor, column);
            let slope: [V; WIDE] = load(self.lines.slope, column);
            let offset: [V; WIDE] = load(self.lines.offset, column);
            let pixels = self.input.chunks_exact(stride);
            let gradients = self.gradient.chunks_exact(stride);
            for ((pixel, gradient), d_input) in pixels
                .zip(gradients)
                .zip(self.d_input.chunks_exact_mut(stride))
            {
                let values: [V; WIDE] = load(pixel, column);
                let mut gradients: [V; WIDE] = load(gradient, column);
                for wide in 0..WIDE {
                    let distance = values[wide].sub(center[wide]);
                    let line = distance.mul_add(slope[wide], offset[wide]);
                    gradients[wide] = gradients[wide].mul_add(factor[wide], line);
                }
                store(gradients, d_input, column);
            }
        }
    }
}

fn check(numbers: usize, stride: usize) {
    assert!(stride.is_multiple_of(super::BLOCK) && numbers.is_multiple_of(stride));
}

/// # Safety
///
/// As [`Vector`]'s, for `WIDE` registers from `column` on.
#[inline(always)]
unsafe fn load<V: Vector, const WIDE: usize>(from: &[f32], column: usize) -> [V; WIDE] {
    debug_assert!(column + WIDE * V::LANES <= from.len());
    // SAFETY: the caller's.
    unsafe {
        let mut values = [V::zero(); WIDE];
        for (wide, value) in values.iter_mut().enumerate() {
            *value = V::load(from.as_ptr().add(column + wide * V::LANES));
        }
        values
    }
}

/// # Safety
///
/// As [`load`]'s.
#[inline(always)]
unsafe fn store<V: Vector, const WIDE: usize>(values: [V; WIDE], to: &mut [f32], column: usize) {
    debug_assert!(column + WIDE * V::LANES <= to.len());
    for (wide, value) in values.iter().enumerate() {
        // SAFETY: the caller's.
        unsafe { value.store(to.as_mut_ptr().add(column + wide * V::LANES)) }
    }
}

#[cfg(test)]
mod tests;
