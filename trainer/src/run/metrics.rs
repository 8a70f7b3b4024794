//! `metrics.jsonl`: a line for each epoch.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result, file};
use crate::fit::{EpochRecord, Metrics};

/// A line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// From 1.
    pub(super) epoch: u64,
    pub(super) train: Scores,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) test: Option<Scores>,
    pub(super) seconds: f64,
    pub(super) samples_per_second: f64,
    pub(super) data_wait_seconds: f64,
    /// Of the seconds; runs of earlier versions do not have it.
    #[serde(default)]
    pub(super) data_wait_share: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Scores {
    #[serde(deserialize_with = "number")]
    pub(super) loss: f64,
    #[serde(deserialize_with = "number")]
    pub(super) accuracy: f64,
    pub(super) samples: u64,
}

/// JSON has no word for what is not a number: it is written as `null`.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

impl From<&EpochRecord> for Row {
    fn from(record: &EpochRecord) -> Self {
        Self {
            epoch: record.epoch + 1,
            train: record.train.into(),
            test: record.test.map(Scores::from),
            seconds: record.duration.as_secs_f64(),
            samples_per_second: record.samples_per_second(),
            data_wait_seconds: record.data_wait.as_secs_f64(),
            data_wait_share: record.data_wait_share(),
        }
    }
}

impl From<Metrics> for Scores {
    fn from(metrics: Metrics) -> Self {
        Self {
            loss: metrics.loss,
            accuracy: metrics.accuracy,
            samples: metrics.samples,
        }
    }
}

impl Row {
    /// The row under TensorBoard's names.
    pub(super) fn scalars(&self) -> Vec<(&'static str, f32)> {
        let mut scalars = vec![
            ("train/loss", self.train.loss as f32),
            ("train/accuracy", self.train.accuracy as f32),
        ];
        if let Some(test) = self.test {
            scalars.push(("test/loss", test.loss as f32));
            scalars.push(("test/accuracy", test.accuracy as f32));
        }
        scalars.push(("samples_per_second", self.samples_per_second as f32));
        scalars.push(("data_wait", self.data_wait_seconds as f32));
        scalars.push(("data_wait_share", self.data_wait_share as f32));
        scalars
    }
}

/// The rows that count, in order: a run that went on from an earlier epoch takes back what followed it. A last line that
/// was cut off is passed over. No file is no rows.
pub(super) fn read(path: &Path) -> Result<Vec<Row>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(file("read", path)(error)),
    };
    let mut rows: Vec<Row> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') || line.trim().is_empty() {
            continue;
        }
        let row: Row = serde_json::from_str(line).map_err(|error| Error::File {
            path: path.to_owned(),
            action: "understand",
            source: std::io::Error::new(
                ErrorKind::InvalidData,
                format!("line {}: {error}", index + 1),
            ),
        })?;
        rows.retain(|earlier| earlier.epoch < row.epoch);
        rows.push(row);
    }
    Ok(rows)
}

/// Removes a last line that was cut off, so that others can follow.
pub(super) fn mend(path: &Path) -> Result<()> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(file("read", path)(error)),
    };
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |last| last + 1);
    if whole == bytes.len() {
        return Ok(());
    }
    let cut = fs::File::options()
        .write(true)
        .open(path)
        .and_then(|open| open.set_len(whole as u64));
    cut.map_err(file("mend", path))
}
