//! Loss and accuracy over the epochs.

use super::drawing::{Anchor, Drawing, MARGIN, count, short, ticks};
use super::metrics::{Row, Scores};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 240.0;
const TOP: f64 = 114.0;
/// The room for an axis' numbers.
const NUMBERS: f64 = 56.0;
const GAP: f64 = 32.0;
/// What is larger is drawn like what is not a number: not at all.
const LARGEST: f64 = 1e30;

/// What is drawn beside what: one of the two panels.
struct Panel {
    title: &'static str,
    left: f64,
    value: fn(&Scores) -> f64,
    unit: &'static str,
    /// The accuracy has bounds.
    most: f64,
}

pub(super) fn svg(rows: &[Row]) -> String {
    let mut drawing = Drawing::default();
    drawing.heading("Loss and accuracy", &count(rows.len(), "epoch", "epochs"));
    let mut x = MARGIN;
    for (class, name, dashed, drawn) in [
        ("s0", "train", true, !rows.is_empty()),
        (
            "s1",
            "test",
            false,
            rows.iter().any(|row| row.test.is_some()),
        ),
    ] {
        if drawn {
            drawing.path(&[[x, 68.0], [x + 24.0, 68.0]], class, dashed);
            drawing.text(x + 30.0, 72.0, "ink", 12.0, Anchor::Right, name);
            x += 86.0;
        }
    }
    let panels = [
        Panel {
            title: "loss",
            left: MARGIN + NUMBERS,
            value: |scores| scores.loss,
            unit: "",
            most: LARGEST,
        },
        Panel {
            title: "accuracy",
            left: MARGIN + 2.0 * NUMBERS + WIDTH + GAP,
            value: |scores| 100.0 * scores.accuracy,
            unit: " %",
            most: 100.0,
        },
    ];
    for panel in &panels {
        panel.draw(&mut drawing, rows);
    }
    drawing.svg(2.0 * (MARGIN + NUMBERS + WIDTH) + GAP, TOP + HEIGHT + 52.0)
}

impl Panel {
    fn draw(&self, drawing: &mut Drawing, rows: &[Row]) {
        let lines = [
            self.points(rows, |row| Some(row.train)),
            self.points(rows, |row| row.test),
        ];
        let values = || {
            lines
                .iter()
                .flatten()
                .map(|point| point[1])
                .filter(|value| value.is_finite())
        };
        let (low, high) = self.bounds(values());
        let (first, last) = match rows {
            [first, .., last] => (first.epoch as f64, last.epoch as f64),
            [only] => (only.epoch as f64 - 1.0, only.epoch as f64 + 1.0),
            [] => (0.0, 1.0),
        };
        let (right, bottom) = (self.left + WIDTH, TOP + HEIGHT);
        let place = |[epoch, value]: [f64; 2]| {
            let x = self.left + (epoch - first) / (last - first).max(1.0) * WIDTH;
            [x, bottom - (value - low) / (high - low) * HEIGHT]
        };

        drawing.text(
            self.left,
            TOP - 10.0,
            "ink",
            12.0,
            Anchor::Right,
            self.title,
        );
        if values().next().is_none() {
            let middle = [self.left + WIDTH / 2.0, TOP + HEIGHT / 2.0];
            drawing.text(
                middle[0],
                middle[1],
                "soft",
                12.0,
                Anchor::Middle,
                "no numbers to draw",
            );
        }
        let numbers = if values().next().is_some() {
            ticks(low, high)
        } else {
            Vec::new()
        };
        for tick in numbers {
            let [_, y] = place([first, tick]);
            drawing.line([self.left, y], [right, y], "grid");
            let words = format!("{}{}", short(tick), self.unit);
            drawing.text(self.left - 8.0, y + 4.0, "soft", 11.0, Anchor::Left, &words);
        }
        drawing.line([self.left, bottom], [right, bottom], "grid");
        let whole =
            |tick: &f64| tick.fract() == 0.0 && rows.iter().any(|row| row.epoch as f64 == *tick);
        for tick in ticks(first, last).into_iter().filter(whole) {
            let [x, _] = place([tick, low]);
            drawing.text(
                x,
                bottom + 18.0,
                "soft",
                11.0,
                Anchor::Middle,
                &format!("{tick:.0}"),
            );
        }
        drawing.text(
            self.left + WIDTH / 2.0,
            bottom + 38.0,
            "soft",
            11.0,
            Anchor::Middle,
            "epoch",
        );
        for (index, points) in lines.iter().enumerate() {
            // A gap where a value is not a number; a dot where a line would have no length.
            for run in points
                .split(|point| !point[1].is_finite())
                .filter(|run| !run.is_empty())
            {
                let places: Vec<_> = run.iter().copied().map(place).collect();
                drawing.path(&places, ["s0", "s1"][index], index == 0);
                if run.len() == 1 || points.len() <= 30 {
                    for &at in &places {
                        drawing.dot(at, 3.0, ["f0", "f1"][index]);
                    }
                }
            }
        }
    }

    /// Epochs and values, infinite where there is none.
    fn points(&self, rows: &[Row], part: impl Fn(&Row) -> Option<Scores>) -> Vec<[f64; 2]> {
        let value = |row: &Row| part(row).map_or(f64::NAN, |scores| (self.value)(&scores));
        let drawn = |value: f64| {
            if value.abs() <= LARGEST {
                value
            } else {
                f64::NAN
            }
        };
        rows.iter()
            .map(|row| [row.epoch as f64, drawn(value(row))])
            .collect()
    }

    /// The ends of the axis: a little more than the values need.
    fn bounds(&self, values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
        let low = values.clone().fold(f64::INFINITY, f64::min);
        let high = values.fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return (0.0, 1.0);
        }
        let room = match high - low {
            0.0 => low.abs().max(1.0) * 0.1,
            range => range * 0.06,
        };
        let low = if low >= 0.0 {
            (low - room).max(0.0)
        } else {
            low - room
        };
        (low, (high + room).min(self.most.max(high)).max(low + room))
    }
}
