//! A picture that can be painted on: soft-edged ellipses and limbs, lit from above.
//!
//! Only additions, multiplications, divisions and square roots are used: these are the same to the bit on every machine.

/// Red, green and blue, from 0 to 1.
pub(super) type Colour = [f32; 3];

pub(super) fn mix(a: Colour, b: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
}

/// A place or a direction: to the right, and down.
pub(super) type Vector = [f32; 2];

fn minus(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1]]
}

fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1]
}

fn length(a: Vector) -> f32 {
    dot(a, a).sqrt()
}

/// The cosine and the sine of an angle, given as the tangent of its half.
pub(super) fn turn(half: f32) -> Vector {
    let square = half * half;
    [(1.0 - square) / (1.0 + square), 2.0 * half / (1.0 + square)]
}

/// Where a place of the drawing lies in the picture.
#[derive(Clone, Copy)]
pub(super) struct Pose {
    /// Where the drawing's origin lies, in pixels.
    pub(super) origin: Vector,
    /// Pixels per unit of the drawing.
    pub(super) scale: f32,
    /// The cosine and the sine of the angle by which the drawing is turned.
    pub(super) turn: Vector,
    /// Whether left is right.
    pub(super) mirrored: bool,
}

impl Pose {
    fn to_picture(self, [x, y]: Vector) -> Vector {
        let x = if self.mirrored { -x } else { x };
        let [cosine, sine] = self.turn;
        [
            self.origin[0] + self.scale * (x * cosine - y * sine),
            self.origin[1] + self.scale * (x * sine + y * cosine),
        ]
    }

    fn to_drawing(self, place: Vector) -> Vector {
        let [dx, dy] = minus(place, self.origin);
        let [cosine, sine] = self.turn;
        let x = (dx * cosine + dy * sine) / self.scale;
        let y = (dy * cosine - dx * sine) / self.scale;
        [if self.mirrored { -x } else { x }, y]
    }
}

/// What can be painted. Lengths are those of the drawing.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Ellipse {
        centre: Vector,
        radii: Vector,
        /// The cosine and the sine of its angle.
        turn: Vector,
    },
    /// A line as thick as twice the radius at each end: a leg, a neck, and with a radius of 0 a pointed ear.
    Limb { ends: [Vector; 2], radii: Vector },
}

pub(super) fn ellipse(centre: Vector, radii: Vector) -> Shape {
    tilted(centre, radii, 0.0)
}

/// An ellipse that is turned by an angle, given as the tangent of its half.
pub(super) fn tilted(centre: Vector, radii: Vector, half: f32) -> Shape {
    Shape::Ellipse {
        centre,
        radii,
        turn: turn(half),
    }
}

pub(super) fn limb(from: Vector, to: Vector, radii: Vector) -> Shape {
    Shape::Limb {
        ends: [from, to],
        radii,
    }
}

impl Shape {
    /// How far a place lies outside, below 0 inside, and where on it: from -1 to 1 to the right and down.
    fn locate(&self, place: Vector) -> (f32, Vector) {
        match *self {
            Self::Ellipse {
                centre,
                radii,
                turn: [cosine, sine],
            } => {
                let [dx, dy] = minus(place, centre);
                let local = [
                    (dx * cosine + dy * sine) / radii[0],
                    (dy * cosine - dx * sine) / radii[1],
                ];
                let norm = length(local);
                // The nearer the edge, the better: that is where it matters.
                let slope = length([local[0] / radii[0], local[1] / radii[1]]).max(1e-6);
                let outside = (norm - 1.0) * norm.max(1e-3) / slope;
                (outside, [dx / radii[0], dy / radii[1]])
            }
            Self::Limb {
                ends: [from, to],
                radii,
            } => {
                let along = minus(to, from);
                let offset = minus(place, from);
                let beyond = dot(offset, along) / dot(along, along).max(1e-9);
                let share = beyond.clamp(0.0, 1.0);
                let at = |share: f32| [from[0] + along[0] * share, from[1] + along[1] * share];
                let radius = radii[0] + (radii[1] - radii[0]) * share;
                // Lit as if it went on at its ends, so that joints can't be seen.
                let [dx, dy] = minus(place, at(beyond));
                let wide = radius.max(1e-3);
                let outside = length(minus(place, at(share))) - radius;
                (outside, [dx / wide, dy / wide])
            }
        }
    }

    /// A circle around it: its centre and radius.
    fn around(&self) -> (Vector, f32) {
        match *self {
            Self::Ellipse { centre, radii, .. } => (centre, radii[0].max(radii[1])),
            Self::Limb {
                ends: [from, to],
                radii,
            } => {
                let centre = [(from[0] + to[0]) / 2.0, (from[1] + to[1]) / 2.0];
                let half = length(minus(to, from)) / 2.0;
                (centre, half + radii[0].max(radii[1]))
            }
        }
    }
}

/// A picture in the making.
pub(super) struct Canvas {
    pub(super) side: usize,
    /// Row by row from the top.
    pub(super) pixels: Vec<Colour>,
}

impl Canvas {
    /// A picture that has the colour `at(x, y)` everywhere.
    pub(super) fn new(side: usize, at: impl Fn(usize, usize) -> Colour) -> Self {
        let places = (0..side * side).map(|place| at(place % side, place / side));
        Self {
            side,
            pixels: places.collect(),
        }
    }

    /// Paints a body: its colour follows from the place in the drawing, and it is lit from above.
    pub(super) fn paint(&mut self, pose: Pose, shape: Shape, colour: impl Fn(Vector) -> Colour) {
        self.blend(pose, shape, |place, local, _| {
            let height = (1.0 - dot(local, local)).max(0.0).sqrt();
            let light = 0.62 + 0.38 * height - 0.22 * local[1].clamp(-1.0, 1.0);
            colour(place).map(|channel| channel * light)
        });
    }

    /// Makes it darker, most in the middle of the shape.
    pub(super) fn shade(&mut self, pose: Pose, shape: Shape, strength: f32) {
        self.blend(pose, shape, |_, local, below| {
            let depth = (1.0 - dot(local, local)).clamp(0.0, 1.0);
            below.map(|channel| channel * (1.0 - strength * depth))
        });
    }

    /// Replaces what is below the shape by a colour that follows from the place in the drawing, from the place in the shape,
    /// and from what is there.
    fn blend(
        &mut self,
        pose: Pose,
        shape: Shape,
        colour: impl Fn(Vector, Vector, Colour) -> Colour,
    ) {
        let (centre, radius) = shape.around();
        let [x, y] = pose.to_picture(centre);
        let reach = radius * pose.scale + 1.0;
        let range = |middle: f32| {
            let from = (middle - reach).max(0.0) as usize;
            let to = (middle + reach + 1.0).clamp(0.0, self.side as f32) as usize;
            from..to
        };
        let columns = range(x);
        for row in range(y) {
            for column in columns.clone() {
                let place = pose.to_drawing([column as f32 + 0.5, row as f32 + 0.5]);
                let (outside, local) = shape.locate(place);
                let covered = (0.5 - outside * pose.scale).clamp(0.0, 1.0);
                if covered > 0.0 {
                    let pixel = &mut self.pixels[row * self.side + column];
                    *pixel = mix(*pixel, colour(place, local, *pixel), covered);
                }
            }
        }
    }
}
