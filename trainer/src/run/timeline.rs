//! What ran when.

use std::time::Duration;

use super::drawing::{Anchor, COLOURS, Drawing, MARGIN, count, short, shorten, ticks, width_of};

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

const WIDTH: f64 = 760.0;
const LANE: f64 = 26.0;
const TOP: f64 = 84.0;
/// A bar or a gap that is narrower can't be seen.
const NARROWEST: f64 = 0.8;
/// How wide a bar may become that stands for many spans.
const WIDEST: f64 = 4.0;

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

pub(super) fn svg(spans: &[Span]) -> String {
    let mut stages: Vec<&str> = Vec::new();
    for span in spans {
        if !stages.contains(&span.stage.as_str()) {
            stages.push(&span.stage);
        }
    }
    let seconds = Duration::as_secs_f64;
    let first = spans
        .iter()
        .map(|span| seconds(&span.start))
        .fold(f64::INFINITY, f64::min);
    let last = spans
        .iter()
        .map(|span| seconds(&span.end))
        .fold(0.0, f64::max);
    let whole = if last > first { last - first } else { 1.0 };
    let names: Vec<_> = stages.iter().map(|stage| shorten(stage, 28)).collect();
    let left = MARGIN
        + names
            .iter()
            .map(|name| width_of(name, 12.0))
            .fold(0.0, f64::max)
        + 10.0;
    let bottom = TOP + LANE * stages.len() as f64;

    let mut drawing = Drawing::default();
    let subtitle = format!(
        "{}, {}",
        count(stages.len(), "stage", "stages"),
        count(spans.len(), "span", "spans")
    );
    drawing.heading("Timeline", &subtitle);
    let (scale, unit) = match whole {
        1.0.. => (1.0, "s"),
        1e-3.. => (1e3, "ms"),
        _ => (1e6, "µs"),
    };
    for tick in ticks(0.0, whole * scale) {
        let x = left + tick / scale / whole * WIDTH;
        drawing.line([x, TOP - 4.0], [x, bottom], "grid");
        drawing.text(
            x,
            TOP - 10.0,
            "soft",
            11.0,
            Anchor::Middle,
            &format!("{} {unit}", short(tick)),
        );
    }
    for (lane, stage) in stages.iter().enumerate() {
        let y = TOP + LANE * lane as f64;
        let of_stage = || spans.iter().filter(|span| span.stage == *stage);
        let busy: f64 = of_stage()
            .map(|span| seconds(&span.end.saturating_sub(span.start)))
            .sum();
        drawing.text(
            left - 10.0,
            y + 17.0,
            "ink",
            12.0,
            Anchor::Left,
            &names[lane],
        );
        let share = format!("{} %", short((1000.0 * busy / whole).round() / 10.0));
        drawing.text(
            left + WIDTH + 10.0,
            y + 17.0,
            "soft",
            11.0,
            Anchor::Right,
            &share,
        );
        let mut bars: Vec<_> = of_stage()
            .map(|span| {
                let [from, to] = [span.start, span.end.max(span.start)]
                    .map(|at| (seconds(&at) - first) / whole * WIDTH);
                Bar {
                    from,
                    to,
                    busy: to - from,
                }
            })
            .collect();
        bars.sort_by(|one, other| one.from.total_cmp(&other.from));
        bars.dedup_by(|next, bar| bar.takes_in(next));
        for Bar { from, to, busy } in bars {
            let width = (to - from).max(NARROWEST);
            let tip = format!("{stage}: {} {unit}", short(busy / WIDTH * whole * scale));
            let class = format!("f{}", lane % COLOURS);
            let opacity = (busy.max(NARROWEST) / width).min(1.0);
            drawing.rectangle(
                [left + from, y + 4.0, width, LANE - 8.0],
                &class,
                opacity,
                &tip,
            );
        }
    }
    drawing.svg(left + WIDTH + 70.0, bottom + MARGIN)
}
