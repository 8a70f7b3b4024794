//! The figures as a picture: a bar for each system, in groups by workload.

use crate::common::chart::{Bar, Chart, Group};
use crate::peers::KERAS;
use crate::report::Report;
use crate::system::System;

const LEGEND: [(&str, &str); 4] = [
    ("#d9480f", "Feedline"),
    ("#fcc2a0", "Feedline with other instructions"),
    ("#868e96", "the same network on candle's tape"),
    ("#4dabf7", "Keras and PyTorch"),
];

fn kind(system: &str) -> usize {
    match system {
        system if system == System::Feedline.name() => 0,
        system if system == System::Candle.name() => 2,
        system if system.starts_with("feedline") => 1,
        _ => 3,
    }
}

/// Images per second.
pub(crate) fn svg(report: &Report, machine: &str) -> String {
    let groups = report.rows.chunk_by(|a, b| a.workload == b.workload);
    let groups = groups.map(|rows| {
        let workload = rows[0].workload;
        let bars = rows.iter().map(|row| {
            let times = report.times(row, KERAS).filter(|_| row.system != KERAS);
            Bar {
                label: row.system.to_owned(),
                value: row.images_per_second(),
                kind: kind(row.system),
                note: times.map_or(String::new(), |times| format!(", {times:.2}x Keras")),
            }
        });
        let (network, batch) = (workload.network, workload.batch);
        Group {
            heading: format!(
                "{}, batches of {batch}: {}",
                network.name(),
                network.about()
            ),
            bars: bars.collect(),
        }
    });
    let chart = Chart {
        title: "Images per second of training, f32",
        subtitle: machine.lines().collect::<Vec<_>>().join(" · "),
        legend: &LEGEND,
        groups: groups.collect(),
        logarithmic: false,
    };
    chart.svg()
}
