//! What ran when.

use std::path::Path;
use std::time::Duration;

use super::drawing::{Anchor, COLOURS, Drawing, MARGIN, count, short, shorten, ticks, width_of};
use super::{raster, write};
use crate::error::{Result, file};

/// Something that took a while, as a bar of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What was done: bars of a stage share a line. Lines are in the order in which stages appear first.
    pub stage: String,
    /// When it began, from any moment that all have in common.
    pub start: Duration,
    /// When it ended. What ends before it began took no time.
    pub end: Duration,
}

/// What one of several runs did, for [`draw_timelines`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// What stands above its lines.
    pub name: String,
    /// What ran when. The run begins with the first of them and ends with the last.
    pub spans: Vec<Span>,
}

/// Draws runs below each other, on one scale of time that begins where each begins, as `path` with `.svg` and with
/// `.png` behind it. Every run has a line for each of the `stages`, with the time that it took in all and its share of the
/// run, more than 100 % if several threads were at it at once. Spans of other stages are not drawn.
///
/// ```
/// use std::time::Duration;
/// use feedline_trainer::run::{Span, Timeline, draw_timelines};
///
/// let span = |stage: &str, start, end| Span {
///     stage: stage.into(),
///     start: Duration::from_millis(start),
///     end: Duration::from_millis(end),
/// };
/// let timelines = [
///     Timeline {
///         name: "one after the other".into(),
///         spans: vec![span("load", 0, 5), span("train", 5, 9), span("load", 9, 14), span("train", 14, 18)],
///     },
///     Timeline {
///         name: "both at once".into(),
///         spans: vec![span("load", 0, 5), span("train", 5, 9), span("load", 5, 10), span("train", 10, 14)],
///     },
/// ];
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let stages = ["load", "train"];
/// draw_timelines(folder.join("loading"), ["Loading and training", "Two steps of each"], &stages, &timelines)?;
/// assert!(folder.join("loading.svg").exists() && folder.join("loading.png").exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::File`](crate::Error::File) if something can't be written.
pub fn draw_timelines(
    path: impl AsRef<Path>,
    [title, subtitle]: [&str; 2],
    stages: &[&str],
    timelines: &[Timeline],
) -> Result<()> {
    let with = |extension: &str| {
        let mut name = path.as_ref().as_os_str().to_owned();
        name.push(extension);
        name
    };
    let runs: Vec<_> = timelines.iter().map(|own| own.spans.as_slice()).collect();
    let names: Vec<_> = timelines.iter().map(|own| own.name.as_str()).collect();
    let svg = picture([title, subtitle], stages, &runs, &names);
    write(Path::new(&with(".svg")), svg.as_bytes())?;
    let png = with(".png");
    let png = Path::new(&png);
    write(png, &raster::png(&svg).map_err(file("draw", png))?)
}

/// The timeline of one run, with `words` behind how many spans it has.
pub(super) fn svg(spans: &[Span], words: &str) -> String {
    let mut stages: Vec<&str> = Vec::new();
    for span in spans {
        if !stages.contains(&span.stage.as_str()) {
            stages.push(&span.stage);
        }
    }
    let subtitle = format!(
        "{}, {}{words}",
        count(stages.len(), "stage", "stages"),
        count(spans.len(), "span", "spans")
    );
    picture(["Timeline", &subtitle], &stages, &[spans], &[])
}

const WIDTH: f64 = 760.0;
const LANE: f64 = 26.0;
const TOP: f64 = 84.0;
/// The room for a run's name, and between runs.
const NAME: f64 = 26.0;
const GAP: f64 = 14.0;
/// A bar or a gap that is narrower can't be seen.
const NARROWEST: f64 = 0.8;
/// How wide a bar may become that stands for many spans.
const WIDEST: f64 = 4.0;
/// A bar that is paler can't be seen.
const PALEST: f64 = 0.3;

/// One span, or many that are too short to be seen: the less of its width they take, the paler it is.
struct Bar {
    from: f64,
    to: f64,
    busy: f64,
}

impl Bar {
    fn takes_in(&mut self, next: &Self) -> bool {
        let close = next.from - self.to < NARROWEST && next.to.max(self.to) - self.from < WIDEST;
        if close {
            self.to = self.to.max(next.to);
            self.busy += next.busy;
        }
        close
    }
}

/// How time becomes a place.
struct Scale {
    left: f64,
    /// The seconds from the left end to the right one.
    whole: f64,
    /// How many units a second has.
    units: f64,
    unit: &'static str,
}

impl Scale {
    fn new(left: f64, whole: f64) -> Self {
        let (units, unit) = match whole {
            1.0.. => (1.0, "s"),
            1e-3.. => (1e3, "ms"),
            _ => (1e6, "µs"),
        };
        Self {
            left,
            whole,
            units,
            unit,
        }
    }

    /// How wide so many seconds are.
    fn width(&self, seconds: f64) -> f64 {
        seconds / self.whole * WIDTH
    }
}

