//! The figures as tables and as CSV.

use std::fmt::{self, Write};
use std::path::Path;

use crate::figures::{Figure, Outcome, medians};

/// What images per second are compared by.
pub(crate) const RATE: &str = "images/s";

/// One part's figures, and what became of tasks without any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// The system that others are compared with, if it is there.
    pub(crate) yardstick: Option<&'static str>,
    figures: Vec<Figure>,
    remarks: Vec<String>,
    skipped: Vec<String>,
    failed: Vec<String>,
}

impl Section {
    pub(crate) fn new(name: &'static str, title: &'static str) -> Self {
        Self {
            name,
            title,
            ..Self::default()
        }
    }

    /// Takes what a task has found. Reasons are kept once, though every round has them.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        let (reasons, reason) = match outcome {
            Outcome::Done(figures) => return self.figures.extend(figures),
            Outcome::Skipped(reason) => (&mut self.skipped, reason),
            Outcome::Failed(reason) => (&mut self.failed, reason),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }

    /// Something to know of the figures.
    pub(crate) fn remark(&mut self, remark: String) {
        if !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    pub(crate) fn has_figures(&self) -> bool {
        !self.figures.is_empty()
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Medians of the rounds, and how many times as fast as the yardstick each is at the same work.
    pub(crate) fn figures(&self) -> Vec<Figure> {
        let mut figures = medians(&self.figures);
        let Some(yardstick) = self.yardstick else {
            return figures;
        };
        let rates: Vec<_> = figures.iter().filter(|own| own.name == RATE).collect();
        let times = rates.iter().filter_map(|own| {
            let mut rates = rates.iter();
            let other = rates.find(|other| other.work == own.work && other.system == yardstick)?;
            let name = format!("times {yardstick}");
            let times = own.value / other.value;
            Some(Figure::new(&own.work, &own.system, &name, times))
        });
        let times: Vec<_> = times.collect();
        figures.extend(times);
        figures
    }

    /// The value of a figure, its median.
    pub(crate) fn value(&self, work: &str, system: &str, name: &str) -> Option<f64> {
        let figures = self.figures();
        let mut figures = figures.iter();
        let own =
            figures.find(|own| (&*own.work, &*own.system, &*own.name) == (work, system, name));
        own.map(|own| own.value)
    }

    /// A line for each figure, and one for each reason.
    fn csv(&self) -> String {
        let mut text = String::new();
        let part = self.name;
        for Figure {
            work,
            system,
            name,
            value,
        } in self.figures()
        {
            let _ = writeln!(text, "{part},{work},\"{system}\",{name},{value},");
        }
        for (word, reasons) in [
            ("remark", &self.remarks),
            ("skipped", &self.skipped),
            ("failed", &self.failed),
        ] {
            for reason in reasons {
                let reason = reason.replace('"', "'");
                let _ = writeln!(text, "{part},,,{word},,\"{reason}\"");
            }
        }
        text
    }
}

/// A table with a line for each system at each work and a column for each figure.
impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = self.figures();
        writeln!(f, "\n{}", self.title)?;
        if !figures.is_empty() {
            table(f, &figures)?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}")?;
        }
        for reason in &self.skipped {
            writeln!(f, "skipped: {reason}")?;
        }
        for reason in &self.failed {
            writeln!(f, "FAILED: {reason}")?;
        }
        if figures.is_empty() && self.skipped.is_empty() && self.failed.is_empty() {
            writeln!(f, "nothing was asked for")?;
        }
        Ok(())
    }
}

fn table(f: &mut fmt::Formatter<'_>, figures: &[Figure]) -> fmt::Result {
    let columns = distinct(figures.iter().map(|own| &*own.name));
    let lines = distinct(figures.iter().map(|own| (&*own.work, &*own.system)));
    let longest = |column: fn(&Figure) -> &str| {
        let lengths = figures.iter().map(|own| column(own).chars().count());
        lengths.max().unwrap_or_default().max(6)
    };
    let (work, system) = (longest(|own| &own.work), longest(|own| &own.system));
    write!(f, "{:<work$}  {:<system$}", "work", "system")?;
    for column in &columns {
        write!(f, "  {column:>8}")?;
    }
    for line in &lines {
        write!(f, "\n{:<work$}  {:<system$}", line.0, line.1)?;
        for column in &columns {
            let own = figures
                .iter()
                .find(|own| (&*own.work, &*own.system, &*own.name) == (line.0, line.1, *column));
            let text = own.map_or("-".to_owned(), |own| digits(own.value));
            let width = column.chars().count().max(8);
            write!(f, "  {text:>width$}")?;
        }
    }
    writeln!(f)
}

/// Everything that was found.
pub(crate) struct Report {
    pub(crate) machine: String,
    pub(crate) sections: Vec<Section>,
}

impl Report {
    pub(crate) fn has_failed(&self) -> bool {
        self.sections.iter().any(Section::has_failed)
    }

    /// Writes everything into a folder.
    pub(crate) fn write(&self, results: &Path) -> std::io::Result<()> {
        let lines = self.sections.iter().map(Section::csv);
        let csv = format!(
            "part,work,system,figure,value,remark\n{}",
            lines.collect::<String>()
        );
        std::fs::write(results.join("gpu.csv"), csv)?;
        std::fs::write(results.join("gpu.txt"), self.to_string())?;
        std::fs::write(results.join("machine.txt"), &self.machine)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.machine)?;
        self.sections
            .iter()
            .try_for_each(|section| write!(f, "{section}"))
    }
}

/// Each of them once, in the order in which they came.
fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Four digits or so.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ if value == value.round() => 0,
        _ => 4,
    };
    if value == value.round() {
        return format!("{value:.0}");
    }
    format!("{value:.decimals$}")
}
