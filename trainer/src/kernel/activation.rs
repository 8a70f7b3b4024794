//! The rectifier's gradient.

use super::{Isa, Kernel, Vector, run};

/// Sets the gradient to 0 where max(0, x) gave 0.
pub(crate) fn rectifier_gradient(isa: Isa, output: &[f32], gradient: &mut [f32]) {
    assert_eq!(output.len(), gradient.len());
    run(isa, RectifierGradient { output, gradient });
}

struct RectifierGradient<'a> {
    output: &'a [f32],
    gradient: &'a mut [f32],
}

impl Kernel for RectifierGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // Compilers make vector code of this.
        for (gradient, &output) in self.gradient.iter_mut().zip(self.output) {
            *gradient = if output > 0.0 { *gradient } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_pass_where_something_came_out() {
        // Of all lengths, as there may be a rest behind whole registers.
        for isa in Isa::available() {
            for length in 0..70 {
                let output = |index: usize| [0.0, 0.5, -0.0, f32::MIN_POSITIVE][index % 4];
                let outputs: Vec<_> = (0..length).map(output).collect();
                let mut gradient: Vec<_> = (0..length).map(|index| index as f32).collect();
                rectifier_gradient(isa, &outputs, &mut gradient);
                for (index, &found) in gradient.iter().enumerate() {
                    let passes = output(index) > 0.0;
                    assert_eq!(found, if passes { index as f32 } else { 0.0 }, "{isa:?}");
                }
            }
        }
    }
}
