//! Figures as a picture: a bar for each, in groups.

use std::fmt::Write;

const LINE: f64 = 18.0;
const BAR: f64 = 13.0;
/// The length of the axis.
const AXIS: f64 = 420.0;
const MARGIN: f64 = 16.0;
const TOP: f64 = 100.0;
/// What a character takes at most on average, in the fonts that readers have.
const CHARACTER: f64 = 6.6;

pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) subtitle: String,
    /// Colour and meaning of each kind of bar.
    pub(crate) legend: &'a [(&'a str, &'a str)],
    pub(crate) groups: Vec<Group>,
    /// One scale for all, in whole powers of ten that hold all figures; else the longest bar of each group is as long
    /// as the axis.
    pub(crate) logarithmic: bool,
}

pub(crate) struct Group {
    pub(crate) heading: String,
    pub(crate) bars: Vec<Bar>,
}

pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) value: f64,
    /// The place of its colour in the legend.
    pub(crate) kind: usize,
    /// Stands behind the value.
    pub(crate) note: String,
}

impl Chart<'_> {
    pub(crate) fn svg(&self) -> String {
        let (low, high) = self.decades();
        let longest = self.bars().map(|bar| bar.label.len()).max();
        let left = MARGIN + longest.unwrap_or_default() as f64 * CHARACTER + 8.0;
        let on_axis = |exponent: f64| (exponent - low) / (high - low) * AXIS;
        // Behind the longest bar there is room for its label.
        let width = (left + AXIS + 26.0 * CHARACTER)
            .max(MARGIN * 2.0 + self.subtitle.chars().count() as f64 * CHARACTER * 0.92);

        let mut drawing = Drawing::default();
        let title = r#"font-size="16" font-weight="bold""#;
        drawing.write(MARGIN, 26.0, title, self.title);
        let small = r##"font-size="11" fill="#495057""##;
        drawing.write(MARGIN, 44.0, small, &self.subtitle);
        let mut legend_x = MARGIN;
        for (index, (colour, meaning)) in self.legend.iter().enumerate() {
            if self.bars().any(|bar| bar.kind == index) {
                drawing.rectangle(legend_x, 57.0, BAR, colour);
                drawing.write(legend_x + 19.0, 68.0, "", meaning);
                legend_x += 40.0 + meaning.len() as f64 * CHARACTER;
            }
        }
        let mut y = TOP;
        for group in &self.groups {
            drawing.write(MARGIN, y + 22.0, r#"font-weight="bold""#, &group.heading);
            y += 30.0;
            let most = group.bars.iter().map(|bar| bar.value).fold(1e-9, f64::max);
            for bar in &group.bars {
                let length = match self.logarithmic {
                    true => on_axis(bar.value.log10()),
                    false => bar.value / most * AXIS,
                };
                let end = left + length;
                drawing.write(left - 8.0, y + 11.0, r#"text-anchor="end""#, &bar.label);
                drawing.rectangle(left, y, length.max(1.0), self.legend[bar.kind].0);
                let words = format!("{}{}", short(bar.value), bar.note);
                drawing.write(end + 6.0, y + 11.0, "", &words);
                y += LINE;
            }
        }
        if self.logarithmic {
            for exponent in low as i32..=high as i32 {
                let x = left + on_axis(f64::from(exponent));
                drawing.upright(x, y);
                let style = r##"text-anchor="middle" font-size="11" fill="#495057""##;
                drawing.write(x, TOP - 6.0, style, &short(10f64.powi(exponent)));
            }
        }
        drawing.svg(width, y + MARGIN)
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    /// Exponents of ten that hold all values.
    fn decades(&self) -> (f64, f64) {
        let exponents = || self.bars().map(|bar| bar.value.log10());
        let low = exponents().fold(6.0, f64::min).floor();
        (low, exponents().fold(low + 1.0, f64::max).ceil())
    }
}

/// Parts of the picture, those behind first.
#[derive(Default)]
struct Drawing {
    lines: String,
    bars: String,
    text: String,
}

impl Drawing {
    fn write(&mut self, x: f64, y: f64, style: &str, words: &str) {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            self.text,
            r#"<text x="{x:.0}" y="{y:.0}" {style}>{words}</text>"#
        );
    }

    fn rectangle(&mut self, x: f64, y: f64, width: f64, colour: &str) {
        let _ = writeln!(
            self.bars,
            r#"<rect x="{x:.0}" y="{y:.0}" width="{width:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#
        );
    }

    fn upright(&mut self, x: f64, bottom: f64) {
        let _ = writeln!(
            self.lines,
            r##"<line x1="{x:.0}" y1="{TOP}" x2="{x:.0}" y2="{bottom:.0}" stroke="#dee2e6"/>"##
        );
    }

    /// On white, so that it is legible on dark pages, too.
    fn svg(&self, width: f64, height: f64) -> String {
        let Self { lines, bars, text } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{lines}{bars}{text}</svg>\n"
        )
    }
}

/// Three digits or so, with a letter for thousands or millions.
fn short(number: f64) -> String {
    let (number, unit) = match number {
        1e6.. => (number / 1e6, " M"),
        1e3.. => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let decimals = match number {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let digits = format!("{number:.decimals$}");
    let digits = match digits.split_once('.') {
        Some(_) => digits.trim_end_matches('0').trim_end_matches('.'),
        None => &digits,
    };
    format!("{digits}{unit}")
}
