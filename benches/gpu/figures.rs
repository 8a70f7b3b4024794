//! What is measured, and how a child process tells its parent.

use std::fmt;

use crate::common::median;

/// One number of one system at one piece of work.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// The work, such as `cifar_cnn f32 128`.
    pub(crate) work: String,
    /// Who does it.
    pub(crate) system: String,
    /// What was measured, with its unit.
    pub(crate) name: String,
    pub(crate) value: f64,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It was measured.
    Done(Vec<Figure>),
    /// It can't be done here, and why.
    Skipped(String),
    /// It should have worked, and why it did not.
    Failed(String),
}

/// The word before a reason on a child's output.
const SKIPPED: &str = "skipped";

impl Figure {
    pub(crate) fn new(work: &str, system: &str, name: &str, value: f64) -> Self {
        Self {
            work: work.to_owned(),
            system: system.to_owned(),
            name: name.to_owned(),
            value,
        }
    }

    /// Reads a line as [`Display`](fmt::Display) writes it. Other lines are none: libraries print what they like.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let (work, system, name) = (fields.next()?, fields.next()?, fields.next()?);
        let value = fields.next()?.trim().parse().ok()?;
        Some(Self::new(work, system, name, value))
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.work, &self.system, &self.name) == (&other.work, &other.system, &other.name)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            work,
            system,
            name,
            value,
        } = self;
        write!(f, "{work}\t{system}\t{name}\t{value}")
    }
}

impl Outcome {
    /// From what a child printed that ended well.
    pub(crate) fn parse(output: &str) -> Self {
        for line in output.lines() {
            if let Some((SKIPPED, reason)) = line.split_once('\t') {
                return Self::Skipped(reason.to_owned());
            }
        }
        let figures: Vec<_> = output.lines().filter_map(Figure::parse).collect();
        if figures.is_empty() {
            return Self::Failed("it ended well, but printed no figures".into());
        }
        Self::Done(figures)
    }
}

/// As a child prints it.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(figures) => figures
                .iter()
                .try_for_each(|figure| writeln!(f, "{figure}")),
            Self::Skipped(reason) => writeln!(f, "{SKIPPED}\t{}", reason.replace('\n', "; ")),
            Self::Failed(reason) => writeln!(f, "failed: {reason}"),
        }
    }
}

/// One figure, the median, for those of several rounds.
pub(crate) fn medians(figures: &[Figure]) -> Vec<Figure> {
    let mut found: Vec<Figure> = Vec::new();
    for figure in figures {
        if found.iter().any(|other| other.is_like(figure)) {
            continue;
        }
        let own = figures.iter().filter(|other| other.is_like(figure));
        found.push(Figure {
            value: median(own.map(|own| own.value).collect()),
            ..figure.clone()
        });
    }
    found
}
