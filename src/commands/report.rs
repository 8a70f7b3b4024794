//! `feedline report`

use std::path::PathBuf;

use clap::Args;
use feedline::Result;
use serde_json::json;

use super::{Output, text};

const EXAMPLES: &str = "\
Examples:
  feedline report runs/resnet9-1
  feedline report runs/resnet9-1 --json";

/// Draw a run's curves and its report.html anew, and print where it is
///
/// From what is in the folder: also while the run goes on, or after it was stopped. `train` does it at its end.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Report {
    /// The folder of the run
    run: PathBuf,
}

impl Report {
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        let report = feedline_trainer::run::report(&self.run)?;
        output.result(report.display(), &json!({ "report": text(&report) }))
    }
}
