//! Ten animals. They are drawn looking to the left, two units wide or high, with their feet at about 1.

use feedline_pipeline::Random;

use super::canvas::{Canvas, Colour, Pose, Shape, Vector, ellipse, limb, mix, tilted};
use super::coat::{Noise, below, noise, stripe};

/// An animal at a place in a picture.
struct Painter<'a> {
    canvas: &'a mut Canvas,
    pose: Pose,
}

impl Painter<'_> {
    fn coat(&mut self, shape: Shape, coat: &dyn Fn(Vector) -> Colour) {
        self.canvas.paint(self.pose, shape, coat);
    }

    fn plain(&mut self, shape: Shape, colour: Colour) {
        self.canvas.paint(self.pose, shape, |_| colour);
    }

    fn eye(&mut self, [x, y]: Vector, radius: f32) {
        self.plain(ellipse([x, y], [radius, radius]), [0.05, 0.04, 0.04]);
        let glint = ellipse([x - radius * 0.3, y - radius * 0.4], [radius * 0.35; 2]);
        self.plain(glint, [1.4, 1.4, 1.4]);
    }

    /// Four legs below a body from `front` to `back`, the far ones darker; `stride` is how far they are apart.
    fn legs(
        &mut self,
        [front, back]: [f32; 2],
        top: f32,
        thick: f32,
        stride: f32,
        coat: &dyn Fn(Vector) -> Colour,
    ) {
        for (x, step, light) in [
            (front, -stride, 0.7),
            (back, stride, 0.7),
            (front, stride, 1.0),
            (back, -stride, 1.0),
        ] {
            let knee = [x + step * 0.6, (top + 1.0) / 2.0];
            let foot = [x + step, 1.0];
            let shaded = |place| coat(place).map(|channel| channel * light);
            self.coat(limb([x, top], knee, [thick * 1.3, thick]), &shaded);
            self.coat(limb(knee, foot, [thick, thick * 0.85]), &shaded);
        }
    }
}

