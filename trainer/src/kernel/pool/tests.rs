//! Tests: against naive loops.

use proptest::prelude::*;

use super::*;
use crate::kernel::shape::Picture;
use crate::kernel::testing::{cases, most};

/// A pool of `input`, which may reach over the edges as in TensorFlow if `same`.
pub(in crate::kernel) fn pool(input: Picture, window: usize, step: usize, same: bool) -> Pool {
    let side = |size: usize| {
        if !same {
            return ((size - window) / step + 1, 0);
        }
        let count = size.div_ceil(step);
        let reach = (count - 1) * step + window;
        (count, reach.saturating_sub(size) / 2)
    };
    let ((height, top), (width, left)) = (side(input.height), side(input.width));
    Pool {
        input,
        output: Picture::new(height, width, input.channels),
        window,
        step,
        top,
        left,
    }
}

impl Pool {
    /// The input's pixel at place `place` (row by row) of the window of output pixel `(y, x)`. The place must lie in the
    /// picture.
    pub(in crate::kernel) fn pixel(&self, (y, x): (usize, usize), place: usize) -> usize {
        let row = y * self.step + place / self.window - self.top;
        let column = x * self.step + place % self.window - self.left;
        row * self.input.width + column
    }
}

/// Each pixel of the window of output `(y, x)`: its place, and where it is.
fn window(pool: &Pool, y: usize, x: usize) -> Vec<(usize, usize)> {
    let places = 0..pool.window * pool.window;
    let inside = places.filter(|place| {
        let row = (y * pool.step + place / pool.window).wrapping_sub(pool.top);
        let column = (x * pool.step + place % pool.window).wrapping_sub(pool.left);
        row < pool.input.height && column < pool.input.width
    });
    inside
        .map(|place| (place, pool.pixel((y, x), place)))
        .collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn values_places_and_gradients_are_those_of_a_naive_loop(
        (height, width, channels) in (1..most(12, 5), 1..most(12, 5), 1..most(40, 18)),
        (size, step, same, rectify) in (1usize..6, 1usize..4, any::<bool>(), any::<bool>()),
        seed in any::<u64>(),
    ) {
        prop_assume!(size <= height.min(width));
        let pool = pool(Picture::new(height, width, channels), size, step, same);
        let stride = pool.input.stride;
        let mut random = feedline_pipeline::Random::new([seed]);
        // Few different values, so that there are ties.
        let mut value = || random.below(7) as f32 - 4.0;
        let input: Vec<f32> = (0..pool.input.len()).map(|_| value()).collect();
        let d_output: Vec<f32> = (0..pool.output.len()).map(|_| value()).collect();
        for isa in Isa::available() {
            let mut output = vec![f32::NAN; d_output.len()];
            let mut places = vec![u8::MAX; d_output.len()];
            let mut d_input = vec![f32::NAN; input.len()];
            forward(isa, &pool, rectify, &input, &mut output, &mut places);
            let rectified = rectify.then_some(&*output);
            backward(isa, &pool, rectified, &places, &d_output, &mut d_input);
            let mut expected = vec![0.0; input.len()];
            for index in 0..output.len() {
                let (pixel, channel) = (index / stride, index % stride);
                let window = window(&pool, pixel / pool.output.width, pixel % pool.output.width);
                let (mut first, mut largest) = (0, f32::NEG_INFINITY);
                for (place, pixel) in window {
                    if input[pixel * stride + channel] > largest {
                        (first, largest) = (place, input[pixel * stride + channel]);
                    }
                }
                let passes = !rectify || largest > 0.0;
                let pixel = (pixel / pool.output.width, pixel % pool.output.width);
                let at = pool.pixel(pixel, first) * stride + channel;
                expected[at] += if passes { d_output[index] } else { 0.0 };
                let value = if rectify { largest.max(0.0) } else { largest };
                prop_assert_eq!((output[index], usize::from(places[index])), (value, first));
            }
            prop_assert_eq!(d_input, expected);
        }
    }
}

#[test]
fn a_diverged_network_is_not_hidden() {
    let pool = pool(Picture::new(3, 3, 1), 2, 1, true);
    for isa in Isa::available() {
        for (nan, rectify) in (0..9).flat_map(|nan| [(nan, false), (nan, true)]) {
            let mut input = vec![1.0; pool.input.len()];
            input[nan * BLOCK] = f32::NAN;
            let mut output = vec![0.0; pool.output.len()];
            let mut places = vec![0; pool.output.len()];
            forward(isa, &pool, rectify, &input, &mut output, &mut places);
            for pixel in 0..9 {
                let window = window(&pool, pixel / 3, pixel % 3);
                let place = window.iter().find(|&&(_, at)| at == nan);
                assert_eq!(output[pixel * BLOCK].is_nan(), place.is_some());
                if let Some(&(place, _)) = place {
                    assert_eq!(usize::from(places[pixel * BLOCK]), place);
                }
            }
        }
    }
}
