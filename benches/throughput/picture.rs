//! The figures as a picture: a bar for each row, in groups by workload.

use std::fmt::Write;

use crate::report::Table;
use crate::workload;

const LINE: f64 = 18.0;
const BAR: f64 = 13.0;
/// The length of the axis.
const AXIS: f64 = 420.0;
const MARGIN: f64 = 16.0;
/// What a character takes at most on average, in the fonts that readers have.
const CHARACTER: f64 = 6.6;

/// Colour and meaning.
const LEGEND: [(&str, &str); 3] = [
    ("#d9480f", "Feedline"),
    ("#868e96", "limit: a plain loop on as many threads"),
    ("#4dabf7", "other loaders"),
];

fn kind(system: &str) -> usize {
    match system {
        "limit" => 1,
        system if system.starts_with("feedline") => 0,
        _ => 2,
    }
}

/// Samples per second on a logarithmic scale, in whole powers of ten that hold all figures.
pub(crate) fn svg(table: &Table, machine: &str) -> String {
    let exponents = || table.rows.iter().map(|row| row.samples_per_second.log10());
    let low = exponents().fold(6.0, f64::min).floor();
    let high = exponents().fold(low + 1.0, f64::max).ceil();
    let longest = table.rows.iter().map(|row| row.system.len()).max();
    let left = MARGIN + longest.unwrap_or_default() as f64 * CHARACTER + 8.0;
    let x = |exponent: f64| left + (exponent - low) / (high - low) * AXIS;
    let machine = machine.lines().collect::<Vec<_>>().join(" · ");
    // Behind the longest bar there is room for its label.
    let width = (left + AXIS + 26.0 * CHARACTER)
        .max(MARGIN * 2.0 + machine.chars().count() as f64 * CHARACTER * 0.92);

    let mut text = String::new();
    let mut write = |x: f64, y: f64, style: &str, words: &str| {
        let words = words.replace('&', "&amp;").replace('<', "&lt;");
        let _ = writeln!(
            text,
            r#"<text x="{x:.0}" y="{y:.0}" {style}>{words}</text>"#
        );
    };
    let mut bars = String::new();
    let mut rectangle = |x: f64, y: f64, width: f64, kind: usize| {
        let colour = LEGEND[kind].0;
        let _ = writeln!(
            bars,
            r#"<rect x="{x:.0}" y="{y:.0}" width="{width:.1}" height="{BAR}" rx="2" fill="{colour}"/>"#
        );
    };

    let title = r#"font-size="16" font-weight="bold""#;
    write(MARGIN, 26.0, title, "Samples per second (logarithmic)");
    write(MARGIN, 44.0, r##"font-size="11" fill="#495057""##, &machine);
    let mut legend_x = MARGIN;
    for (index, (_, meaning)) in LEGEND.iter().enumerate() {
        if table.rows.iter().any(|row| kind(&row.system) == index) {
            rectangle(legend_x, 57.0, BAR, index);
            write(legend_x + 19.0, 68.0, "", meaning);
            legend_x += 40.0 + meaning.len() as f64 * CHARACTER;
        }
    }

    let top = 100.0;
    let mut y = top;
    let mut workload = "";
    for row in &table.rows {
        if row.workload != workload {
            workload = &row.workload;
            let about = workload::all()
                .into_iter()
                .find(|known| known.name == workload);
            let about = about.map_or("", |known| known.about);
            let words = format!("{workload}: {about}");
            write(MARGIN, y + 22.0, r#"font-weight="bold""#, &words);
            y += 30.0;
        }
        let end = x(row.samples_per_second.log10());
        let kind = kind(&row.system);
        write(left - 8.0, y + 11.0, r#"text-anchor="end""#, &row.system);
        rectangle(left, y, (end - left).max(1.0), kind);
        let mut words = short(row.samples_per_second);
        if kind != 0 {
            let _ = write!(words, ", Feedline is {:.1}x", table.ratio(row));
        }
        write(end + 6.0, y + 11.0, "", &words);
        y += LINE;
    }
    let mut lines = String::new();
    for exponent in low as i32..=high as i32 {
        let x = x(f64::from(exponent));
        let _ = writeln!(
            lines,
            r##"<line x1="{x:.0}" y1="{top}" x2="{x:.0}" y2="{y:.0}" stroke="#dee2e6"/>"##
        );
        let style = r##"text-anchor="middle" font-size="11" fill="#495057""##;
        write(x, top - 6.0, style, &short(10f64.powi(exponent)));
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{lines}{bars}{text}</svg>\n"
    )
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