/// The animals, in the order of their labels, and how each is drawn.
type Draw = fn(&mut Painter<'_>, &mut Random);

const ANIMALS: [(&str, Draw); 10] = [
    ("butterfly", butterfly),
    ("elephant", elephant),
    ("flamingo", flamingo),
    ("giraffe", giraffe),
    ("leopard", leopard),
    ("owl", owl),
    ("penguin", penguin),
    ("snake", snake),
    ("turtle", turtle),
    ("zebra", zebra),
];

/// The names of the classes, in the order of their labels.
pub(crate) const NAMES: [&str; 10] = {
    let mut names = [""; 10];
    let mut label = 0;
    while label < names.len() {
        names[label] = ANIMALS[label].0;
        label += 1;
    }
    names
};

/// Draws the animal with this label.
pub(super) fn draw(label: usize, canvas: &mut Canvas, pose: Pose, random: &mut Random) {
    let shadow = ellipse([0.0, 1.0], [1.0, 0.14]);
    canvas.shade(pose, shadow, random.uniform(0.2, 0.6));
    (ANIMALS[label].1)(&mut Painter { canvas, pose }, random);
}

/// A colour that differs a little from animal to animal.
fn about(colour: Colour, random: &mut Random) -> Colour {
    let light = random.uniform(0.8, 1.15);
    colour.map(|channel| channel * light + random.uniform(-0.04, 0.04))
}

fn rough(pattern: Noise, [x, y]: Vector, scale: f32) -> f32 {
    pattern.rough([x * scale, y * scale])
}

fn butterfly(painter: &mut Painter<'_>, random: &mut Random) {
    let palette = [
        [0.92, 0.48, 0.10],
        [0.25, 0.45, 0.85],
        [0.90, 0.82, 0.30],
        [0.85, 0.85, 0.82],
        [0.55, 0.22, 0.60],
    ];
    let wing = about(palette[random.below(5) as usize], random);
    let edge = about([0.12, 0.09, 0.08], random);
    let (open, pattern) = (random.uniform(0.55, 0.95), noise(random));
    let radius = random.uniform(0.10, 0.17);
    for side in [-1.0, 1.0] {
        let lobes = [
            ([0.52, -0.30], [0.58, 0.44], -0.30),
            ([0.42, 0.42], [0.42, 0.38], 0.35),
        ];
        for ([x, y], [wide, high], half) in lobes {
            let centre = [side * x * open, y];
            let tilt = side * half;
            painter.plain(tilted(centre, [wide * open, high], tilt), edge);
            let coat = |place: Vector| {
                let (_, gap) = pattern.cells([place[0] * 3.5, place[1] * 3.5]);
                mix(edge, wing, below(0.06, gap))
            };
            let inner = [wide * open * 0.82, high * 0.80];
            painter.coat(tilted(centre, inner, tilt), &coat);
            let spot = [centre[0] + side * wide * open * 0.4, y - 0.06];
            painter.plain(ellipse(spot, [radius * open, radius]), edge);
            painter.plain(
                ellipse(spot, [radius * open * 0.5, radius * 0.5]),
                [0.95, 0.93, 0.85],
            );
        }
        let feeler = limb([0.0, -0.45], [side * 0.25, -0.95], [0.02, 0.015]);
        painter.plain(feeler, edge);
    }
    painter.plain(limb([0.0, -0.42], [0.0, 0.5], [0.075, 0.045]), edge);
}

fn elephant(painter: &mut Painter<'_>, random: &mut Random) {
    let grey = about([0.50, 0.48, 0.47], random);
    let pattern = noise(random);
    let skin = |place: Vector| {
        let wrinkles = 0.75 + 0.5 * rough(pattern, place, 7.0);
        grey.map(|channel| channel * wrinkles)
    };
    painter.coat(limb([0.95, -0.15], [1.05, 0.4], [0.035, 0.03]), &skin);
    painter.legs([-0.35, 0.62], 0.2, 0.15, random.uniform(0.0, 0.1), &skin);
    painter.coat(ellipse([0.2, -0.1], [0.82, 0.58]), &skin);
    painter.coat(ellipse([-0.68, -0.32], [0.36, 0.37]), &skin);
    let (swing, lift) = (random.uniform(-0.25, 0.2), random.uniform(0.3, 0.85));
    let bend = [-1.02, 0.15];
    painter.coat(limb([-0.90, -0.25], bend, [0.17, 0.11]), &skin);
    painter.coat(limb(bend, [-1.0 + swing, lift], [0.11, 0.07]), &skin);
    painter.plain(
        limb([-0.86, 0.02], [-1.12, 0.22], [0.045, 0.01]),
        [0.95, 0.92, 0.82],
    );
    let flap = random.uniform(0.24, 0.36);
    let ear = |place: Vector| skin(place).map(|channel| channel * 0.85);
    painter.coat(tilted([-0.42, -0.24], [flap, 0.40], 0.12), &ear);
    painter.eye([-0.80, -0.40], 0.035);
}

fn flamingo(painter: &mut Painter<'_>, random: &mut Random) {
    let pink = about([0.93, 0.52, 0.55], random);
    let pattern = noise(random);
    let feathers = |place: Vector| {
        let light = 0.8 + 0.4 * rough(pattern, [place[0], 2.5 * place[1]], 6.0);
        pink.map(|channel| channel * light)
    };
    let leg = pink.map(|channel| channel * 0.8);
    let step = random.uniform(0.05, 0.22);
    painter.plain(limb([0.1, 0.1], [0.1 - step, 0.98], [0.035, 0.025]), leg);
    if random.below(2) == 0 {
        painter.plain(limb([0.2, 0.1], [0.2 + step, 0.98], [0.035, 0.025]), leg);
    } else {
        // It stands on one leg.
        painter.plain(limb([0.2, 0.1], [0.4, 0.42], [0.035, 0.03]), leg);
        painter.plain(limb([0.4, 0.42], [0.12, 0.5], [0.03, 0.025]), leg);
    }
    painter.coat(limb([0.5, 0.0], [0.78, 0.16], [0.15, 0.02]), &feathers);
    painter.coat(tilted([0.18, -0.05], [0.46, 0.27], 0.1), &feathers);
    // The neck is an S from the breast to the head.
    let lean = random.uniform(-0.15, 0.12);
    let neck = [
        [-0.2, -0.05],
        [-0.42, -0.2],
        [-0.42, -0.42],
        [-0.26, -0.62],
        [-0.26 + lean, -0.85],
        [-0.42 + lean, -0.95],
    ];
    for pair in neck.windows(2) {
        painter.coat(limb(pair[0], pair[1], [0.075, 0.065]), &feathers);
    }
    let head = neck[5];
    painter.coat(ellipse(head, [0.12, 0.09]), &feathers);
    let beak = [head[0] - 0.18, head[1] + 0.06];
    painter.plain(
        limb([head[0] - 0.08, head[1]], beak, [0.05, 0.045]),
        [0.92, 0.88, 0.8],
    );
    painter.plain(
        limb(beak, [beak[0] - 0.03, beak[1] + 0.13], [0.045, 0.005]),
        [0.1; 3],
    );
    painter.eye([head[0] - 0.02, head[1] - 0.02], 0.02);
}

fn giraffe(painter: &mut Painter<'_>, random: &mut Random) {
    let (pale, patch) = (
        about([0.88, 0.76, 0.52], random),
        about([0.52, 0.30, 0.13], random),
    );
    let (pattern, size) = (noise(random), random.uniform(5.5, 7.5));
    let coat = |[x, y]: Vector| {
        let (_, gap) = pattern.cells([x * size, y * size]);
        mix(pale, patch, below(0.14, gap))
    };
    painter.plain(limb([0.52, 0.12], [0.64, 0.5], [0.025, 0.035]), patch);
    painter.legs([-0.15, 0.42], 0.2, 0.05, random.uniform(0.0, 0.14), &coat);
    painter.coat(tilted([0.14, 0.12], [0.44, 0.25], 0.05), &coat);
    let head = [random.uniform(-0.62, -0.42), random.uniform(-1.0, -0.8)];
    painter.coat(limb([-0.14, 0.08], head, [0.17, 0.075]), &coat);
    for ear in [-0.02, 0.1] {
        let tip = [head[0] + ear + 0.03, head[1] - 0.2];
        painter.plain(
            limb([head[0] + ear - 0.02, head[1]], tip, [0.02, 0.03]),
            patch,
        );
    }
    painter.coat(
        limb(head, [head[0] - 0.24, head[1] + 0.12], [0.11, 0.06]),
        &coat,
    );
    painter.eye([head[0] - 0.06, head[1] - 0.02], 0.025);
}

fn leopard(painter: &mut Painter<'_>, random: &mut Random) {
    let (gold, dark) = (
        about([0.84, 0.64, 0.34], random),
        about([0.16, 0.11, 0.08], random),
    );
    let (pattern, size) = (noise(random), random.uniform(7.0, 9.0));
    let coat = |[x, y]: Vector| {
        let (near, _) = pattern.cells([x * size, y * size]);
        // A rosette: a dark ring.
        mix(gold, dark, below((near - 0.26).abs(), 0.10))
    };
    let curl = random.uniform(-0.5, 0.4);
    painter.coat(limb([0.72, 0.2], [1.0, 0.1], [0.07, 0.06]), &coat);
    painter.coat(limb([1.0, 0.1], [1.12, curl], [0.06, 0.045]), &coat);
    painter.legs([-0.42, 0.6], 0.35, 0.085, random.uniform(0.0, 0.25), &coat);
    painter.coat(ellipse([0.1, 0.22], [0.74, 0.30]), &coat);
    let head = [-0.72, random.uniform(-0.2, 0.15)];
    painter.coat(limb([-0.45, 0.18], head, [0.24, 0.18]), &coat);
    for side in [-0.13, 0.13] {
        painter.plain(
            ellipse([head[0] + side, head[1] - 0.2], [0.075, 0.08]),
            dark,
        );
    }
    painter.coat(ellipse(head, [0.24, 0.22]), &coat);
    painter.plain(
        ellipse([head[0] - 0.1, head[1] + 0.09], [0.12, 0.09]),
        [0.93, 0.88, 0.78],
    );
    painter.plain(
        ellipse([head[0] - 0.14, head[1] + 0.05], [0.045, 0.03]),
        [0.35, 0.18, 0.16],
    );
    painter.eye([head[0] - 0.14, head[1] - 0.05], 0.03);
    painter.eye([head[0] + 0.05, head[1] - 0.05], 0.03);
}

fn owl(painter: &mut Painter<'_>, random: &mut Random) {
    let palette = [
        [0.52, 0.38, 0.24],
        [0.55, 0.53, 0.50],
        [0.86, 0.84, 0.80],
        [0.38, 0.28, 0.2],
    ];
    let brown = about(palette[random.below(4) as usize], random);
    let pattern = noise(random);
    let feathers = |[x, y]: Vector| {
        let wave = stripe(7.0 * y + 2.0 * pattern.at([x * 7.0, y * 2.0]));
        brown.map(|channel| channel * (0.7 + 0.4 * wave))
    };
    let pale = brown.map(|channel| 0.55 + 0.45 * channel);
    painter.plain(
        limb([-0.9, 0.95], [0.9, 0.9], [0.07, 0.05]),
        [0.33, 0.24, 0.17],
    );
    painter.coat(limb([0.0, 0.7], [0.05, 1.25], [0.2, 0.16]), &feathers);
    painter.coat(ellipse([0.0, 0.2], [0.54, 0.76]), &feathers);
    let breast = |[x, y]: Vector| mix(pale, brown, stripe(8.0 * y + 4.0 * x.abs()) * 0.7);
    painter.coat(ellipse([0.0, 0.32], [0.33, 0.52]), &breast);
    for side in [-1.0, 1.0] {
        painter.coat(
            tilted([side * 0.47, 0.26], [0.17, 0.58], side * 0.06),
            &feathers,
        );
        painter.plain(
            limb([side * 0.15, 0.86], [side * 0.15, 1.0], [0.07, 0.04]),
            [0.75, 0.6, 0.25],
        );
        painter.coat(
            limb([side * 0.3, -0.7], [side * 0.42, -1.02], [0.13, 0.01]),
            &feathers,
        );
    }
    painter.coat(ellipse([0.0, -0.5], [0.52, 0.42]), &feathers);
    let look = random.uniform(-0.03, 0.03);
    let iris = about([0.95, 0.68, 0.12], random);
    for side in [-0.21, 0.21] {
        painter.plain(ellipse([side, -0.5], [0.24, 0.25]), pale);
        painter.plain(ellipse([side, -0.5], [0.14, 0.14]), iris);
        painter.eye([side + look, -0.5], 0.075);
    }
    painter.plain(
        limb([0.0, -0.42], [0.0, -0.24], [0.06, 0.01]),
        [0.25, 0.22, 0.18],
    );
}

fn penguin(painter: &mut Painter<'_>, random: &mut Random) {
    let black = about([0.13, 0.14, 0.17], random);
    let white = about([0.92, 0.92, 0.90], random);
    let orange = about([0.92, 0.55, 0.12], random);
    for side in [-0.18, 0.2] {
        painter.plain(tilted([side - 0.05, 0.97], [0.18, 0.06], 0.0), orange);
    }
    painter.plain(ellipse([0.0, 0.2], [0.46, 0.78]), black);
    let turned = random.uniform(-0.14, 0.0);
    painter.plain(ellipse([turned, 0.28], [0.34, 0.66]), white);
    let lift = random.uniform(0.0, 0.4);
    for side in [-1.0, 1.0] {
        let tip = [side * (0.56 + lift * 0.5), 0.5 - lift * 0.5];
        painter.plain(limb([side * 0.4, -0.2], tip, [0.1, 0.05]), black);
    }
    let head = [turned, -0.68];
    painter.plain(ellipse(head, [0.29, 0.29]), black);
    painter.plain(
        ellipse([head[0] + 0.13, head[1] + 0.12], [0.09, 0.14]),
        mix(white, orange, 0.6),
    );
    let beak = [head[0] - 0.46, head[1] + 0.05];
    painter.plain(limb([head[0] - 0.2, head[1]], beak, [0.07, 0.01]), orange);
    painter.eye([head[0] - 0.1, head[1] - 0.06], 0.035);
}

fn snake(painter: &mut Painter<'_>, random: &mut Random) {
    let palette = [
        [[0.30, 0.42, 0.16], [0.72, 0.70, 0.36]],
        [[0.15, 0.13, 0.12], [0.86, 0.30, 0.18]],
        [[0.42, 0.28, 0.16], [0.80, 0.70, 0.52]],
        [[0.16, 0.16, 0.18], [0.90, 0.86, 0.76]],
    ];
    let colours = palette[random.below(4) as usize];
    let (dark, light) = (about(colours[0], random), about(colours[1], random));
    let (waves, high) = (random.uniform(1.3, 2.2), random.uniform(0.22, 0.42));
    let (phase, bands) = (random.unit(), random.uniform(7.0, 14.0));
    // A wave of parabolas.
    let wave = |share: f32| {
        let within = waves * share + phase;
        let half = 2.0 * (within - within.floor());
        match half {
            ..1.0 => 4.0 * half * (1.0 - half),
            _ => -4.0 * (half - 1.0) * (2.0 - half),
        }
    };
    const PIECES: usize = 44;
    let at = |piece: usize| {
        let share = piece as f32 / PIECES as f32;
        [
            1.15 - 2.2 * share,
            0.55 + high * wave(share) * (0.5 + 0.5 * share),
        ]
    };
    for piece in 0..PIECES {
        let share = piece as f32 / PIECES as f32;
        let thick = 0.03 + 0.11 * (4.0 * share).min(1.0);
        let colour = mix(dark, light, stripe(bands * share));
        painter.plain(limb(at(piece), at(piece + 1), [thick, thick]), colour);
    }
    let head = at(PIECES);
    let mouth = [head[0] - 0.16, head[1] - 0.02];
    for fork in [-0.06, 0.04] {
        let tip = [mouth[0] - 0.24, mouth[1] + fork];
        painter.plain(limb(mouth, tip, [0.014, 0.01]), [0.75, 0.1, 0.12]);
    }
    painter.plain(limb(head, mouth, [0.16, 0.1]), light);
    painter.eye([head[0] - 0.06, head[1] - 0.08], 0.035);
}

fn turtle(painter: &mut Painter<'_>, random: &mut Random) {
    let skin = about([0.46, 0.50, 0.28], random);
    let shell = about([0.42, 0.30, 0.16], random);
    let plate = about([0.66, 0.54, 0.28], random);
    let (pattern, size) = (noise(random), random.uniform(2.6, 3.8));
    let scales = |place: Vector| {
        let light = 0.75 + 0.5 * rough(pattern, place, 10.0);
        skin.map(|channel| channel * light)
    };
    let stretch = random.uniform(0.0, 0.25);
    painter.coat(limb([0.8, 0.7], [1.1, 0.82], [0.08, 0.01]), &scales);
    for (hip, step) in [(-0.5, -0.16), (0.52, 0.14)] {
        let reach = step * random.uniform(0.3, 1.4);
        painter.coat(limb([hip, 0.6], [hip + reach, 0.95], [0.16, 0.12]), &scales);
    }
    let head = [-1.0 - stretch, random.uniform(0.1, 0.55)];
    painter.coat(limb([-0.6, 0.55], head, [0.13, 0.12]), &scales);
    painter.coat(ellipse(head, [0.2, 0.16]), &scales);
    painter.eye([head[0] - 0.08, head[1] - 0.04], 0.03);
    let pattern_of_shell = |[x, y]: Vector| {
        let (near, gap) = pattern.cells([x * size, y * size]);
        mix(shell, mix(plate, shell, near * 0.8), below(0.10, gap))
    };
    painter.coat(ellipse([0.0, 0.35], [0.82, 0.56]), &pattern_of_shell);
    painter.plain(limb([-0.72, 0.68], [0.74, 0.68], [0.08, 0.08]), plate);
}

fn zebra(painter: &mut Painter<'_>, random: &mut Random) {
    let (white, black) = (
        about([0.92, 0.90, 0.87], random),
        about([0.10, 0.09, 0.09], random),
    );
    let (pattern, density) = (noise(random), random.uniform(4.5, 6.5));
    let coat = |[x, y]: Vector| {
        let bend = 0.9 * pattern.at([x * 1.6, y * 1.6]) + 0.25 * y;
        mix(white, black, stripe(density * x + bend))
    };
    let across = |[x, y]: Vector| mix(white, black, stripe(density * 1.2 * y + 0.4 * x));
    painter.plain(limb([0.8, -0.05], [0.98, 0.5], [0.03, 0.05]), black);
    painter.legs([-0.38, 0.62], 0.25, 0.07, random.uniform(0.0, 0.2), &across);
    painter.coat(ellipse([0.14, 0.05], [0.72, 0.36]), &coat);
    let head = [random.uniform(-0.95, -0.8), random.uniform(-0.75, -0.3)];
    painter.plain(
        limb([-0.42, -0.3], [head[0] + 0.16, head[1] - 0.06], [0.08, 0.1]),
        black,
    );
    painter.coat(limb([-0.4, -0.02], head, [0.26, 0.14]), &across);
    for ear in [0.0, 0.1] {
        let root = [head[0] + ear, head[1] - 0.08];
        painter.plain(
            limb(root, [root[0] + 0.04, root[1] - 0.2], [0.05, 0.01]),
            black,
        );
    }
    let nose = [head[0] - 0.26, head[1] + 0.22];
    painter.coat(limb(head, nose, [0.15, 0.09]), &across);
    painter.plain(
        ellipse([nose[0] - 0.02, nose[1] + 0.02], [0.09, 0.08]),
        black,
    );
    painter.eye([head[0] - 0.08, head[1] - 0.02], 0.03);
}
