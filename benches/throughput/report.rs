//! The figures as a table and as CSV.

use std::fmt::{self, Write};
use std::path::Path;

use crate::common::median;
use crate::measure::{Own, Row};
use crate::picture;

pub(crate) struct Table {
    /// One row for each system and workload: medians over the rounds; of memory, the most.
    pub(crate) rows: Vec<Row>,
    /// Microseconds.
    overhead: f64,
}

impl Table {
    pub(crate) fn new(measured: Vec<Row>, overhead: f64) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for row in &measured {
            if rows.iter().any(|other| other.key() == row.key()) {
                continue;
            }
            let same = || measured.iter().filter(|other| other.key() == row.key());
            let own = |of: fn(&Own) -> f64| {
                median(same().filter_map(|row| row.own.as_ref()).map(of).collect())
            };
            let most = |of: fn(&Own) -> f64| {
                let figures = same().filter_map(|row| row.own.as_ref()).map(of);
                figures.fold(0.0, f64::max)
            };
            rows.push(Row {
                samples_per_second: median(same().map(|row| row.samples_per_second).collect()),
                samples_per_core_second: row.samples_per_core_second.map(|_| {
                    median(
                        same()
                            .filter_map(|row| row.samples_per_core_second)
                            .collect(),
                    )
                }),
                own: row.own.map(|first| Own {
                    wait_p50: own(|own| own.wait_p50),
                    wait_p99: own(|own| own.wait_p99),
                    first_batch: own(|own| own.first_batch),
                    peak: most(|own| own.peak),
                    grown: most(|own| own.grown),
                    allocations_per_batch: own(|own| own.allocations_per_batch),
                    ..first
                }),
                ..row.clone()
            });
        }
        // Workloads in the order in which they were first measured.
        let mut order: Vec<String> = Vec::new();
        for row in &rows {
            if !order.contains(&row.workload) {
                order.push(row.workload.clone());
            }
        }
        rows.sort_by_key(|row| order.iter().position(|name| *name == row.workload));
        Self { rows, overhead }
    }

    /// How many times as fast as `row` the loader is, with plain buffers.
    pub(crate) fn ratio(&self, row: &Row) -> f64 {
        let own = self
            .rows
            .iter()
            .find(|own| own.workload == row.workload && own.system == "feedline");
        own.map_or(f64::NAN, |own| {
            own.samples_per_second / row.samples_per_second
        })
    }

    /// Writes everything into the folder `out`.
    pub(crate) fn write(&self, out: &Path, machine: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join("throughput.csv"), self.csv())?;
        std::fs::write(out.join("throughput.svg"), picture::svg(self, machine))?;
        std::fs::write(out.join("throughput.txt"), format!("{self}\n"))?;
        std::fs::write(out.join("machine.txt"), machine)
    }

    fn csv(&self) -> String {
        let mut text = String::from(
            "workload,system,samples_per_second,feedline_ratio,samples_per_core_second,wait_p50_us,wait_p99_us,\
             first_batch_ms,parts,peak_bytes,grown_bytes,planned_bytes,budget_bytes,allocations_per_batch\n",
        );
        for row in &self.rows {
            let _ = write!(
                text,
                "{},\"{}\",{:.0},{:.3},",
                row.workload,
                row.system,
                row.samples_per_second,
                self.ratio(row)
            );
            if let Some(per_core) = row.samples_per_core_second {
                let _ = write!(text, "{per_core:.0}");
            }
            match &row.own {
                Some(own) => {
                    let _ = writeln!(
                        text,
                        ",{:.1},{:.1},{:.2},{},{},{},{},{},{:.3}",
                        own.wait_p50,
                        own.wait_p99,
                        own.first_batch,
                        own.parts,
                        own.peak,
                        own.grown,
                        own.planned,
                        own.budget,
                        own.allocations_per_batch
                    );
                }
                None => text.push_str(",,,,,,,,,\n"),
            }
        }
        let _ = writeln!(
            text,
            "overhead,\"feedline, us per batch\",{:.3},,,,,,,,,,,",
            self.overhead
        );
        text
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:<28} {:>10} {:>9} {:>10} {:>8} {:>8} {:>8} {:>5} {:>13} {:>6} {:>7}",
            "workload",
            "system",
            "samples/s",
            "feedline",
            "per core",
            "wait p50",
            "p99",
            "first",
            "parts",
            "peak/planned",
            "grew",
            "allocs"
        )?;
        writeln!(
            f,
            "{:<14} {:<28} {:>10} {:>9} {:>10} {:>8} {:>8} {:>8} {:>5} {:>13} {:>6} {:>7}",
            "", "", "", "is x", "second", "us", "us", "ms", "", "MiB", "KiB", "/batch"
        )?;
        for row in &self.rows {
            write!(
                f,
                "{:<14} {:<28} {:>10.0} {:>9.2}",
                row.workload,
                row.system,
                row.samples_per_second,
                self.ratio(row)
            )?;
            if let Some(per_core) = row.samples_per_core_second {
                write!(f, " {per_core:>10.0}")?;
            }
            if let Some(own) = &row.own {
                let mebibytes = |bytes: f64| bytes / f64::from(1 << 20);
                let memory = format!("{:.1}/{:.1}", mebibytes(own.peak), mebibytes(own.planned));
                write!(
                    f,
                    " {:>8.1} {:>8.1} {:>8.2} {:>5} {:>13} {:>6.0} {:>7.2}",
                    own.wait_p50,
                    own.wait_p99,
                    own.first_batch,
                    own.parts,
                    memory,
                    own.grown / 1024.0,
                    own.allocations_per_batch
                )?;
            }
            writeln!(f)?;
        }
        write!(
            f,
            "overhead of a batch of one sample of one byte: {:.2} us",
            self.overhead
        )
    }
}
