//! The figures as a picture: a bar for each row, in groups by workload.

use crate::common::chart::{Bar, Chart, Group};
use crate::report::Table;
use crate::workload;

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

/// Samples per second.
pub(crate) fn svg(table: &Table, machine: &str) -> String {
    let known = workload::all();
    let groups = table.rows.chunk_by(|a, b| a.workload == b.workload);
    let groups = groups.map(|rows| {
        let workload = &rows[0].workload;
        let about = known.iter().find(|known| known.name == workload);
        let about = about.map_or("", |known| known.about);
        let bars = rows.iter().map(|row| {
            let kind = kind(&row.system);
            let note = match kind {
                0 => String::new(),
                _ => format!(", Feedline is {:.1}x", table.ratio(row)),
            };
            Bar {
                label: row.system.clone(),
                value: row.samples_per_second,
                kind,
                note,
            }
        });
        Group {
            heading: format!("{workload}: {about}"),
            bars: bars.collect(),
        }
    });
    let chart = Chart {
        title: "Samples per second (logarithmic)",
        subtitle: machine.lines().collect::<Vec<_>>().join(" · "),
        legend: &LEGEND,
        groups: groups.collect(),
        logarithmic: true,
    };
    chart.svg()
}
