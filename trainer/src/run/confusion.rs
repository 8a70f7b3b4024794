//! What the classes were taken for.

use super::drawing::{Anchor, Drawing, MARGIN, count, shorten, width_of};

/// The matrix of counts: a row for each true class, a column for each predicted one.
pub(super) fn svg(classes: &[String], counts: &[Vec<u64>]) -> String {
    let number = classes.len();
    let cell = match number {
        ..=12 => 46.0,
        13..=20 => 34.0,
        21..=40 => 20.0,
        _ => (900.0 / number as f64).max(2.0),
    };
    let font = (cell * 0.9f64).clamp(1.0, 12.0);
    let names: Vec<_> = classes.iter().map(|name| shorten(name, 22)).collect();
    let longest = names
        .iter()
        .map(|name| width_of(name, font))
        .fold(40.0, f64::max);
    let left = MARGIN + 22.0 + longest + 8.0;
    let top = 84.0 + longest * 0.87 + 8.0;
    let side = cell * number as f64;

    let mut drawing = Drawing::default();
    let all: u64 = counts.iter().flatten().sum();
    let right: u64 = counts
        .iter()
        .enumerate()
        .filter_map(|(row, counts)| counts.get(row))
        .sum();
    let subtitle = format!(
        "{}, {right} of {all} samples right; colours are shares of a row",
        count(number, "class", "classes")
    );
    drawing.heading("Confusion matrix", &subtitle);
    drawing.text(left, 76.0, "soft", 11.0, Anchor::Right, "predicted →");
    drawing.text(MARGIN, top - 8.0, "soft", 11.0, Anchor::Right, "true ↓");
    drawing.rectangle([left, top, side, side], "empty", 1.0, "");
    // Names that would be too small to read are left out, evenly.
    let every = (9.0 / cell).ceil().max(1.0) as usize;
    let named = font.max(8.0);
    for (index, name) in names.iter().enumerate().step_by(every) {
        let at = (index as f64 + 0.5) * cell;
        drawing.text(
            left - 8.0,
            top + at + named * 0.35,
            "soft",
            named,
            Anchor::Left,
            name,
        );
        drawing.rising(left + at + named * 0.2, top - 6.0, 60.0, named, name);
    }
    for (row, counts) in counts.iter().enumerate() {
        let sum = counts.iter().sum::<u64>().max(1) as f64;
        for (column, &samples) in counts
            .iter()
            .enumerate()
            .filter(|(_, samples)| **samples > 0)
        {
            let share = samples as f64 / sum;
            let (x, y) = (left + column as f64 * cell, top + row as f64 * cell);
            let class = if row == column { "f0" } else { "f1" };
            let gap = if cell > 10.0 { 1.0 } else { 0.0 };
            let tip = format!("{} taken for {}: {samples}", classes[row], classes[column]);
            let place = [x + gap / 2.0, y + gap / 2.0, cell - gap, cell - gap];
            drawing.rectangle(place, class, 0.1 + 0.9 * share, &tip);
            let words = samples.to_string();
            let size = (cell * 0.9 / width_of(&words, 1.0)).min(12.0);
            if size >= 7.0 {
                let ink = if share > 0.5 { "card" } else { "ink" };
                drawing.text(
                    x + cell / 2.0,
                    y + cell / 2.0 + size * 0.36,
                    ink,
                    size,
                    Anchor::Middle,
                    &words,
                );
            }
        }
    }
    // The last column's name rises beyond the matrix.
    let width = left + side + longest * 0.5 + MARGIN;
    drawing.svg(
        width.max(width_of(&subtitle, 12.0) + 2.0 * MARGIN),
        top + side + MARGIN,
    )
}
