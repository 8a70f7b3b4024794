//! Where the animals are: any of them may be anywhere, so that a background says nothing about what stands before it.

use feedline_pipeline::Random;

use super::canvas::{Canvas, Colour, Pose, ellipse, limb, mix};
use super::coat::{below, noise};

/// Colours of the sky above and at the horizon, and of the ground, dark and light.
const PLACES: [[Colour; 4]; 8] = [
    // Savannah.
    [
        [0.45, 0.65, 0.88],
        [0.85, 0.88, 0.85],
        [0.52, 0.42, 0.20],
        [0.82, 0.71, 0.42],
    ],
    // Meadow.
    [
        [0.38, 0.60, 0.90],
        [0.78, 0.88, 0.95],
        [0.16, 0.32, 0.10],
        [0.50, 0.66, 0.26],
    ],
    // Snow.
    [
        [0.62, 0.72, 0.84],
        [0.86, 0.88, 0.92],
        [0.70, 0.76, 0.84],
        [0.95, 0.96, 0.98],
    ],
    // Beach.
    [
        [0.25, 0.52, 0.78],
        [0.36, 0.66, 0.78],
        [0.72, 0.62, 0.46],
        [0.93, 0.86, 0.70],
    ],
    // The edge of a forest.
    [
        [0.08, 0.15, 0.07],
        [0.24, 0.34, 0.16],
        [0.20, 0.16, 0.08],
        [0.40, 0.42, 0.20],
    ],
    // Dusk.
    [
        [0.30, 0.22, 0.42],
        [0.95, 0.55, 0.38],
        [0.18, 0.12, 0.12],
        [0.46, 0.30, 0.24],
    ],
    // Rocks.
    [
        [0.52, 0.58, 0.64],
        [0.78, 0.80, 0.80],
        [0.28, 0.27, 0.27],
        [0.64, 0.61, 0.57],
    ],
    // Shallow water.
    [
        [0.56, 0.70, 0.82],
        [0.85, 0.88, 0.86],
        [0.12, 0.32, 0.40],
        [0.48, 0.66, 0.70],
    ],
];

/// Draws a landscape without animals.
pub(super) fn draw(side: usize, random: &mut Random) -> Canvas {
    let place = PLACES[random.below(PLACES.len() as u64) as usize];
    let vary = random.uniform(-0.07, 0.07);
    let [high, low, dark, light] = place.map(|colour| colour.map(|channel| channel + vary));
    let (ground, clouds) = (noise(random), noise(random));
    let horizon = random.uniform(0.2, 0.6) * side as f32;
    let grain = random.uniform(5.0, 11.0) / side as f32;
    let cloudy = random.uniform(0.0, 0.5);
    let hills = (0..side).map(|x| 24.0 * (clouds.rough([x as f32 * 0.012, 3.5]) - 0.5));
    let hills: Vec<_> = hills.collect();
    let mut canvas = Canvas::new(side, |x, y| {
        let hill = horizon + hills[x];
        let (x, y) = (x as f32, y as f32);
        if y < hill {
            let sky = mix(high, low, (y / horizon).clamp(0.0, 1.0));
            let cloud = below(0.55, clouds.rough([x * 0.011, y * 0.024]));
            mix(sky, [0.93, 0.93, 0.94], cloud * cloudy)
        } else {
            // What is far away looks finer, and flatter.
            let near = 1.0 + 2.0 * (y - horizon) / side as f32;
            let across = (x - side as f32 / 2.0) / near;
            let rough = ground.rough([across * grain * 2.4, y * grain * 6.0 / near]);
            mix(dark, light, (1.6 * rough - 0.3).clamp(0.0, 1.0))
        }
    });
    clutter(&mut canvas, horizon, [dark, light], random);
    canvas
}

/// Stones, bushes and trunks: shapes in the colours of animals, to be told from them.
fn clutter(canvas: &mut Canvas, horizon: f32, [dark, light]: [Colour; 2], random: &mut Random) {
    let side = canvas.side as f32;
    for _ in 0..random.below(7) {
        let tone = [
            random.uniform(0.1, 0.9),
            random.uniform(0.1, 0.8),
            random.uniform(0.1, 0.7),
        ];
        let colour = mix(mix(dark, light, random.unit()), tone, 0.35);
        let pattern = noise(random);
        let pose = Pose {
            origin: [random.unit() * side, random.uniform(horizon, side)],
            scale: random.uniform(12.0, 38.0),
            turn: [1.0, 0.0],
            mirrored: false,
        };
        let mottled = |[x, y]: [f32; 2]| {
            let rough = pattern.rough([x * 3.0, y * 3.0]);
            colour.map(|channel| channel * (0.6 + 0.8 * rough))
        };
        let lean = random.uniform(-0.3, 0.3);
        match random.below(3) {
            0 => canvas.paint(pose, ellipse([0.0, 0.0], [1.0, 0.6]), mottled),
            1 => {
                for bump in [-0.7, 0.0, 0.6] {
                    let place = [bump, -0.3 - lean * bump];
                    canvas.paint(pose, ellipse(place, [0.6, 0.55]), mottled);
                }
            }
            _ => canvas.paint(pose, limb([0.0, 0.0], [lean, -5.0], [0.3, 0.2]), mottled),
        }
    }
}

/// Blades of grass in front of everything.
pub(super) fn grow(canvas: &mut Canvas, random: &mut Random) {
    let side = canvas.side as f32;
    let colour = [
        random.uniform(0.2, 0.7),
        random.uniform(0.35, 0.65),
        random.uniform(0.1, 0.3),
    ];
    for _ in 0..random.below(60) {
        let pose = Pose {
            origin: [random.unit() * side, side - random.uniform(-4.0, 24.0)],
            scale: random.uniform(10.0, 34.0),
            turn: [1.0, 0.0],
            mirrored: false,
        };
        let light = random.uniform(0.6, 1.1);
        let tip = [random.uniform(-0.5, 0.5), -1.0];
        let blade = limb([0.0, 0.0], tip, [0.05, 0.0]);
        canvas.paint(pose, blade, |_| colour.map(|channel| channel * light));
    }
}
