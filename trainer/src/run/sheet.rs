//! Sheets of small pictures: samples with their classes, and kernels.

use std::io;

use super::drawing::{Anchor, Drawing, MARGIN, count, shorten, width_of};
use super::evaluation::{Evaluation, Filters, Sample};
use super::raster::{address_of, png};
use crate::error::{Error, Result, invalid};

const MOST_SAMPLES: usize = 100;
const MOST_KERNELS: usize = 256;
const TOP: f64 = 68.0;
const PICTURE: f64 = 96.0;
const GAP: f64 = 14.0;
/// The height of a line below a picture, and how many letters it holds.
const LINE: f64 = 14.0;
const LETTERS: usize = 15;

/// A PNG of up to 100 pictures with their classes' names, under a title and a note: to look at a data set. Those that were
/// taken for something else than their label are marked.
///
/// ```
/// use feedline_trainer::run::{Sample, sheet};
///
/// let picture = Sample { shape: [1, 2, 2], pixels: vec![0, 80, 160, 255], predicted: 0, label: 0 };
/// let png = sheet("Slopes", "one picture", &["up", "down"], &[picture])?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok::<(), feedline_trainer::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::InvalidArgument`] if there is no picture, or lengths and classes do not fit each other;
/// [`Error::Picture`] if it can't be drawn.
pub fn sheet(
    title: &str,
    note: &str,
    classes: &[impl AsRef<str>],
    pictures: &[Sample],
) -> Result<Vec<u8>> {
    let evaluation = Evaluation {
        classes: classes.iter().map(|name| name.as_ref().into()).collect(),
        samples: pictures.iter().take(MOST_SAMPLES).cloned().collect(),
        ..Evaluation::default()
    };
    evaluation.check()?;
    if pictures.is_empty() {
        return Err(invalid("number of pictures", 0, "at least 1"));
    }
    let drawn = draw(title, note, &evaluation).and_then(|svg| png(&svg));
    drawn.map_err(|error| Error::Picture {
        path: title.into(),
        reason: error.to_string(),
    })
}

/// Pictures with what they were taken for; those that were taken for something else in a frame, with both names.
pub(super) fn samples(evaluation: &Evaluation) -> io::Result<String> {
    let shown = evaluation.samples.iter().take(MOST_SAMPLES);
    let wrong = shown
        .clone()
        .filter(|sample| sample.predicted != sample.label)
        .count();
    // Not as a share: who chose the pictures may have looked for mistakes.
    let right = count(shown.len() - wrong, "picture", "pictures");
    let note = format!("{right} recognized, {wrong} mistaken (✗ predicted, true below)");
    draw("Test pictures", &note, evaluation)
}

fn draw(title: &str, subtitle: &str, evaluation: &Evaluation) -> io::Result<String> {
    let samples = &evaluation.samples[..evaluation.samples.len().min(MOST_SAMPLES)];
    let columns = samples.len().clamp(4, 10);
    let captions: Vec<_> = samples.iter().map(|own| caption(evaluation, own)).collect();
    // All rows are as high as the one with the most lines.
    let most = captions.iter().map(Vec::len).max().unwrap_or(0).max(2);
    let below = LINE * most as f64 + 6.0;

    let mut drawing = Drawing::default();
    drawing.heading(title, subtitle);
    for (index, (sample, lines)) in samples.iter().zip(&captions).enumerate() {
        let x = MARGIN + (index % columns) as f64 * (PICTURE + GAP);
        let y = TOP + (index / columns) as f64 * (PICTURE + below + GAP);
        drawing.image([x, y, PICTURE, PICTURE], &picture(sample)?);
        let middle = x + PICTURE / 2.0;
        let mut y_below = y + PICTURE + 1.0;
        for (class, words) in lines {
            y_below += LINE;
            drawing.text(middle, y_below, class, 11.0, Anchor::Middle, words);
        }
        if sample.predicted != sample.label {
            drawing.frame([x - 2.0, y - 2.0, PICTURE + 4.0, PICTURE + 4.0]);
        }
    }
    let rows = samples.len().div_ceil(columns) as f64;
    let width = 2.0 * MARGIN + columns as f64 * (PICTURE + GAP) - GAP;
    Ok(drawing.svg(
        width.max(width_of(subtitle, 12.0) + 2.0 * MARGIN),
        TOP + rows * (PICTURE + below + GAP) - GAP + MARGIN,
    ))
}

/// The lines below a picture, each with its class of colour.
fn caption(evaluation: &Evaluation, sample: &Sample) -> Vec<(&'static str, String)> {
    let name = |class: usize| evaluation.classes.get(class).map_or("", String::as_str);
    let mut lines = Vec::new();
    let mut add = |colour, words: &str| {
        lines.extend(wrap(words, LETTERS).into_iter().map(|line| (colour, line)));
    };
    if sample.predicted == sample.label {
        add("ink", name(sample.label));
    } else {
        add("wrong", &format!("✗ {}", name(sample.predicted)));
        add("soft", name(sample.label));
    }
    lines
}

