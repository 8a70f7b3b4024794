//! The figures as a table, as CSV and as a picture.

use std::fmt::{self, Write};
use std::path::Path;

use crate::measure::{Own, Row};
use crate::median;

pub(crate) struct Table {
    /// One row for each system and workload, medians over the rounds.
    rows: Vec<Row>,
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
            rows.push(Row {
                samples_per_second: median(same().map(|row| row.samples_per_second).collect()),
                own: row.own.map(|first| Own {
                    samples_per_core_second: own(|own| own.samples_per_core_second),
                    wait_p50: own(|own| own.wait_p50),
                    wait_p99: own(|own| own.wait_p99),
                    first_batch: own(|own| own.first_batch),
                    planned: first.planned,
                    grown: own(|own| own.grown as f64) as usize,
                    allocations_per_batch: own(|own| own.allocations_per_batch),
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
    fn ratio(&self, row: &Row) -> f64 {
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
        std::fs::write(out.join("throughput.svg"), self.svg())?;
        std::fs::write(out.join("throughput.txt"), format!("{self}\n"))?;
        std::fs::write(out.join("machine.txt"), machine)
    }

    fn csv(&self) -> String {
        let mut text = String::from(
            "workload,system,samples_per_second,feedline_ratio,samples_per_core_second,wait_p50_us,wait_p99_us,\
             first_batch_ms,planned_bytes,grown_bytes,allocations_per_batch\n",
        );
        for row in &self.rows {
            let _ = write!(
                text,
                "{},\"{}\",{:.0},{:.3}",
                row.workload,
                row.system,
                row.samples_per_second,
                self.ratio(row)
            );
            match &row.own {
                Some(own) => {
                    let _ = writeln!(
                        text,
                        ",{:.0},{:.1},{:.1},{:.2},{},{},{:.3}",
                        own.samples_per_core_second,
                        own.wait_p50,
                        own.wait_p99,
                        own.first_batch,
                        own.planned,
                        own.grown,
                        own.allocations_per_batch
                    );
                }
                None => text.push_str(",,,,,,,\n"),
            }
        }
        let _ = writeln!(
            text,
            "overhead,\"feedline, us per batch\",{:.3},,,,,,,,",
            self.overhead
        );
        text
    }

    /// Bars on a logarithmic scale from 1,000 to 10 million images a second.
    fn svg(&self) -> String {
        let (left, right, line) = (270.0, 640.0, 18.0);
        let mut body = String::new();
        let mut y = 34.0;
        let mut workload = "";
        for row in &self.rows {
            if row.workload != workload {
                workload = &row.workload;
                y += 10.0;
                let _ = writeln!(
                    body,
                    r#"<text x="8" y="{:.0}" font-weight="bold">{workload}</text>"#,
                    y + 13.0
                );
            }
            let share = (row.samples_per_second.max(1e3).log10() - 3.0) / 4.0;
            let colour = match row.system.as_str() {
                system if system.starts_with("feedline") => "#d9480f",
                "limit" => "#868e96",
                _ => "#4dabf7",
            };
            let _ = writeln!(
                body,
                r#"<text x="{:.0}" y="{:.0}" text-anchor="end">{}</text><rect x="{left}" y="{:.0}" width="{:.0}" height="13" fill="{colour}"/><text x="{:.0}" y="{:.0}">{:.0} k/s</text>"#,
                left - 8.0,
                y + 13.0,
                row.system,
                y + 2.0,
                share * (right - left),
                left + share * (right - left) + 6.0,
                y + 13.0,
                row.samples_per_second / 1e3
            );
            y += line;
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"760\" height=\"{:.0}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"8\" y=\"20\" font-size=\"15\">Loaders: images per second, logarithmic from 1 k to 10 M</text>\n{body}</svg>\n",
            y + 12.0
        )
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<11} {:<28} {:>10} {:>9} {:>10} {:>8} {:>8} {:>8} {:>15} {:>7}",
            "workload",
            "system",
            "samples/s",
            "feedline",
            "per core",
            "wait p50",
            "p99",
            "first",
            "memory/planned",
            "allocs"
        )?;
        writeln!(
            f,
            "{:<11} {:<28} {:>10} {:>9} {:>10} {:>8} {:>8} {:>8} {:>15} {:>7}",
            "", "", "", "is x", "second", "us", "us", "ms", "MiB", "/batch"
        )?;
        for row in &self.rows {
            write!(
                f,
                "{:<11} {:<28} {:>10.0} {:>9.2}",
                row.workload,
                row.system,
                row.samples_per_second,
                self.ratio(row)
            )?;
            if let Some(own) = &row.own {
                let mebibytes = |bytes: usize| bytes as f64 / f64::from(1 << 20);
                let memory = format!("{:.1}/{:.1}", mebibytes(own.grown), mebibytes(own.planned));
                write!(
                    f,
                    " {:>10.0} {:>8.1} {:>8.1} {:>8.2} {:>15} {:>7.2}",
                    own.samples_per_core_second,
                    own.wait_p50,
                    own.wait_p99,
                    own.first_batch,
                    memory,
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