/// A time in three digits.
fn brief(seconds: f64) -> String {
    let (number, unit) = match seconds {
        0.9995.. => (seconds, "s"),
        0.9995e-3.. => (seconds * 1e3, "ms"),
        _ => (seconds * 1e6, "µs"),
    };
    let decimals = match number {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{number:.decimals$} {unit}")
}

/// When a run began and how long it took, in seconds.
fn length(spans: &[Span]) -> (f64, f64) {
    let first = spans
        .iter()
        .map(|span| span.start.as_secs_f64())
        .fold(f64::INFINITY, f64::min);
    let last = spans
        .iter()
        .map(|span| span.end.as_secs_f64())
        .fold(0.0, f64::max);
    let length = last - first;
    (first, if length > 0.0 { length } else { 0.0 })
}

/// Runs below each other, with their names if they have some.
fn picture(
    [title, subtitle]: [&str; 2],
    stages: &[&str],
    runs: &[&[Span]],
    names: &[&str],
) -> String {
    let labels: Vec<_> = stages.iter().map(|stage| shorten(stage, 28)).collect();
    let widths = labels.iter().map(|label| width_of(label, 12.0));
    let left = MARGIN + widths.fold(0.0, f64::max) + 10.0;
    let lengths = runs.iter().map(|spans| length(spans).1);
    let longest = lengths.fold(0.0, f64::max);
    let scale = Scale::new(left, if longest > 0.0 { longest } else { 1.0 });

    let mut drawing = Drawing::default();
    drawing.heading(title, subtitle);
    let head = if names.is_empty() { 0.0 } else { NAME };
    let panel = head + LANE * stages.len() as f64;
    let bottom = TOP + runs.len() as f64 * (panel + GAP) - GAP;
    for tick in ticks(0.0, scale.whole * scale.units) {
        let x = left + scale.width(tick / scale.units);
        // Not through the names.
        for index in 0..runs.len() {
            let top = TOP + index as f64 * (panel + GAP) + head;
            drawing.line([x, top - 4.0], [x, top + panel - head], "grid");
        }
        let words = format!("{} {}", short(tick), scale.unit);
        drawing.text(x, TOP - 10.0, "soft", 11.0, Anchor::Middle, &words);
    }
    for (index, spans) in runs.iter().enumerate() {
        let top = TOP + index as f64 * (panel + GAP);
        if let Some(name) = names.get(index) {
            let words = format!("{name}: {}", brief(length(spans).1));
            drawing.text(MARGIN, top + 15.0, "ink", 13.0, Anchor::Right, &words);
        }
        for (lane, stage) in stages.iter().enumerate() {
            let y = top + head + LANE * lane as f64;
            let label = &labels[lane];
            drawing.text(left - 10.0, y + 17.0, "ink", 12.0, Anchor::Left, label);
            draw_lane(&mut drawing, &scale, y, spans, stage, lane);
        }
    }
    drawing.svg(left + WIDTH + 120.0, bottom + MARGIN)
}

/// One stage of a run, and how long it took.
fn draw_lane(
    drawing: &mut Drawing,
    scale: &Scale,
    y: f64,
    spans: &[Span],
    stage: &str,
    lane: usize,
) {
    let (first, whole) = length(spans);
    let (y, height) = (y + 4.0, LANE - 8.0);
    drawing.rectangle(
        [scale.left, y, scale.width(whole), height],
        "empty",
        1.0,
        "",
    );
    let of_stage = spans.iter().filter(|span| span.stage == *stage);
    let mut bars: Vec<_> = of_stage
        .map(|span| {
            let [from, to] = [span.start, span.end.max(span.start)]
                .map(|at| scale.width(at.as_secs_f64() - first));
            Bar {
                from,
                to,
                busy: to - from,
            }
        })
        .collect();
    let seconds = |width: f64| width / WIDTH * scale.whole;
    let busy = seconds(bars.iter().map(|bar| bar.busy).sum());
    let words = match (bars.is_empty(), whole > 0.0) {
        (true, _) => "–".into(),
        (false, false) => brief(busy),
        (false, true) => {
            format!("{}, {:.1} %", brief(busy), 100.0 * busy / whole)
        }
    };
    let right = scale.left + WIDTH + 10.0;
    drawing.text(right, y + 13.0, "soft", 11.0, Anchor::Right, &words);
    bars.sort_by(|one, other| one.from.total_cmp(&other.from));
    bars.dedup_by(|next, bar| bar.takes_in(next));
    for Bar { from, to, busy } in bars {
        let width = (to - from).max(NARROWEST);
        let tip = format!("{stage}: {}", brief(seconds(busy)));
        let class = format!("f{}", lane % COLOURS);
        let opacity = (busy / width).clamp(PALEST, 1.0);
        let place = [scale.left + from, y, width, height];
        drawing.rectangle(place, &class, opacity, &tip);
    }
}
