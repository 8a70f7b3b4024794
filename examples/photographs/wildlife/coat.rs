//! Patterns, as coats and landscapes have them.

use feedline_pipeline::Random;

use super::canvas::Vector;

/// A smooth pattern without a direction: numbers from 0 to 1 at the corners of squares, and curves between them.
#[derive(Clone, Copy)]
pub(super) struct Noise {
    pub(super) seed: u64,
}

impl Noise {
    fn corner(self, x: i64, y: i64) -> f32 {
        // A generator for each corner would be slow: these constants mix well enough for the eye.
        let mut bits = self.seed ^ (x as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bits = (bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits ^= (y as u64).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits = (bits ^ (bits >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (bits >> 40) as f32 / (1 << 24) as f32
    }

    /// Its value at a place; squares have a side of 1.
    pub(super) fn at(self, [x, y]: Vector) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let smooth = |share: f32| share * share * (3.0 - 2.0 * share);
        let (across, down) = (smooth(x - left), smooth(y - top));
        let (left, top) = (left as i64, top as i64);
        let row = |y| {
            let (from, to) = (self.corner(left, y), self.corner(left + 1, y));
            from + (to - from) * across
        };
        let (above, below) = (row(top), row(top + 1));
        above + (below - above) * down
    }

    /// Four patterns on each other, each half as large and half as strong.
    pub(super) fn rough(self, [x, y]: Vector) -> f32 {
        let (mut value, mut weight, mut scale) = (0.0, 0.5, 1.0);
        for _ in 0..4 {
            value += weight * self.at([x * scale, y * scale + 31.0 * scale]);
            weight /= 2.0;
            scale *= 2.0;
        }
        value / 0.9375
    }

    /// How far the nearest point is, of points of which each square has one, and how much further the second nearest.
    pub(super) fn cells(self, [x, y]: Vector) -> (f32, f32) {
        let (left, top) = (x.floor() as i64, y.floor() as i64);
        let (mut nearest, mut second) = (f32::MAX, f32::MAX);
        for row in top - 1..=top + 1 {
            for column in left - 1..=left + 1 {
                let dx = column as f32 + self.corner(column, row) - x;
                let dy = row as f32 + self.corner(row + 7919, column) - y;
                let distance = dx * dx + dy * dy;
                if distance < nearest {
                    (nearest, second) = (distance, nearest);
                } else {
                    second = second.min(distance);
                }
            }
        }
        let (nearest, second) = (nearest.sqrt(), second.sqrt());
        (nearest, second - nearest)
    }
}

/// 0 and 1 in turn along a line, half a unit each, with soft edges.
pub(super) fn stripe(along: f32) -> f32 {
    let within = along - along.floor();
    let from_edge = 0.25 - (within - 0.5).abs();
    (0.5 + 6.0 * from_edge).clamp(0.0, 1.0)
}

/// 1 below the limit, 0 above, with a soft edge.
pub(super) fn below(value: f32, limit: f32) -> f32 {
    (0.5 + 12.0 * (limit - value)).clamp(0.0, 1.0)
}

/// A pattern that no other has.
pub(super) fn noise(random: &mut Random) -> Noise {
    Noise {
        seed: random.next_u64(),
    }
}
