//! The pictures of the generated set: ten kinds of pattern and shape.
//!
//! Place, size, phase, both colours and the noise are random, and either colour may be the brighter one. So no
//! pixel says anything on average, which is what keeps linear models low, while a convolution finds the edges that
//! tell the kinds apart. None of them turns into another when it is mirrored. Only additions, multiplications,
//! divisions and square roots are used: these are the same to the bit on every machine.

use crate::random::Random;

/// Pixels along each side.
const SIDE: usize = 32;

/// The kinds of picture, in the order of their labels.
pub(super) const NAMES: [&str; 10] = [
    "horizontal stripes",
    "vertical stripes",
    "checkerboard",
    "dots",
    "disc",
    "ring",
    "plus",
    "cross",
    "square",
    "triangle",
];

/// Draws a picture of the kind `label`: red, then green, then blue, each row by row.
pub(super) fn draw(label: usize, random: &mut Random, pixels: &mut [u8]) {
    let figure = Figure {
        label,
        center: [random.uniform(12.0, 20.0), random.uniform(12.0, 20.0)],
        radius: random.uniform(6.0, 9.0),
        stroke: random.uniform(1.2, 1.8),
        period: random.uniform(6.0, 10.0),
    };
    let polarity = if random.below(2) == 0 { 1.0 } else { -1.0 };
    let colors: [_; 3] = std::array::from_fn(|_| {
        let middle = random.uniform(90.0, 165.0);
        let half = polarity * random.uniform(12.0, 40.0);
        [middle - half, middle + half]
    });
    for (place, color) in pixels.chunks_exact_mut(SIDE * SIDE).zip(colors) {
        for (i, pixel) in place.iter_mut().enumerate() {
            let covered = figure.coverage((i % SIDE) as f32, (i / SIDE) as f32);
            let noise = random.uniform(-40.0, 40.0);
            *pixel = (color[0] + (color[1] - color[0]) * covered + noise).clamp(0.0, 255.0) as u8;
        }
    }
}

struct Figure {
    label: usize,
    center: [f32; 2],
    radius: f32,
    /// Half of a line's width.
    stroke: f32,
    /// From one stripe, field or dot to the next but one.
    period: f32,
}

impl Figure {
    /// How much of a pixel the figure covers, 0 to 1.
    fn coverage(&self, x: f32, y: f32) -> f32 {
        let (dx, dy) = (x - self.center[0], y - self.center[1]);
        (0.5 - self.distance(dx, dy)).clamp(0.0, 1.0)
    }

    /// About how many pixels away from the figure's edge the place is; below 0 inside.
    fn distance(&self, dx: f32, dy: f32) -> f32 {
        let (radius, stroke) = (self.radius, self.stroke);
        let round = (dx * dx + dy * dy).sqrt();
        let wide = dx.abs().max(dy.abs());
        match self.label {
            0 => self.stripe(dy),
            1 => self.stripe(dx),
            2 => {
                let (a, b) = (self.stripe(dx), self.stripe(dy));
                let edge = a.abs().min(b.abs());
                if (a < 0.0) == (b < 0.0) { -edge } else { edge }
            }
            3 => {
                let (a, b) = (self.offset(dx), self.offset(dy));
                (a * a + b * b).sqrt() - 0.28 * self.period
            }
            4 => round - radius,
            5 => (round - radius).abs() - stroke,
            6 => (dx.abs().min(dy.abs()) - stroke).max(wide - radius),
            7 => {
                const HALF_ROOT: f32 = std::f32::consts::FRAC_1_SQRT_2;
                let (a, b) = ((dx + dy) * HALF_ROOT, (dx - dy) * HALF_ROOT);
                (a.abs().min(b.abs()) - stroke).max(a.abs().max(b.abs()) - radius)
            }
            8 => (wide - radius).abs() - stroke,
            _ => (dy - 0.7 * radius).max((dx.abs() - 0.6 * (dy + radius)) / 1.166),
        }
    }

    /// From the middle of the nearest period.
    fn offset(&self, d: f32) -> f32 {
        let periods = d / self.period;
        (periods - (periods + 0.5).floor()) * self.period
    }

    /// Stripes as wide as the gaps between them.
    fn stripe(&self, d: f32) -> f32 {
        self.offset(d).abs() - 0.25 * self.period
    }
}
