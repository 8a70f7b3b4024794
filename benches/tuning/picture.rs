//! The figures as a picture: the tuner between the best and the worst fixed setting.

use crate::common::chart::{Bar, Chart, Group};
use crate::report::Summary;
use crate::setting::Setting;

const LEGEND: [(&str, &str); 2] = [("#d9480f", "tunes itself"), ("#868e96", "fixed setting")];

/// Samples per second.
pub(crate) fn svg(summaries: &[Summary<'_>], machine: &str) -> String {
    let groups = summaries.iter().map(|summary| {
        let least = summary.grid.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let middle = summary.grid.iter().find(|(setting, _)| {
            // What loaders often begin with: two workers, two batches ahead for each.
            let common = Setting::Fixed {
                workers: 2,
                ahead: 4,
            };
            *setting == common
        });
        let fixed = |label: &str, (setting, rate): (Setting, f64)| Bar {
            label: format!("{label}, {setting}"),
            value: rate,
            kind: 1,
            note: String::new(),
        };
        let mut bars = vec![
            Bar {
                label: "tuned".into(),
                value: summary.tuned,
                kind: 0,
                note: format!(", {:.0} % of the best", 100.0 * summary.ratio()),
            },
            fixed("best", summary.best),
        ];
        bars.extend(middle.map(|middle| fixed("usual", *middle)));
        bars.extend(least.map(|least| fixed("worst", *least)));
        Group {
            heading: format!("{}: {}", summary.name, summary.about),
            bars,
        }
    });
    let chart = Chart {
        title: "Samples per second, by workers x batches ahead",
        subtitle: machine.lines().collect::<Vec<_>>().join(" · "),
        legend: &LEGEND,
        groups: groups.collect(),
        logarithmic: false,
    };
    chart.svg()
}
