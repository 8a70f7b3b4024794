//! Pictures as SVG, legible on light and dark pages: what is drawn has a class, and a class has a colour in both.

use std::fmt::Write;

/// The room around a picture.
pub(super) const MARGIN: f64 = 20.0;
/// Colours of lines and bars: the classes `f0`, `f1` and so on fill, `s0`, `s1` and so on stroke.
pub(super) const COLOURS: usize = 8;

/// Stands in every picture, so that each is complete by itself, and begins with the class of the root, as a page may hold
/// several beside other things.
const STYLE: &str = "\
.feedline .card{fill:#fff}.feedline .ink{fill:#212529}.feedline .soft{fill:#5c636a}
.feedline .grid{stroke:#dee2e6;fill:none}.feedline .empty{fill:#f1f3f5}.feedline .wrong{fill:#c92a2a}
.feedline .frame{stroke:#c92a2a;fill:none}
.feedline .f0{fill:#1971c2}.feedline .f1{fill:#e8590c}.feedline .f2{fill:#2f9e44}.feedline .f3{fill:#9c36b5}
.feedline .f4{fill:#b08900}.feedline .f5{fill:#0c8599}.feedline .f6{fill:#c2255c}.feedline .f7{fill:#5f3dc4}
.feedline .s0{stroke:#1971c2;fill:none}.feedline .s1{stroke:#e8590c;fill:none}
@media (prefers-color-scheme:dark){
.feedline .card{fill:#1f2327}.feedline .ink{fill:#e9ecef}.feedline .soft{fill:#adb5bd}
.feedline .grid{stroke:#3b4147}.feedline .empty{fill:#2a2f34}.feedline .wrong{fill:#ff8787}
.feedline .frame{stroke:#ff8787}
.feedline .f0{fill:#4dabf7}.feedline .f1{fill:#ff922b}.feedline .f2{fill:#51cf66}.feedline .f3{fill:#cc5de8}
.feedline .f4{fill:#fcc419}.feedline .f5{fill:#22b8cf}.feedline .f6{fill:#f06595}.feedline .f7{fill:#9775fa}
.feedline .s0{stroke:#4dabf7}.feedline .s1{stroke:#ff922b}}";

/// A picture that is being drawn, what comes later in front.
#[derive(Default)]
pub(super) struct Drawing {
    title: String,
    body: String,
}

/// Where text stands from its position.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Right,
    Middle,
    Left,
}

impl Drawing {
    pub(super) fn heading(&mut self, title: &str, subtitle: &str) {
        self.styled(
            MARGIN,
            32.0,
            r#"class="ink" font-size="16" font-weight="bold""#,
            title,
        );
        self.styled(MARGIN, 50.0, r#"class="soft" font-size="12""#, subtitle);
    }

    /// Text of a class. `y` is its base line.
    pub(super) fn text(
        &mut self,
        x: f64,
        y: f64,
        class: &str,
        size: f64,
        anchor: Anchor,
        words: &str,
    ) {
        self.styled(
            x,
            y,
            &format!(
                r#"class="{class}" font-size="{size}"{}"#,
                anchor.attribute()
            ),
            words,
        );
    }

    /// Text that rises to the right, from its first letter.
    pub(super) fn rising(&mut self, x: f64, y: f64, degrees: f64, size: f64, words: &str) {
        let turn = format!(
            r#"class="soft" font-size="{size}" transform="rotate({} {x:.1} {y:.1})""#,
            -degrees
        );
        self.styled(x, y, &turn, words);
    }

    fn styled(&mut self, x: f64, y: f64, style: &str, words: &str) {
        let words = escape(words);
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.1}" y="{y:.1}" {style}>{words}</text>"#
        );
    }

    /// A rectangle of a class, more or less opaque. A tip appears where the mouse rests on it.
    pub(super) fn rectangle(
        &mut self,
        [x, y, width, height]: [f64; 4],
        class: &str,
        opacity: f64,
        tip: &str,
    ) {
        let _ = write!(
            self.body,
            r#"<rect x="{x:.2}" y="{y:.2}" width="{width:.2}" height="{height:.2}" class="{class}""#
        );
        if opacity < 1.0 {
            let _ = write!(self.body, r#" fill-opacity="{opacity:.3}""#);
        }
        let _ = match tip {
            "" => writeln!(self.body, "/>"),
            _ => writeln!(self.body, "><title>{}</title></rect>", escape(tip)),
        };
    }

    pub(super) fn line(&mut self, from: [f64; 2], to: [f64; 2], class: &str) {
        let ([x1, y1], [x2, y2]) = (from, to);
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" class="{class}"/>"#
        );
    }

    /// A line through points, in strokes if `dashed`.
    pub(super) fn path(&mut self, points: &[[f64; 2]], class: &str, dashed: bool) {
        let points: Vec<_> = points
            .iter()
            .map(|[x, y]| format!("{x:.1},{y:.1}"))
            .collect();
        let dashes = if dashed {
            r#" stroke-dasharray="6 3""#
        } else {
            ""
        };
        let _ = writeln!(
            self.body,
            r#"<polyline points="{}" class="{class}" stroke-width="2" stroke-linejoin="round"{dashes}/>"#,
            points.join(" ")
        );
    }

    pub(super) fn dot(&mut self, [x, y]: [f64; 2], radius: f64, class: &str) {
        let _ = writeln!(
            self.body,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{radius}" class="{class}"/>"#
        );
    }

    /// A picture made of pixels, whose edges stay sharp.
    pub(super) fn image(&mut self, [x, y, width, height]: [f64; 4], address: &str) {
        let _ = writeln!(
            self.body,
            r#"<image x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" image-rendering="optimizeSpeed" preserveAspectRatio="xMidYMid" href="{address}"/>"#
        );
    }

    /// Marks what lies in it.
    pub(super) fn frame(&mut self, [x, y, width, height]: [f64; 4]) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" class="frame" stroke-width="3"/>"#
        );
    }

    pub(super) fn svg(self, width: f64, height: f64) -> String {
        let (width, height) = (width.ceil(), height.ceil());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" class=\"feedline\" role=\"img\" aria-label=\"{}\" \
             font-family=\"sans-serif\">\n\
             <style>\n{STYLE}\n</style>\n<rect width=\"{width}\" height=\"{height}\" rx=\"6\" class=\"card\"/>\n{}</svg>\n",
            self.title, self.body
        )
    }
}

impl Anchor {
    fn attribute(self) -> &'static str {
        match self {
            Self::Right => "",
            Self::Middle => r#" text-anchor="middle""#,
            Self::Left => r#" text-anchor="end""#,
        }
    }
}

/// Text as HTML and XML can hold it, also between quotes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(letter),
            '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// The text, or its beginning.
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text
            .chars()
            .take(most.saturating_sub(1))
            .chain(['…'])
            .collect(),
        None => text.to_owned(),
    }
}

/// About how wide text of a size is in the font of our PNGs, which is wider than most.
pub(super) fn width_of(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.62
}

/// Four digits or so.
pub(super) fn short(number: f64) -> String {
    let magnitude = number.abs();
    if !number.is_finite() {
        return "–".into();
    }
    if magnitude >= 1e6 || (magnitude > 0.0 && magnitude < 1e-3) {
        return format!("{number:.2e}");
    }
    let decimals = match magnitude {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        _ => 4,
    };
    let digits = format!("{number:.decimals$}");
    match digits.split_once('.') {
        Some(_) => digits
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        None => digits,
    }
}

/// `1 class`, `2 classes`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Round numbers from `low` to `high`, about five.
pub(super) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 5.0;
    if !(rough.is_finite() && rough > 0.0) {
        return vec![low];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|&step| step >= rough * 0.999);
    let step = step.unwrap_or(rough);
    let first = (low / step - 1e-9).ceil();
    let ticks = (0..12).map(|index| (first + f64::from(index)) * step);
    ticks
        .take_while(|&tick| tick <= high + step * 1e-6)
        .collect()
}