/// The words on one line, or on two if they are longer: the first ends with a word if it can. What does not fit on the
/// second is cut off.
fn wrap(words: &str, most: usize) -> Vec<String> {
    let Some((end, _)) = words.char_indices().nth(most) else {
        return vec![words.to_owned()];
    };
    let gap = words[..end].rfind(|letter: char| !letter.is_alphanumeric());
    // Before a space, and behind any other sign; not behind the mark of a mistake alone.
    let cut = match gap.and_then(|gap| Some((gap, words[gap..].chars().next()?))) {
        Some((gap, ' ')) if gap > '✗'.len_utf8() => gap,
        Some((gap, sign)) if sign != ' ' && gap > 0 => gap + sign.len_utf8(),
        _ => end,
    };
    let (first, rest) = words.split_at(cut);
    vec![first.to_owned(), shorten(rest.trim_start(), most)]
}

fn picture(sample: &Sample) -> io::Result<String> {
    let [channels, rows, columns] = sample.shape;
    let plane = rows * columns;
    address_of(columns, rows, |pixel| match channels {
        3 => [0, 1, 2].map(|channel| sample.pixels[channel * plane + pixel]),
        _ => [sample.pixels[pixel]; 3],
    })
}

/// Kernels: grey is zero, and the largest weight of a kernel is black or white, or a full colour.
pub(super) fn filters(filters: &Filters) -> io::Result<String> {
    let [outputs, inputs, rows, columns] = filters.shape;
    let coloured = inputs == 3;
    let (channels, kernels) = if coloured {
        (3, outputs)
    } else {
        (1, outputs * inputs)
    };
    let plane = rows * columns;
    let shown = kernels.min(MOST_KERNELS);
    // As square as the sheet can be; each output's kernels in a row of their own if that is not too long.
    let wide = match inputs {
        2 | 4..=16 => inputs,
        _ => ((shown as f64).sqrt().ceil() as usize).clamp(1, 16),
    };
    let side = (480.0 / wide as f64).clamp(28.0, 64.0);

    let mut drawing = Drawing::default();
    let all = match shown < kernels {
        true => format!(", the first {shown} of {kernels}"),
        false => String::new(),
    };
    let subtitle = format!("{outputs} × {inputs} × {rows} × {columns}{all}; grey is zero");
    drawing.heading("First layer's kernels", &subtitle);
    for (index, kernel) in filters
        .values
        .chunks_exact(channels * plane)
        .take(shown)
        .enumerate()
    {
        let largest = kernel
            .iter()
            .map(|weight| weight.abs())
            .filter(|weight| weight.is_finite())
            .fold(0.0, f32::max);
        let scale = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let level = |weight: f32| match weight.is_nan() {
            true => 128,
            false => (128.0 + weight * scale).clamp(0.0, 255.0) as u8,
        };
        let address = address_of(columns, rows, |pixel| match coloured {
            true => [0, 1, 2].map(|channel| level(kernel[channel * plane + pixel])),
            false => [level(kernel[pixel]); 3],
        })?;
        let x = MARGIN + (index % wide) as f64 * (side + 6.0);
        let y = TOP + (index / wide) as f64 * (side + 6.0);
        // White kernels end somewhere on white paper, too.
        drawing.rectangle([x, y, side, side], "grid", 1.0, "");
        drawing.image([x, y, side, side], &address);
    }
    let width = MARGIN * 2.0 + wide as f64 * (side + 6.0) - 6.0;
    let height = TOP + shown.div_ceil(wide) as f64 * (side + 6.0) - 6.0 + MARGIN;
    Ok(drawing.svg(width.max(width_of(&subtitle, 12.0) + 2.0 * MARGIN), height))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use resvg::tiny_skia::Pixmap;

    use super::*;

    fn pixels(shape: [usize; 3], pixels: &[u8]) -> Vec<u8> {
        let sample = Sample {
            shape,
            pixels: pixels.to_vec(),
            predicted: 0,
            label: 0,
        };
        let address = picture(&sample).unwrap();
        let png = STANDARD
            .decode(address.strip_prefix("data:image/png;base64,").unwrap())
            .unwrap();
        Pixmap::decode_png(&png).unwrap().data().to_vec()
    }

    #[test]
    fn names_are_wrapped_between_words_where_they_can_be() {
        assert_eq!(wrap("truck", 15), ["truck"]);
        assert_eq!(wrap("horizontal stripes", 15), ["horizontal", "stripes"]);
        assert_eq!(
            wrap("✗ horizontal stripes", 15),
            ["✗ horizontal", "stripes"]
        );
        assert_eq!(
            wrap("large_carnivores_and_more", 15),
            ["large_", "carnivores_and…"]
        );
        assert_eq!(
            wrap("✗ überlangeswörtchen", 15),
            ["✗ überlangeswör", "tchen"]
        );
    }

    #[test]
    fn channels_become_colours_and_others_grey() {
        assert_eq!(
            pixels([3, 1, 2], &[1, 2, 30, 40, 50, 60]),
            [1, 30, 50, 255, 2, 40, 60, 255]
        );
        assert_eq!(
            pixels([1, 2, 1], &[7, 200]),
            [7, 7, 7, 255, 200, 200, 200, 255]
        );
        assert_eq!(pixels([2, 1, 1], &[7, 200]), [7, 7, 7, 255]);
    }
}
