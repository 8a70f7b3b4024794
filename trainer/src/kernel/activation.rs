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
